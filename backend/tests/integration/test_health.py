"""GET /health and GET /health/ready: alive, and able to work."""

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.processes import serving
from tests.wire import Wire

pytestmark = pytest.mark.anyio


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

    @pytest.mark.requirement("FR-028")
    @pytest.mark.parametrize(
        "change",
        [
            pytest.param("DROP TABLE alembic_version", id="never migrated"),
            pytest.param("TRUNCATE alembic_version", id="migrated down"),
            pytest.param("UPDATE alembic_version SET version_num = '0000'", id="elsewhere"),
        ],
    )
    async def test_is_refused_at_any_other(self, database_url: str, change: str) -> None:
        execute(database_url, change)
        async with serving(database_url) as (_, client):
            answer = await client.get("/health/ready")

        assert answer.status_code == 503
        assert answer.json()["code"] == "database_unavailable"
        assert answer.headers["retry-after"]

    @pytest.mark.requirement("FR-028")
    async def test_is_regained_without_a_restart(self, database_url: str) -> None:
        execute(database_url, "ALTER TABLE alembic_version RENAME TO elsewhere")
        async with serving(database_url) as (_, client):
            assert (await client.get("/health/ready")).status_code != 200

            execute(database_url, "ALTER TABLE elsewhere RENAME TO alembic_version")

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
