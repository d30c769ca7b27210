"""What only the tests with a database share."""

from collections.abc import Callable, Iterator

import pytest

from src.main import create_app
from tests import variants
from tests.conftest import make_settings
from tests.http_edge import ORIGIN, PARSERS, Parser
from tests.listening import listening
from tests.pooler import pooler


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
