"""What `python -m src check` looks at: the database as a server would use it."""

import time
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from statistics import median
from typing import Any, Final, NamedTuple

from sqlalchemy import Executable, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlmodel.ext.asyncio.session import AsyncSession

from src import revisions
from src.config import Settings
from src.database import TIME_LIMITS, Database, Effect, run
from src.exceptions import DatabaseUnavailable

_ROUND_TRIPS: Final = 7
_FAR: Final = 50  # ms

_SETTINGS: Final = ("server_version", "server_encoding", "synchronous_commit", *TIME_LIMITS)
_SERVER: Final = select(func.pg_backend_pid(), *map(func.current_setting, _SETTINGS))
_PING: Final = text("SELECT 1")


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(NamedTuple):
    """One thing that was checked, with what to do about it unless it is fine."""

    verdict: Verdict
    subject: str
    text: str


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """Check the database of these settings. Ends early if it cannot be used."""
    try:
        async with Database(settings) as database, database.session() as session:
            server = await _one_row(session, _SERVER)
            backend_pid, version, encoding, durability, *limits = server
            yield Finding(Verdict.OK, "database", f"PostgreSQL {version}, encoding {encoding}")
            yield await _pooler(session, backend_pid)
            yield await _schema(session)
            yield _time_limits(limits)
            yield _durability(durability)
            yield await _distance(session)
    except DatabaseUnavailable as error:
        yield Finding(Verdict.FAILED, "database", f"{error}; check DATABASE_URL")


async def _one_row(session: AsyncSession, statement: Executable) -> Sequence[Any]:
    (row,) = (await run(session, statement, {}, Effect.READ)).rows
    return row


async def _pooler(session: AsyncSession, backend_pid: int) -> Finding:
    connection = await (await session.connection()).get_raw_connection()
    driver: Any = connection.driver_connection
    between = "direct" if driver.info.backend_pid == backend_pid else "through a connection pooler"
    does = "are not" if driver.prepare_threshold is None else "are"
    return Finding(Verdict.OK, "connection", f"{between}; statements {does} prepared")


async def _schema(session: AsyncSession) -> Finding:
    try:
        await revisions.check(session)
    except DatabaseUnavailable as error:
        return Finding(Verdict.FAILED, "schema", str(error))
    except DBAPIError as error:
        return Finding(Verdict.FAILED, "schema", str(error.orig))
    return Finding(Verdict.OK, "schema", "has what this version needs, and the role may use it")


def _time_limits(limits: Sequence[str]) -> Finding:
    missing = [name for name, limit in zip(TIME_LIMITS, limits, strict=True) if limit == "0"]
    if missing:
        remedy = " ".join(
            f"ALTER ROLE CURRENT_USER SET {name} = '{TIME_LIMITS[name]}';" for name in missing
        )
        advice = f"the role has no {' and no '.join(missing)}; run as this role: {remedy}"
        return Finding(Verdict.WARNING, "time limits", advice)
    found = (f"{name} {limit}" for name, limit in zip(TIME_LIMITS, limits, strict=True))
    return Finding(Verdict.OK, "time limits", ", ".join(found))


def _durability(synchronous_commit: str) -> Finding:
    if synchronous_commit == "off":
        advice = "synchronous_commit is off: a crash can lose what was answered; turn it on"
        return Finding(Verdict.WARNING, "durability", advice)
    return Finding(Verdict.OK, "durability", f"synchronous_commit is {synchronous_commit}")


async def _distance(session: AsyncSession) -> Finding:
    times = []
    for _ in range(_ROUND_TRIPS):
        started = time.perf_counter()
        await _one_row(session, _PING)
        times.append((time.perf_counter() - started) * 1000)
    measured = f"{median(times):.1f} ms"
    if median(times) > _FAR:
        advice = (
            f"{measured}: each request takes at least that long; run the server closer to the"
            " database"
        )
        return Finding(Verdict.WARNING, "round trip", advice)
    return Finding(Verdict.OK, "round trip", measured)
