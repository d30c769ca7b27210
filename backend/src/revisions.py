"""The migrations: apply them, and tell which one a database is at."""

from functools import cache
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import String, column, select, table
from sqlalchemy.exc import ProgrammingError
from sqlmodel.ext.asyncio.session import AsyncSession

from src.config import ROOT
from src.database import Effect, run

_CURRENT: Final = select(column("version_num", String())).select_from(table("alembic_version"))


def _config() -> Config:
    return Config(ROOT / "backend" / "alembic.ini")


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest migration. Does nothing if it is there."""
    config = _config()
    config.attributes["url"] = url
    command.upgrade(config, "head")


@cache
def newest() -> str | None:
    """Give the migration that this code needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()


async def current(session: AsyncSession) -> str | None:
    """Give the migration that the database is at; None if it was never migrated.

    Raises:
        DatabaseUnavailable: the database did not answer.
    """
    try:
        found = await run(session, _CURRENT, {}, Effect.READ)
    except ProgrammingError:  # there is no such table, or no right to read it
        return None
    return str(found.rows[0].version_num) if found.rows else None
