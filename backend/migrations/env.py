"""Runs the migrations: all in one transaction, over the direct connection to the database.

A caller may hand in a connection (`config.attributes["connection"]`, as the tests do);
otherwise the settings name the database.
"""

import psycopg
from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from src.config import Settings
from src.models.task import metadata

_MIGRATION_LOCK = 0x7461736B73  # "tasks" in ASCII: any constant of our own would do


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_type=True)
    with context.begin_transaction():
        # Two servers that start at once must not both migrate: the second waits here, and
        # then finds nothing left to do. But a migration never queues behind a long query
        # and, in the queue, blocks everyone behind itself: it gives up and is run again.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        context.run_migrations()


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
