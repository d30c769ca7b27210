"""Runs the migrations: one transaction each, over the direct connection to the database.

A caller may hand in a connection (`config.attributes["connection"]`, as the tests do);
otherwise the settings name the database.
"""

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from src.config import Settings
from src.connections import sqlalchemy_url
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
    engine = create_engine(
        sqlalchemy_url(url), poolclass=pool.NullPool, connect_args={"connect_timeout": 10}
    )
    with engine.connect() as fresh:
        migrate(fresh)


main()
