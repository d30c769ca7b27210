"""The API is UTF-8, whatever encoding the environment, the URL or the database asks for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from src.api.problems import Kind
from tests.builders import create, problem, rows_of, tasks_of
from tests.conftest import ROLE
from tests.processes import MIGRATE, server, serving

pytestmark = pytest.mark.anyio

TITLE: Final = "Käse kaufen 🧀 買う"


@pytest.fixture
def latin_database_url(postgres_url: str, make_empty_database: Callable[[], str]) -> Iterator[str]:
    """A database in Latin-1, which has no emoji."""
    name = f"latin_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            SQL(
                "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
                " LOCALE_PROVIDER libc"
            ).format(Identifier(name), Identifier(ROLE))
        )
        yield urlsplit(make_empty_database())._replace(path=f"/{name}").geturl()
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.mark.requirement("FR-127")
@pytest.mark.parametrize("where", ["environment", "options", "URL", "role"])
async def test_text_arrives_as_it_was_sent(
    database_url: str, user: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    url = database_url
    if where == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    elif where == "options":
        monkeypatch.setenv("PGOPTIONS", "-c client_encoding=LATIN1")
    elif where == "URL":
        url += "?client_encoding=LATIN1&options=-cclient_encoding%3DLATIN1"
    else:
        with psycopg.connect(database_url, autocommit=True) as connection:
            setting = SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET client_encoding = 'LATIN1'")
            connection.execute(setting.format(Identifier(connection.info.dbname)))
    async with serving(url) as (_, client):
        task = await create(client, user, title=TITLE, tags=["Käse"])
        found = await client.get(tasks_of(user), params={"q": "KÄSE", "tag": "Käse"})
    monkeypatch.undo()

    assert found.json()["items"] == [task]
    (row,) = rows_of(f"{database_url}?client_encoding=utf8", user)["tasks"]
    assert (row["title"], row["tags"]) == (TITLE, ["Käse"])


@pytest.mark.requirement("FR-127")
class TestADatabaseThatIsNotUTF8:
    @pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URL_UNPOOLED"])
    def test_is_not_migrated(self, latin_database_url: str, tmp_path: Path, name: str) -> None:
        settings = {"DATABASE_URL": "postgresql://127.0.0.1:1/pooled", "LOG_LEVEL": "error"}
        settings[name] = latin_database_url
        with server(tmp_path, program=MIGRATE, **settings) as running:
            assert running.wait() == 2
            assert running.err == (
                f"task-api: {name}: the database cannot be used: the encoding of the database"
                " is LATIN1: create one with ENCODING 'UTF8'\n"
            )

    async def test_is_not_served(
        self, latin_database_url: str, user: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async with serving(latin_database_url) as (_, client):
            for path in ("/health/ready", tasks_of(user)):
                answer = await client.get(path)
                assert answer.json() == problem(answer, Kind.DATABASE_UNAVAILABLE)

        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(
            ": database unavailable: the encoding of the database is LATIN1: create one with"
            " ENCODING 'UTF8'"
        )
