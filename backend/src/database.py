"""The engine: psycopg's pool under SQLModel's sessions. It knows no table and no HTTP.

Why this stack, each part of it measured, is told in ADR 0003.
"""

from asyncio import get_running_loop
from collections.abc import Callable, Mapping
from functools import cached_property
from os import dup
from socket import SHUT_RDWR, socket
from time import monotonic
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, cast

from psycopg import AsyncConnection, Error
from psycopg.errors import OperationalError, ReadOnlySqlTransaction
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel.ext.asyncio.session import AsyncSession

from src.connections import DIALECT, PooledConnection, connection_options, is_dead
from src.exceptions import DatabaseUnavailable, OutcomeUnknown
from src.retry import Tries

RECONNECT_TIMEOUT: Final = 2.0
"""Seconds for which the pool goes on trying to connect by itself. Afterwards the next
request makes it try again at once, where a longer patience would be asleep in its backoff."""

STATEMENT_PATIENCE: Final = 6.0
"""Seconds after which a statement is given up: one more than the server gives it itself."""


# SQLAlchemy reports what the pool says (there is no connection), psycopg the rest.
_UNAVAILABLE: Final = (DBAPIError, OperationalError, ReadOnlySqlTransaction)


class Database:
    """The pool of connections to one database, and the sessions on it.

    `max_waiting` requests queue in order for one of `size` connections; one that has waited
    for `timeout` seconds, or finds the queue full, fails at once instead of piling up.
    """

    def __init__(self, url: str, *, size: int, max_waiting: int, timeout: float) -> None:
        self._pool = AsyncConnectionPool(
            url,
            min_size=min(size, 2),
            max_size=size,
            max_waiting=max_waiting,
            timeout=timeout,
            reconnect_timeout=RECONNECT_TIMEOUT,
            connection_class=PooledConnection,
            open=False,
            kwargs=connection_options(url),
        )
        self._engine = create_async_engine(
            "postgresql+pooled://",
            async_creator=self._check_out,
            poolclass=NullPool,
            pool_reset_on_return=None,
            use_native_hstore=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._engine.dispose()
        await self._pool.close()

    async def _check_out(self) -> AsyncConnection[Any]:
        """Take a living connection. (The pool's own `check` sleeps between two dead ones.)"""
        deadline = monotonic() + self._pool.timeout
        while is_dead(connection := await self._pool.getconn(deadline - monotonic())):
            await connection.close()
        return connection

    def session(self) -> AsyncSession:
        """Open a session. It takes a connection when it first runs a statement."""
        return AsyncSession(self._engine, expire_on_commit=False, autoflush=False)


class Statement:
    """A statement that is built and compiled when it first runs.

    Only its text is kept. What SQLAlchemy builds are thousands of objects in cycles: whoever keeps
    them for a while has them collected much later, all at once, with everybody waiting.
    """

    def __init__(self, build: Callable[[], Select[*tuple[Any, ...]]]) -> None:
        self.build = build

    @cached_property
    def compiled(self) -> tuple[str, dict[str, Any]]:
        """The text as psycopg takes it, and the values that are part of it."""
        return compile_statement(self.build())


def compile_statement(statement: Select[*tuple[Any, ...]]) -> tuple[str, dict[str, Any]]:
    """Give a statement as psycopg takes it, and the values that are part of it."""
    compiled = statement.compile(dialect=DIALECT)
    return str(compiled), {
        name: value for name, value in compiled.params.items() if value is not None
    }


class Fetched(NamedTuple):
    """What a statement gave, and whether an earlier try of it may have been executed as well."""

    row: tuple[Any, ...] | None
    is_repeated: bool


async def fetch(
    session: AsyncSession,
    statement: Statement,
    parameters: Mapping[str, Any],
    *,
    is_repeatable: bool = False,
) -> Fetched:
    """Run a statement that gives one row at most. This is the only door to the database.

    A statement that was surely not executed is tried again on another connection. One of
    which nobody knows is tried again only if it `is_repeatable`: if running it twice has
    the same effect as running it once (ADR 0012).

    Raises:
        DatabaseUnavailable: it did not answer, or not within the time limits.
        OutcomeUnknown: nor does anybody know whether it has executed the statement.
    """
    query, constants = statement.compiled
    values = {**constants, **parameters}
    tries = Tries(is_repeatable=is_repeatable)
    while True:
        try:
            row = await _run(session, query, values, may_prepare=tries.is_first)
            return Fetched(row, tries.is_uncertain)
        except (DBAPIError, Error) as error:
            if not tries.allow_another(error):
                if not isinstance(error, _UNAVAILABLE):
                    raise
                is_in_doubt = tries.is_uncertain and not is_repeatable
                raise (OutcomeUnknown if is_in_doubt else DatabaseUnavailable) from error
        await _leave_connection(session)
        await tries.pause()


async def _run(
    session: AsyncSession, query: str, values: Mapping[str, Any], *, may_prepare: bool
) -> tuple[Any, ...] | None:
    """Run a statement once.

    The session gives the connection, in its one transaction; psycopg runs the statement on it.
    For the one row that a request needs, SQLAlchemy's own execution (a context, a result and
    its metadata, a second greenlet) would cost more than the statement's whole way to the
    server and back: `make bench` tells.
    """
    connection = await _driver_connection(session)
    limit = get_running_loop().call_later(STATEMENT_PATIENCE, _cut, connection)
    try:
        cursor = await connection.execute(query, values, prepare=None if may_prepare else False)
        return await cursor.fetchone()
    finally:
        limit.cancel()


async def fetch_optional(
    session: AsyncSession,
    statement: Statement,
    parameters: Mapping[str, Any],
    *,
    is_repeatable: bool = False,
) -> tuple[Any, ...] | None:
    """Run a statement that gives one row at most, where it does not matter which try did it.

    Raises:
        DatabaseUnavailable: the database did not answer, or not within the time limits.
    """
    return (await fetch(session, statement, parameters, is_repeatable=is_repeatable)).row


async def fetch_one(
    session: AsyncSession,
    statement: Statement,
    parameters: Mapping[str, Any],
    *,
    is_repeatable: bool = False,
) -> tuple[Any, ...]:
    """Run a statement that always gives one row.

    Raises:
        DatabaseUnavailable: the database did not answer, or not within the time limits.
    """
    row, _ = await fetch(session, statement, parameters, is_repeatable=is_repeatable)
    assert row is not None, "the statement gives one row, whatever is stored"  # noqa: S101 — an invariant
    return row


async def _driver_connection(session: AsyncSession) -> AsyncConnection[tuple[Any, ...]]:
    connection = (await session.connection()).sync_connection
    assert connection is not None, "a session that is in use has one"  # noqa: S101 — an invariant
    driver_connection: Any = connection.connection.driver_connection
    return cast("AsyncConnection[tuple[Any, ...]]", driver_connection)


async def _leave_connection(session: AsyncSession) -> None:
    """Close the connection that a statement failed on: the next one takes another.

    Also one that seems well: it may hold the prepared plan that failed. So may any other in the
    pool, which is why later tries run unprepared.
    """
    (await _driver_connection(session)).pgconn.finish()
    await session.close()


def _cut(connection: AsyncConnection[Any]) -> None:
    """End a wait that nothing else ends: for a server that hangs, or a network that is gone.

    Asking psycopg to cancel would wait for that same server. A connection without a socket
    cannot wait, fails at once, and is replaced by the pool.
    """
    with socket(fileno=dup(connection.fileno())) as same:
        same.shutdown(SHUT_RDWR)
