"""The database belongs to one role, which migrates it, and another one serves."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from fastapi import FastAPI
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from sqlalchemy import text

from src import cli
from src.api.problems import Kind
from src.config import ROOT
from src.database import TIME_LIMITS
from tests.builders import ON_ONE_TASK, create, problem, rows_of, send, tasks_of
from tests.conftest import make_settings
from tests.contract.markdown import fences, section
from tests.pooler import pooler
from tests.processes import serving

pytestmark = pytest.mark.anyio

GUIDE: Final = ROOT / "specs" / "002-backend-database" / "deploy.md"
(GRANTS,) = (
    fence.text.replace("TO task_api;", "TO {role};")
    for fence in fences(section(GUIDE, "One role to migrate, another one to serve"))
)
"""What the deployment guide tells the owner to run."""


@pytest.fixture
def role(postgres_url: str, database_url: str) -> Iterator[str]:
    """A role that owns nothing."""
    name = f"app_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        create_role = SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        connection.execute(create_role.format(Identifier(name), name))
    yield name
    within = urlsplit(postgres_url)._replace(path=urlsplit(database_url).path).geturl()
    with psycopg.connect(within, autocommit=True) as connection:
        for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
            connection.execute(SQL(statement).format(Identifier(name)))


@pytest.fixture
def role_url(role: str, database_url: str) -> str:
    """The URL of the database for that role."""
    parts = urlsplit(database_url)
    location = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{role}@{location}").geturl()


@pytest.fixture
def grant(role: str, database_url: str) -> Callable[[str], None]:
    """Let the owner run statements that name the role."""

    def run(statements: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(SQL(statements).format(role=Identifier(role)))

    return run


async def limits_of(app: FastAPI) -> dict[str, str]:
    """The time limits of a connection of the app."""
    async with app.state.database.session() as session:
        return {name: (await session.exec(text(f"SHOW {name}"))).one()[0] for name in TIME_LIMITS}


class TestAServingRole:
    @pytest.mark.requirement("FR-130", "FR-123")
    async def test_needs_the_grants_of_the_guide_and_no_more(
        self,
        role: str,
        role_url: str,
        grant: Callable[[str], None],
        user: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        async with serving(role_url) as (_, client):
            answer = await client.get("/health/ready")
            assert answer.json() == problem(answer, Kind.DATABASE_UNAVAILABLE)
            assert "permission denied for table task_api_version" in capsys.readouterr().err
            grant("GRANT SELECT ON task_api_version TO {role}")
            assert (await client.get("/health/ready")).status_code == 503
            assert f"the role {role} lacks DELETE on task_lists, " in capsys.readouterr().err

            grant(GRANTS)

            assert (await client.get("/health/ready")).status_code == 200
            for operation in ON_ONE_TASK.values():
                task = await create(client, user)
                answer = await send(client, operation, user, task["id"])
                assert answer.is_success, answer.text
            for path in ("", "/changes", "/summary"):
                assert (await client.get(tasks_of(user) + path)).status_code == 200
            batch = {"operations": [{"op": "create", "task": {"title": "Buy milk"}}]}
            answer = await client.post(f"{tasks_of(user)}/batch", json=batch)
            assert answer.status_code == 200
        assert capsys.readouterr().err == ""

    @pytest.mark.requirement("FR-130")
    async def test_gets_the_time_limits_that_the_migration_gave_to_the_owner(
        self, database_url: str, role_url: str, grant: Callable[[str], None]
    ) -> None:
        grant(GRANTS)
        for url in (database_url, role_url):
            async with serving(url) as (app, _):
                assert await limits_of(app) == TIME_LIMITS

    @pytest.mark.requirement("FR-130")
    async def test_keeps_the_time_limits_that_it_has(
        self, role_url: str, grant: Callable[[str], None]
    ) -> None:
        grant(GRANTS)
        with psycopg.connect(role_url, autocommit=True) as connection:
            connection.execute("ALTER ROLE CURRENT_USER SET statement_timeout = '20s'")
        async with serving(role_url) as (app, _):
            assert await limits_of(app) == {**TIME_LIMITS, "statement_timeout": "20s"}

    @pytest.mark.requirement("FR-130")
    async def test_executes_nothing_after_the_request_was_given_up(
        self,
        database_url: str,
        role_url: str,
        grant: Callable[[str], None],
        user: str,
    ) -> None:
        grant(GRANTS)
        with psycopg.connect(database_url) as holder:
            holder.execute("LOCK task_lists IN ACCESS EXCLUSIVE MODE")
            async with serving(role_url) as (_, client):
                answer = await client.post(tasks_of(user), json={"title": "Buy milk"})
                assert answer.json() == problem(answer, Kind.DATABASE_UNAVAILABLE)
            holder.rollback()
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            assert holder.execute(waiting).fetchall() == []
        assert rows_of(database_url, user)["tasks"] == []

    @pytest.mark.requirement("FR-130", "FR-120")
    async def test_is_only_told_what_is_missing_behind_a_pooler(
        self,
        role: str,
        role_url: str,
        grant: Callable[[str], None],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A limit that is set there would hold for whoever uses the server connection next."""
        grant(GRANTS)
        with pooler(role_url, tmp_path, server_connections=1) as pgbouncer:
            url = pgbouncer.url_of(role_url)
            async with serving(url, db_pool_timeout=30) as (_, client):
                answers = await asyncio.gather(*(client.get("/health/ready") for _ in range(8)))
                assert {answer.status_code for answer in answers} == {200}
            lines = capsys.readouterr().err.splitlines()
            assert len(lines) == len(TIME_LIMITS)
            for line, (name, limit) in zip(lines, TIME_LIMITS.items(), strict=True):
                assert f"the role {role} has no {name}" in line
                assert line.endswith(f" SET {name} = '{limit}'")
            advice = [line.rpartition(": ")[2] for line in lines]
            with psycopg.connect(url, autocommit=True) as connection:
                assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
        with psycopg.connect(role_url, autocommit=True) as connection:
            for statement in advice:
                connection.execute(statement.encode())
        with psycopg.connect(role_url) as connection:
            shown = {name: connection.execute(f"SHOW {name}").fetchone() for name in TIME_LIMITS}
        assert shown == {name: (limit,) for name, limit in TIME_LIMITS.items()}


