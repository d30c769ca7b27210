"""GET /health and GET /health/ready: alive, and able to work."""

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from src import revisions
from src.api.problems import Kind
from tests.builders import problem
from tests.conftest import ROLE
from tests.processes import serving
from tests.wire import Wire

pytestmark = pytest.mark.anyio

_GRANT = "grant the role its privileges"
_ADVICE = "run `migrate`, or grant the role its privileges"
_NEEDED = f"and this version needs {revisions.newest()}: run `migrate`"


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


class TestHealth:
    @pytest.mark.requirement("FR-028")
    async def test_is_answered(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/health")

        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    @pytest.mark.requirement("FR-028")
    async def test_does_not_ask_the_database(self, shared_database_url: str) -> None:
        async with Wire(shared_database_url) as wire, serving(wire.url) as (_, client):
            assert (await client.get("/health")).status_code == 200
            assert wire.flights == []

            # So that the line above proves something: the wire sees what does ask.
            assert (await client.get("/health/ready")).status_code == 200
            assert wire.flights != []


class TestReadiness:
    @pytest.mark.requirement("FR-028")
    async def test_is_given_at_the_newest_migration(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/health/ready")

        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    @pytest.mark.requirement("FR-028", "FR-122", "FR-123")
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            pytest.param(
                "DROP TABLE task_api_version",
                f'relation "task_api_version" does not exist: {_ADVICE}',
                id="never migrated",
            ),
            pytest.param(
                "TRUNCATE task_api_version",
                f"the schema has no revision, {_NEEDED}",
                id="migrated down",
            ),
            pytest.param(
                "UPDATE task_api_version SET version_num = '0003'",
                f"the schema has revision 0003, {_NEEDED}",
                id="one revision behind",
            ),
            pytest.param(
                "DROP TABLE task_tombstones",
                f"the role {{role}} lacks the table task_tombstones: {_ADVICE}",
                id="a table is missing",
            ),
            pytest.param(
                "REVOKE DELETE ON tasks FROM CURRENT_USER; REVOKE ALL ON task_lists FROM PUBLIC,"
                " CURRENT_USER",
                "the role {role} lacks DELETE on task_lists, DELETE on tasks, INSERT on task_lists,"
                f" SELECT on task_lists, UPDATE on task_lists: {_GRANT}",
                id="privileges are missing",
            ),
            pytest.param(
                "REVOKE ALL ON task_api_version FROM CURRENT_USER",
                f"permission denied for table task_api_version: {_GRANT}",
                id="the revision cannot be read",
            ),
        ],
    )
    async def test_is_refused_where_something_is_missing(
        self, database_url: str, capsys: pytest.CaptureFixture[str], change: str, reason: str
    ) -> None:
        execute(database_url, change)
        async with serving(database_url) as (_, client):
            answer = await client.get("/health/ready")

        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json() == problem(answer, Kind.DATABASE_UNAVAILABLE)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(f": database unavailable: {reason.format(role=ROLE)}")

    @pytest.mark.requirement("FR-123")
    async def test_is_given_at_a_later_migration_and_logged_once(
        self, database_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """While a new release is being deployed, servers of this one go on."""
        execute(database_url, "UPDATE task_api_version SET version_num = '9135'")
        async with serving(database_url) as (_, client):
            answers = [await client.get("/health/ready") for _ in range(3)]

        assert {answer.status_code for answer in answers} == {200}
        (line,) = capsys.readouterr().err.splitlines()
        assert "the schema has revision 9135, and this version knows" in line

    @pytest.mark.requirement("FR-028")
    async def test_is_regained_without_a_restart(self, database_url: str) -> None:
        execute(database_url, "ALTER TABLE task_api_version RENAME TO elsewhere")
        async with serving(database_url) as (_, client):
            assert (await client.get("/health/ready")).status_code != 200

            execute(database_url, "ALTER TABLE elsewhere RENAME TO task_api_version")

            assert (await client.get("/health/ready")).status_code == 200

    @pytest.mark.requirement("FR-028")
    async def test_is_refused_without_a_database(self, database_url: str) -> None:
        server, name = database_url.rsplit("/", 1)
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(SQL("DROP DATABASE {}").format(Identifier(name)))
        async with serving(database_url, db_pool_timeout=0.1) as (_, client):
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.get("/health")).status_code == 200


@pytest.mark.requirement("FR-028", "FR-026")
@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_a_probe_may_use_head(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.head(path)).status_code == 200
