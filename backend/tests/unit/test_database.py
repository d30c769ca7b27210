"""What needs no database: when a statement is attempted again, and how often."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg
import pytest
from psycopg import errors
from pydantic import SecretStr
from sqlalchemy import select, true
from sqlalchemy.exc import DBAPIError

from src.config import Settings
from src.database import (
    FIRST_PAUSE,
    MAX_ATTEMPTS,
    Database,
    Effect,
    _is_unavailable,
    _was_executed,
    connection_failure,
    run,
)
from src.exceptions import DatabaseUnavailable

pytestmark = pytest.mark.anyio


class ConnectionException(psycopg.OperationalError):
    """What a pooler reports when it has lost the server."""

    sqlstate = "08006"


class TestAFailure:
    @pytest.mark.requirement("FR-058", "FR-059")
    @pytest.mark.parametrize(
        ("error", "was_executed"),
        [
            (errors.AdminShutdown(), False),
            (errors.SerializationFailure(), False),
            (errors.DeadlockDetected(), False),
            (errors.FeatureNotSupported(), False),
            (errors.ReadOnlySqlTransaction(), False),
            (errors.IdleSessionTimeout(), False),
            (errors.StatementCompletionUnknown(), None),
            (psycopg.OperationalError("the connection is lost"), None),
            (ConnectionException(), None),
            (errors.QueryCanceled(), True),
            (errors.LockNotAvailable(), True),
            (errors.UniqueViolation(), True),
            (errors.DiskFull(), True),
            (psycopg.ProgrammingError("no SQLSTATE: the driver's own"), True),
        ],
        ids=repr,
    )
    def test_says_whether_the_statement_was_executed(
        self, error: psycopg.Error, *, was_executed: bool | None
    ) -> None:
        assert _was_executed(DBAPIError("", {}, error)) is was_executed

    @pytest.mark.requirement("FR-058")
    def test_of_a_connection_that_was_never_opened_has_executed_nothing(self) -> None:
        assert _was_executed(DatabaseUnavailable("refused")) is False

    @pytest.mark.requirement("FR-029")
    @pytest.mark.parametrize(
        ("error", "is_unavailable"),
        [
            (DBAPIError("", {}, psycopg.OperationalError("lost")), True),
            (DBAPIError("", {}, errors.QueryCanceled()), True),
            (DBAPIError("", {}, errors.LockNotAvailable()), True),
            (DBAPIError("", {}, errors.TooManyConnections()), True),
            (DBAPIError("", {}, errors.DiskFull()), True),
            (DBAPIError("", {}, errors.ReadOnlySqlTransaction()), True),
            (DBAPIError("", {}, errors.UniqueViolation()), False),
            (DBAPIError("", {}, errors.UndefinedTable()), False),
        ],
        ids=lambda value: repr(getattr(value, "orig", value)),
    )
    def test_says_whether_the_database_is_at_fault(
        self, error: Exception, *, is_unavailable: bool
    ) -> None:
        assert _is_unavailable(error) is is_unavailable


class HangingUp:
    """A server that hangs up on every client, and counts them."""

    def __init__(self) -> None:
        self.clients = 0

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        """Give the URL of the server."""
        server = await asyncio.start_server(self._hang_up, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            yield f"postgresql://127.0.0.1:{port}/none?sslmode=disable&gssencmode=disable"

    async def _hang_up(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        writer.close()
        await writer.wait_closed()


class TestAttempts:
    """A statement for which there is no connection was surely not executed."""

    STATEMENT: Final = select(true())

    @pytest.mark.requirement("FR-061")
    @pytest.mark.parametrize("effect", Effect)
    async def test_are_few(self, effect: Effect) -> None:
        assert await self.attempts(effect) == MAX_ATTEMPTS

    @pytest.mark.requirement("FR-061")
    async def test_end_when_the_client_has_waited_long(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("src.database.RETRY_WINDOW", 0.0)

        assert await self.attempts(Effect.READ) == 1

    @pytest.mark.requirement("FR-061")
    async def test_begin_after_pauses_that_grow_and_are_not_all_of_one_length(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []
        sleep = asyncio.sleep

        async def note(seconds: float) -> None:
            if seconds > 0:
                pauses.append(seconds)
            await sleep(0)

        monkeypatch.setattr("src.database.asyncio.sleep", note)
        for _ in range(20):
            await self.attempts(Effect.READ)

        first, second = pauses[::2], pauses[1::2]
        assert FIRST_PAUSE / 2 <= min(first) < max(first) <= FIRST_PAUSE * 3 / 2
        assert FIRST_PAUSE <= min(second) < max(second) <= FIRST_PAUSE * 3

    async def attempts(self, effect: Effect) -> int:
        """Tell how often a statement with this effect is attempted."""
        server = HangingUp()
        async with server.listen() as url:
            settings = Settings(database_url=SecretStr(url), db_pool_size=1, db_pool_timeout=30)
            async with Database(settings) as database:
                with pytest.raises(DatabaseUnavailable, match="server closed the connection"):
                    async with database.session() as session:
                        await run(session, self.STATEMENT, {}, effect)
        return server.clients


class TestAConnectionFailure:
    @pytest.mark.requirement("FR-097")
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            (
                'connection failed: connection to server at "S3", port 1 failed: Connection'
                " refused\n\tIs the server running on that host and accepting TCP/IP connections?",
                "Connection refused",
            ),
            (
                'connection failed: connection to server at "S3" (::1), port 1 failed: FATAL:'
                '  database "S3 "cret" does not exist\nMultiple connection attempts failed.',
                'database "…" does not exist',
            ),
            (
                "FATAL:  Passwort-Authentifizierung für Benutzer »S3« fehlgeschlagen",
                'Passwort-Authentifizierung für Benutzer "…" fehlgeschlagen',
            ),
            (
                "failed to resolve host 'S3': [Errno -2] Name or service not known",
                'failed to resolve host "…": [Errno -2] Name or service not known',
            ),
            ("bad value for connect_timeout: 'S3'", 'bad value for connect_timeout: "…"'),
            ("", "no reason given"),
        ],
    )
    async def test_is_told_without_what_it_quotes(self, text: str, shown: str) -> None:
        assert connection_failure(psycopg.OperationalError(text)) == shown
