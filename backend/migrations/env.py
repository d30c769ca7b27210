"""Runs the migrations: each in a transaction, over the direct connection to the database.

What is not ours is left alone. The revision is kept in a table of our own, since another
application that uses Alembic may have its `alembic_version` in the same schema.

A caller may hand in a connection (`config.attributes["connection"]`, as the tests do);
otherwise the settings name the database.
"""

import time
from typing import Any, Literal, cast

import psycopg
from alembic import context, util
from alembic.autogenerate.api import AutogenContext
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, create_engine, pool, text

from src.config import Settings
from src.database import require_utf8
from src.exceptions import DatabaseUnavailable
from src.models.task import metadata
from src.revisions import VERSION_TABLE

_MIGRATION_LOCK = 0x7461736B73  # "tasks" in ASCII: any constant of our own would do
_PAUSE = 0.1  # s

# What the first migration makes.
_FIRST_TABLES = ("task_lists", "task_tombstones", "tasks")
_FIRST_CONSTRAINTS = [*(f"{table}_user_id_format" for table in _FIRST_TABLES), "tasks_tags_trimmed"]
_FIRST_NAMES = text("""
    SELECT name FROM (
        SELECT relname, relnamespace FROM pg_class
        UNION SELECT typname, typnamespace FROM pg_type
    ) AS of (name, namespace)
    WHERE name = ANY(:names) AND namespace = current_schema()::regnamespace
    ORDER BY name
""")
# No release has used a later revision together with Alembic's own table. The constraints tell our
# tables from those of another application that counts its revisions as we do.
_EARLIER_REVISIONS = ["0001", "0002", "0003", "0004"]
_EARLIER_REVISION = text("""
    SELECT version_num FROM alembic_version
    WHERE version_num = ANY(:revisions) AND (
        SELECT count(*) FROM pg_constraint
        WHERE conname = ANY(:constraints) AND contype = 'c'
            AND connamespace = current_schema()::regnamespace
    ) = cardinality(:constraints)
""")


def migrate(connection: Connection) -> None:
    driver = cast("psycopg.Connection[object]", connection.connection.driver_connection)
    require_utf8(driver.info)
    refuse_pooler(connection, driver.info.backend_pid)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        compare_type=True,
        render_item=import_sqlmodel,
        transaction_per_migration=True,
    )
    # A migration never queues behind a long query and, in the queue, blocks everyone behind itself:
    # it gives up and is run again.
    connection.execute(text("SET statement_timeout = 0"))
    connection.execute(text("SET lock_timeout = '5s'"))
    wait_for_others(connection)
    adopt(connection)
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
    connection.commit()


def import_sqlmodel(_: str, item: object, context: AutogenContext) -> Literal[False]:
    """Let a generated migration import SQLModel for its types, and write them as usual."""
    if type(item).__module__.startswith("sqlmodel."):
        context.imports.add("import sqlmodel")
    return False


def refuse_pooler(connection: Connection, backend_pid: int) -> None:
    """Refuse a transaction pooler, which would give the settings and the lock to other clients.

    The process id that libpq knows is then made up by the pooler.
    """
    if connection.scalar(text("SELECT pg_backend_pid()")) != backend_pid:
        raise DatabaseUnavailable(
            "migrations cannot run through a connection pooler; set DATABASE_URL_UNPOOLED to the"
            " direct connection"
        )
    connection.commit()


def adopt(connection: Connection) -> None:
    """Note the revision of a database that an earlier release has migrated; refuse a foreign one.

    Alembic's own table stays: servers of that release look there to see whether they are ready.
    """
    migrations = context.get_context()
    if migrations.get_current_revision() is not None:
        connection.commit()
        return
    names = sorted([*_FIRST_TABLES, "task_priority"])
    found = connection.scalars(_FIRST_NAMES, {"names": names}).all()
    has_history = connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    revision = None
    if found == names and has_history:
        parameters = {"revisions": _EARLIER_REVISIONS, "constraints": _FIRST_CONSTRAINTS}
        revision = connection.scalar(_EARLIER_REVISION, parameters)
    if revision is not None:
        migrations.stamp(context.script, revision)
    elif found:
        raise DatabaseUnavailable(
            f"the schema has {' and '.join(found)} of another application; use a database of its"
            " own for the Task API, or a schema"
        )
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
    if context.is_offline_mode():
        raise util.CommandError("--sql is not supported: these migrations ask the database")
    connection = context.config.attributes.get("connection")
    if connection is not None:
        migrate(connection)
        return
    url = context.config.attributes.get("url") or Settings().migration_url
    # libpq reads the URL, as it does for the server: SQLAlchemy would read some of them otherwise.
    connect_timeout = context.config.attributes.get("connect_timeout", 10)

    def connect() -> psycopg.Connection[Any]:
        options: dict[str, Any] = {"connect_timeout": connect_timeout, **conninfo_to_dict(url)}
        return psycopg.connect(**options | {"client_encoding": "utf8"})

    engine = create_engine(
        "postgresql+psycopg://",
        poolclass=pool.NullPool,
        creator=connect,
    )
    with engine.connect() as fresh:
        migrate(fresh)


main()
