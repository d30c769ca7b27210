"""`python -m src check`: a plain verdict on everything that a server needs, and what to do."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr
from typer.testing import CliRunner

from src import checks, cli
from src.checks import Finding, Verdict
from src.database import TIME_LIMITS
from tests.conftest import make_settings
from tests.pooler import pooler
from tests.processes import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("FR-152")]

FINE = {
    "database": r"PostgreSQL \d+\.\d+.*, encoding UTF8",
    "writes": "are accepted",
    "connection": "direct; statements are prepared",
    "connections": "this server opens up to 8, and the database allows [0-9]+",
    "schema": "has what this version needs, and the role may use it",
    "time limits": "statement_timeout 5s, lock_timeout 3s, idle_in_transaction_session_timeout 10s",
    "durability": "synchronous_commit is on",
    "round trip": r"\d+\.\d ms",
}


async def found(url: str, **settings: Any) -> dict[str, Finding]:
    findings = [finding async for finding in checks.check(make_settings(url, **settings))]
    order = [*FINE]
    if any("through" in finding.text for finding in findings):
        order.remove("connections")  # those of the pooler
    assert [finding.subject for finding in findings] == order[: len(findings)]
    return {finding.subject: finding for finding in findings}


def are_fine(findings: dict[str, Finding]) -> set[str]:
    """Give the subjects that are fine, in the words that say so."""
    return {
        subject
        for subject, (verdict, _, text) in findings.items()
        if verdict is Verdict.OK and re.fullmatch(FINE[subject], text)
    }


def alter(database_url: str, setting: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = Identifier(connection.info.dbname)
        connection.execute(SQL("ALTER DATABASE {} SET " + setting).format(name))


async def test_a_database_as_it_should_be_is_fine(database_url: str) -> None:
    assert are_fine(await found(database_url)) == {*FINE}


async def test_what_is_missing_in_the_schema_is_named(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE task_api_version SET version_num = '0003'")

    findings = await found(database_url)

    assert are_fine(findings) == {*FINE} - {"schema"}
    assert findings["schema"].verdict is Verdict.FAILED
    assert findings["schema"].text.endswith("run `migrate`")


async def test_a_database_that_refuses_writes_is_a_failure(database_url: str) -> None:
    alter(database_url, "default_transaction_read_only = on")

    findings = await found(database_url)

    assert are_fine(findings) == {*FINE} - {"writes"}
    assert findings["writes"].verdict is Verdict.FAILED
    assert findings["writes"].text.startswith("the database is read-only")


async def test_more_connections_than_the_database_allows_are_a_warning(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        (most,) = connection.execute("SHOW max_connections").fetchone() or ("",)

    findings = await found(database_url, web_concurrency=2, db_pool_size=int(most) // 2)

    assert are_fine(findings) == {*FINE} - {"connections"}
    assert findings["connections"].verdict is Verdict.WARNING
    assert "lower DB_POOL_SIZE or WEB_CONCURRENCY" in findings["connections"].text


async def test_commits_that_a_crash_can_lose_are_a_warning(database_url: str) -> None:
    alter(database_url, "synchronous_commit = off")

    findings = await found(database_url)

    assert are_fine(findings) == {*FINE} - {"durability"}
    assert findings["durability"].verdict is Verdict.WARNING


async def test_a_pooler_is_noticed_and_so_are_limits_that_the_role_lacks(
    database_url: str, tmp_path: Path
) -> None:
    with pooler(database_url, tmp_path, server_connections=1) as pgbouncer:
        findings = await found(pgbouncer.url_of(database_url))

    assert are_fine(findings) == {*FINE} - {"connection", "connections", "time limits"}
    assert findings["connection"].text == "through a connection pooler; statements are not prepared"
    verdict, _, text = findings["time limits"]
    assert verdict is Verdict.WARNING
    assert text.startswith("the role has no statement_timeout and no lock_timeout and no ")
    for name, limit in TIME_LIMITS.items():
        assert f"ALTER ROLE CURRENT_USER SET {name} = '{limit}';" in text


async def test_an_error_that_nobody_expects_is_a_finding_too(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO task_api_version VALUES ('0001')")

    findings = await found(database_url)

    assert are_fine(findings) == {*FINE} - {"schema"}
    assert findings["schema"].verdict is Verdict.FAILED
    assert findings["schema"].text.startswith("more than one row returned by a subquery")


async def test_a_socket_that_is_not_there_is_called_a_socket() -> None:
    findings = await found("postgresql:///tasks?host=/nowhere")

    assert findings["database"] == (
        Verdict.FAILED,
        "database",
        "at the Unix socket: No such file or directory; check DATABASE_URL",
    )


async def test_a_database_that_is_far_away_is_a_warning(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_FAR", 0)

    assert (await found(database_url))["round trip"].verdict is Verdict.WARNING


@pytest.mark.requirement("FR-162")
async def test_a_start_logs_what_has_failed_and_nothing_else(
    database_url: str, make_empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"postgresql://alice@127.0.0.1:{free_port()}/tasks"
    messages: list[str] = []
    monkeypatch.setattr(cli.log, "warning", lambda form, *values: messages.append(form % values))

    for url in (database_url, make_empty_database(), nowhere):
        await cli.log_failed_checks(make_settings(url))
    monkeypatch.setenv("LOG_FROMAT", "json")
    await cli.log_failed_checks(make_settings(database_url))

    no_schema, no_database, misspelled = messages
    assert misspelled == "settings: LOG_FROMAT is not a setting: did you mean LOG_FORMAT?"
    assert no_schema.startswith("schema: ")
    assert no_schema.endswith("run `migrate`, or grant the role its privileges")
    assert no_database == "database: Connection refused; check DATABASE_URL"


class TestTheCommand:
    @pytest.fixture
    def run_on(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[int, list[str]]]:
        def run(url: str) -> tuple[int, list[str]]:
            monkeypatch.setattr(cli, "Settings", lambda: make_settings(url))
            result = CliRunner().invoke(cli.app, ["check"])
            return result.exit_code, result.output.splitlines()

        return run

    def test_prints_a_line_for_each_and_ends_well(
        self, database_url: str, run_on: Callable[[str], tuple[int, list[str]]]
    ) -> None:
        status, lines = run_on(database_url)

        assert status == 0
        assert [line[:22] for line in lines] == [
            f"{'ok':8} {subject:12} " for subject in ("settings", *FINE)
        ]

    @pytest.mark.requirement("FR-098")
    def test_names_a_variable_that_is_a_misspelled_setting(
        self,
        database_url: str,
        run_on: Callable[[str], tuple[int, list[str]]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("CORS_ORIGIN", "http://localhost:5173")

        status, lines = run_on(database_url)

        assert status == 0
        assert lines[1] == (
            "warning  settings     CORS_ORIGIN is not a setting: did you mean CORS_ORIGINS?"
        )

    def test_ends_with_1_where_there_is_no_database_and_quotes_nothing_of_the_setting(
        self, run_on: Callable[[str], tuple[int, list[str]]]
    ) -> None:
        secret = SecretStr("hunter2").get_secret_value()
        status, lines = run_on(f"postgresql://alice:{secret}@127.0.0.1:{free_port()}/tasks")

        assert status == 1
        assert lines == [
            "ok       settings     can be read",
            "failed   database     Connection refused; check DATABASE_URL",
        ]
