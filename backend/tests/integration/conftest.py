"""What only the tests with a database share."""

from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from src.main import create_app
from tests import variants
from tests.answers import check_answer
from tests.conftest import BASE_URL, make_settings
from tests.http_edge import ORIGIN, PARSERS, Parser
from tests.listening import listening
from tests.pooler import pooler
from tests.processes import serving
from tests.time_limits import TimeLimits


@pytest.fixture(scope="module", params=PARSERS)
def parser(request: pytest.FixtureRequest) -> Parser:
    parser: Parser = request.param
    return parser


@pytest.fixture(scope="module")
def url(parser: Parser, shared_database_url: str) -> Iterator[str]:
    """The address of a server with this parser."""
    settings = make_settings(shared_database_url, log_level="critical", cors_origins=(ORIGIN,))
    with listening(create_app(settings), parser) as url:
        yield url


@pytest.fixture
def time_limits(monkeypatch: pytest.MonkeyPatch) -> TimeLimits:
    return TimeLimits(monkeypatch)


class Persistent(httpx.ASGITransport):
    """Sends a request again while the database is too busy for it, as clients should.

    On a slow machine, several batches for one list can wait for each other longer than the time
    limits allow.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        while True:
            answer = await super().handle_async_request(request)
            if answer.status_code != 503:
                return answer
            await answer.aread()
            assert answer.json()["code"] == "database_unavailable"


@pytest.fixture
async def own_client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app on a database of its own, where one user may keep all writers waiting."""
    async with (
        serving(database_url, db_user_share=1, db_pool_timeout=30) as (app, _),
        httpx.AsyncClient(
            transport=Persistent(app), base_url=BASE_URL, event_hooks={"response": [check_answer]}
        ) as client,
    ):
        yield client


@pytest.fixture(scope="session", autouse=True)
def variant_pooler(
    pytestconfig: pytest.Config,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """In the variants with a pooler, let the app of each test connect through it."""
    connections = variants.POOLED.get(pytestconfig.getoption("--variant"))
    if connections is None:
        yield
        return
    make_database: Callable[[], str] = request.getfixturevalue("make_empty_database")
    url, directory = make_database(), tmp_path_factory.mktemp("pgbouncer")
    with (
        pooler(url, directory, server_connections=connections) as running,
        variants.through(url, running.url_of),
    ):
        yield
