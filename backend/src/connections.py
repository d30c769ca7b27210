"""The connections to PostgreSQL: psycopg's, as its pool and SQLAlchemy both need them."""

import select
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.engine import URL

CONNECTION_OPTIONS: Final = {
    "connect_timeout": 5,  # s: a worker of the pool must not hang on a host that is silent
    "keepalives_idle": 10,  # s
    "keepalives_interval": 2,  # s
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,  # ms: how long a sent statement may stay unacknowledged
    "application_name": "task-api",
}


_OPEN: Final = (TransactionStatus.INTRANS, TransactionStatus.INERROR)


class BytesLoader(Loader):
    """What PostgreSQL rendered goes out as it is: never decoded or parsed, so never rebuilt."""

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

    def initialize(self, connection: Connection) -> None:
        """Ask the server nothing: SQLAlchemy writes the statements here, and does not run them."""

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type["PooledDialect"]:  # noqa: ARG003 — SQLAlchemy's signature
        """Stand for itself: it is asynchronous."""
        return cls


DIALECT: Final = PooledDialect()  # type: ignore[no-untyped-call]  # SQLAlchemy does not type it

registry.register("postgresql.pooled", __name__, PooledDialect.__name__)


class PooledConnection(AsyncConnection[Any]):
    """A connection that goes back to its pool when it is closed, broken or not.

    psycopg's own leaves a broken one where it is: the pool would count it as lent for ever.
    """

    async def rollback(self) -> None:
        """Roll back what is open: nothing in autocommit, nor on a connection that is lost."""
        if self.pgconn.transaction_status in _OPEN:
            await super().rollback()

    async def close(self) -> None:
        """Go back to the pool, if there is one that has lent it."""
        pool = getattr(self, "_pool", None)
        if pool is None:
            await super().close()
        else:
            await pool.putconn(self)


def is_dead(connection: AsyncConnection[Any]) -> bool:
    """Tell whether the server has closed an idle connection, without a round trip.

    There is nothing to read on one, unless the server has closed it or said why it will.
    `finish` makes the end known to the pool, which would otherwise give it out again, for ever.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return False
    connection.pgconn.finish()
    return True


def connection_options(url: str) -> dict[str, Any]:
    """Give the options of a connection to this database, beyond what its URL says."""
    adapters = AdaptersMap(psycopg.adapters)
    for rendered in ("json", "text"):
        adapters.register_loader(rendered, BytesLoader)
    return {
        **CONNECTION_OPTIONS,
        "autocommit": True,
        "context": adapters,
        # Neon's pooler hands each statement to any server connection.
        "prepare_threshold": None if "-pooler" in (urlsplit(url).hostname or "") else 5,
    }
