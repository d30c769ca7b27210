"""Runs the migrations: each in a transaction, over the direct connection to the database.

A caller may hand in a connection (`config.attributes["connection"]`, as the tests do);
otherwise the settings name the database.
"""

import time

import psycopg
from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from src.config import Settings
from src.models.task import metadata

_MIGRATION_LOCK = 0x7461736B73  # "tasks" in ASCII: any constant of our own would do
_PAUSE = 0.1  # s


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        transaction_per_migration=True,
    )
    # A migration never queues behind a long query and, in the queue, blocks everyone behind itself:
    # it gives up and is run again.
    connection.execute(text("SET statement_timeout = 0"))
    connection.execute(text("SET lock_timeout = '5s'"))
    wait_for_others(connection)
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
    connection.commit()


def wait_for_others(connection: Connection) -> None:
    """Let two servers that start at once not both migrate: the second finds nothing left to do.

    It asks again and again, since CREATE INDEX CONCURRENTLY would wait for a statement that waits.
    If the migration fails, the lock is released with the connection.
    """
    is_free = text("SELECT pg_try_advisory_lock(:key)")
    while not connection.execute(is_free, {"key": _MIGRATION_LOCK}).scalar():
        connection.commit()
        time.sleep(_PAUSE)
    connection.commit()


def main() -> None:
    connection = context.config.attributes.get("connection")
    if connection is not None:
        migrate(connection)
        return
    url = context.config.attributes.get("url") or Settings().migration_url
    # libpq reads the URL, as it does for the server: SQLAlchemy would read some of them otherwise.
    engine = create_engine(
        "postgresql+psycopg://",
        poolclass=pool.NullPool,
        creator=lambda: psycopg.connect(url, connect_timeout=10),
    )
    with engine.connect() as fresh:
        migrate(fresh)


main()
