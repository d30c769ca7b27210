"""The migrations: apply them, and tell whether a database has what this code needs."""

from functools import cache
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from src.config import ROOT
from src.database import GRANT_HINT, MISSING_HINT, Effect, run, warn_once
from src.exceptions import DatabaseUnavailable
from src.models.task import metadata

VERSION_TABLE: Final = "task_api_version"
"""Where Alembic keeps the revision. Its usual table may belong to another application."""

_PRIVILEGES: Final = ["SELECT", "INSERT", "UPDATE", "DELETE"]
_STATE: Final = text(f"""
    SELECT
        (SELECT version_num FROM {VERSION_TABLE}) AS revision,
        current_user AS role,
        ARRAY(
            SELECT DISTINCT CASE
                WHEN to_regclass(name) IS NULL THEN 'the table ' || name
                ELSE privilege || ' on ' || name
            END AS lack
            FROM unnest(CAST(:tables AS text[])) AS name,
                unnest(CAST(:privileges AS text[])) AS privilege
            WHERE has_table_privilege(to_regclass(name), privilege) IS NOT TRUE
            ORDER BY lack
        ) AS lacks
""")  # noqa: S608 — the name is ours


def _config() -> Config:
    return Config(ROOT / "backend" / "alembic.ini")


def upgrade(url: str, *, connect_timeout: int = 10) -> None:
    """Bring the database at `url` to the newest migration. Does nothing if it is there.

    The connection may take `connect_timeout` seconds, unless the URL says otherwise.
    """
    config = _config()
    config.attributes["url"] = url
    config.attributes["connect_timeout"] = connect_timeout
    command.upgrade(config, "head")


@cache
def newest() -> str:
    """Return the migration that this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "there are migrations"  # noqa: S101 — an invariant
    return head


async def check(session: AsyncSession) -> None:
    """Make sure that the database has the tables that this code needs, and lets its role use them.

    A later revision will do: during a deployment, servers of two releases use the database.

    Raises:
        DatabaseUnavailable: it has not, with what is missing; or it did not answer.
    """
    parameters = {"tables": [*metadata.tables], "privileges": _PRIVILEGES}
    (state,) = (await run(session, _STATE, parameters, Effect.READ)).rows
    if state.lacks:
        is_there = not any(lack.startswith("the table ") for lack in state.lacks)
        hint = GRANT_HINT if is_there else MISSING_HINT
        raise DatabaseUnavailable(f"the role {state.role} lacks {', '.join(state.lacks)}: {hint}")
    # The revisions are numbers of fixed width.
    if state.revision is None or state.revision < newest():
        found = "no revision" if state.revision is None else f"revision {state.revision}"
        raise DatabaseUnavailable(
            f"the schema has {found}, and this version needs {newest()}: run `migrate`"
        )
    if state.revision > newest():
        warn_once(
            f"the schema has revision {state.revision}, and this version knows {newest()}:"
            " a later one is being deployed"
        )
