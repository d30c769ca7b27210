"""The migrations: apply them, and tell which one a database is at."""

from functools import cache
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import ProgrammingError
from sqlalchemy import String, column, select, table
from sqlmodel.ext.asyncio.session import AsyncSession

from src.config import ROOT
from src.database import Statement, fetch_optional

_CURRENT: Final = Statement(
    lambda: select(column("version_num", String())).select_from(table("alembic_version"))
)


def _config() -> Config:
    return Config(ROOT / "backend" / "alembic.ini")


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest migration. Does nothing if it is there."""
    config = _config()
    config.attributes["url"] = url
    command.upgrade(config, "head")


@cache
def newest() -> str | None:
    """The migration that this code needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()


async def current(session: AsyncSession) -> str | None:
    """The migration that the database is at; None if there is no sign of one.

    Raises:
        DatabaseUnavailable: the database did not answer.
    """
    try:
        row = await fetch_optional(session, _CURRENT, {}, is_repeatable=True)
    except ProgrammingError:  # no such table: nothing was ever migrated here
        return None
    return None if row is None else str(row[0])
