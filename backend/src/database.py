"""The engine: psycopg's pool under SQLAlchemy's sessions. It knows no table and no HTTP.

Why this stack, each part of it measured, is told in ADR 0003.
"""

import select
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import Result, Row, Select
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel.ext.asyncio.session import AsyncSession

from src.exceptions import DatabaseUnavailable

RECONNECT_TIMEOUT: Final = 2.0
"""Seconds for which the pool goes on trying to connect by itself. Afterwards the next
request makes it try again at once, where a longer patience would be asleep in its backoff."""

CONNECTION_OPTIONS: Final = {
    "connect_timeout": 5,  # s: a worker of the pool must not hang on a host that is silent
    "keepalives_idle": 10,  # s
    "keepalives_interval": 2,  # s
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,  # ms: how long a sent statement may stay unacknowledged
    "application_name": "task-api",
}


class JsonBytesLoader(Loader):
    """JSON that PostgreSQL rendered goes out as it is: never parsed, so never rebuilt."""

    def load(self, data: Buffer) -> bytes:
        """Take the text as it came."""
        return bytes(data)


class PooledDialect(PGDialectAsync_psycopg):
    """SQLAlchemy's psycopg dialect over connections that psycopg's own pool prepares.

    SQLAlchemy takes each checkout for a new connection, and its `on_connect` would add one
    more notice handler to the connection each time, without end.
    """

    supports_statement_cache = True

    def on_connect(self) -> None:
        """Leave the connection as the pool has prepared it."""

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type["PooledDialect"]:  # noqa: ARG003 — SQLAlchemy's signature
        """Stand for itself: it is asynchronous."""
        return cls


registry.register("postgresql.pooled", __name__, PooledDialect.__name__)


def sqlalchemy_url(url: str) -> str:
    """Name the driver in the URL that Neon's console shows."""
    return "postgresql+psycopg://" + url.split("://", 1)[1]


async def check_idle(connection: AsyncConnection[Any]) -> None:
    """Refuse a connection that the server has closed, without a round trip.

    An idle connection has nothing to read, unless the server has closed it or said why it
    is about to. `finish` makes that visible: otherwise the pool would take the connection
    for a good one and give it out again, for ever.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        connection.pgconn.finish()
        raise psycopg.OperationalError("the server closed the connection")


class Database:
    """The pool of connections to one database, and the sessions on it.

    `max_waiting` requests queue in order for one of `size` connections; one that has waited
    for `timeout` seconds, or finds the queue full, fails at once instead of piling up.
    """

    def __init__(self, url: str, *, size: int, max_waiting: int, timeout: float) -> None:
        adapters = AdaptersMap(psycopg.adapters)
        adapters.register_loader("json", JsonBytesLoader)
        self._pool = AsyncConnectionPool(
            url,
            min_size=min(size, 2),
            max_size=size,
            max_waiting=max_waiting,
            timeout=timeout,
            reconnect_timeout=RECONNECT_TIMEOUT,
            check=check_idle,
            close_returns=True,
            open=False,
            kwargs={
                **CONNECTION_OPTIONS,
                "autocommit": True,
                "context": adapters,
                # Neon's pooler hands each statement to any server connection.
                "prepare_threshold": None if "-pooler" in (urlsplit(url).hostname or "") else 5,
            },
        )
        self._engine = create_async_engine(
            "postgresql+pooled://",
            async_creator=self._pool.getconn,
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

    def session(self) -> AsyncSession:
        """Open a session. It takes a connection when it first runs a statement."""
        return AsyncSession(self._engine, expire_on_commit=False, autoflush=False)


async def fetch_optional(
    session: AsyncSession, statement: Select[*tuple[Any, ...]], parameters: Mapping[str, Any]
) -> Row[*tuple[Any, ...]] | None:
    """Run a statement that gives one row at most. This is the only door to the database.

    Raises:
        DatabaseUnavailable: it did not answer, or not within the time limits.
    """
    try:
        # SQLModel declares only its own subclass of Select, and runs them all.
        result: Result[*tuple[Any, ...]] = await session.exec(  # type: ignore[call-overload]
            statement, params=parameters
        )
        return result.one_or_none()
    except OperationalError as error:
        raise DatabaseUnavailable from error


async def fetch_one(
    session: AsyncSession, statement: Select[*tuple[Any, ...]], parameters: Mapping[str, Any]
) -> Row[*tuple[Any, ...]]:
    """Run a statement that always gives one row.

    Raises:
        DatabaseUnavailable: the database did not answer, or not within the time limits.
    """
    row = await fetch_optional(session, statement, parameters)
    assert row is not None, "the statement gives one row, whatever is stored"  # noqa: S101 — an invariant
    return row