@pytest.mark.requirement("FR-122")
@pytest.mark.parametrize(
    ("change", "undo", "reason"),
    [
        pytest.param("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN", "log in", id="login"),
        pytest.param(
            "ALTER ROLE {role} CONNECTION LIMIT 0",
            "ALTER ROLE {role} CONNECTION LIMIT -1",
            "too many connections for role",
            id="number of connections",
        ),
        pytest.param(
            "ALTER ROLE {role} RENAME TO {other}",
            "ALTER ROLE {other} RENAME TO {role}",
            "authentication failed for user",
            id="name",
        ),
    ],
)
async def test_a_role_that_may_not_connect_is_503_until_it_may(
    role: str,
    role_url: str,
    postgres_url: str,
    grant: Callable[[str], None],
    user: str,
    capsys: pytest.CaptureFixture[str],
    change: str,
    undo: str,
    reason: str,
) -> None:
    grant(GRANTS)
    names = {"role": Identifier(role), "other": Identifier(f"{role}_x")}

    def execute(statement: str) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(SQL(statement).format(**names))

    async with serving(role_url) as (_, client):
        execute(change)
        answers = [await client.get(path) for path in ("/health/ready", tasks_of(user))]
        execute(undo)
        for answer in answers:
            assert answer.json() == problem(answer, Kind.DATABASE_UNAVAILABLE)
        assert (await client.get("/health/ready")).status_code == 200

    (line,) = capsys.readouterr().err.splitlines()
    assert ": database unavailable: " in line
    assert reason in line


class TestMigrate:
    @pytest.fixture
    def refusal(self, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
        def refuse(url: str) -> str:
            with pytest.raises(SystemExit), cli.errors_in_one_line():
                cli.migrate(make_settings(url))
            (line,) = capsys.readouterr().err.splitlines()
            return line

        return refuse

    @pytest.mark.requirement("FR-130")
    def test_says_which_role_may_run_it(self, role_url: str, refusal: Callable[[str], str]) -> None:
        assert refusal(role_url) == (
            "task-api: the database cannot be used: permission denied for table task_api_version;"
            " run `migrate` as the role that owns the tables: set DATABASE_URL_UNPOOLED"
        )

    @pytest.mark.requirement("FR-096")
    def test_says_that_a_schema_is_missing(
        self, make_empty_database: Callable[[], str], refusal: Callable[[str], str]
    ) -> None:
        url = make_conninfo(make_empty_database(), options="-c search_path=nowhere")

        line = refusal(url)

        assert line.startswith("task-api: the database cannot be used: no schema has been selected")
        assert line.endswith("; create the schema that search_path names: CREATE SCHEMA ...")
