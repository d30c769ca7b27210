"""What `python -m src check` looks at: the database as a server would use it."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from enum import StrEnum
from statistics import median
from typing import Any, Final, NamedTuple

from sqlalchemy import Executable, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlmodel.ext.asyncio.session import AsyncSession

from src import revisions
from src.config import Settings, misspelled_variables
from src.database import TIME_LIMITS, Database, Effect, run
from src.exceptions import DatabaseUnavailable

_ROUND_TRIPS: Final = 7
_FAR: Final = 50  # ms

_SETTINGS: Final = (
    "server_version",
    "server_encoding",
    "transaction_read_only",
    "synchronous_commit",
    *TIME_LIMITS,
)
_SERVER: Final = select(func.pg_backend_pid(), *map(func.current_setting, _SETTINGS))
_FREE_CONNECTIONS: Final = text("""
    SELECT sum(setting::int * CASE name WHEN 'max_connections' THEN 1 ELSE -1 END) FROM pg_settings
    WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
""")
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


def check_environment() -> Iterator[Finding]:
    """Find the variables that are misspelled settings, which would be ignored."""
    for name, meant in misspelled_variables().items():
        yield Finding(
            Verdict.WARNING, "settings", f"{name} is not a setting: did you mean {meant}?"
        )


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """Check the database of these settings. Ends early if it cannot be used."""
    try:
        async with Database(settings) as database, database.session() as session:
            server = await _one_row(session, _SERVER)
            backend_pid, version, encoding, read_only, durability, *limits = server
            yield Finding(Verdict.OK, "database", f"PostgreSQL {version}, encoding {encoding}")
            yield _writes(read_only)
            driver = await _driver_connection(session)
            is_direct = driver.info.backend_pid == backend_pid
            yield _connection(is_direct=is_direct, prepares=driver.prepare_threshold is not None)
            if is_direct:
                yield await _connections(session, settings)
            yield await _schema(session)
            yield _time_limits(limits)
            yield _durability(durability)
            yield await _distance(session)
    except DatabaseUnavailable as error:
        yield Finding(Verdict.FAILED, "database", f"{error}; check DATABASE_URL")


async def _one_row(session: AsyncSession, statement: Executable) -> Sequence[Any]:
    (row,) = (await run(session, statement, {}, Effect.READ)).rows
    return row


def _writes(transaction_read_only: str) -> Finding:
    if transaction_read_only == "on":
        advice = (
            "the database is read-only, so every write gets 503: connect to the primary, or switch"
            " off default_transaction_read_only"
        )
        return Finding(Verdict.FAILED, "writes", advice)
    return Finding(Verdict.OK, "writes", "are accepted")


async def _connections(session: AsyncSession, settings: Settings) -> Finding:
    (allowed,) = await _one_row(session, _FREE_CONNECTIONS)
    ours = settings.web_concurrency * settings.db_pool_size
    found = f"this server opens up to {ours}, and the database allows {allowed}"
    if ours > allowed:
        advice = f"{found}: lower DB_POOL_SIZE or WEB_CONCURRENCY, or use a pooler"
        return Finding(Verdict.WARNING, "connections", advice)
    return Finding(Verdict.OK, "connections", found)


async def _driver_connection(session: AsyncSession) -> Any:  # noqa: ANN401 — SQLAlchemy gives it no type
    connection = await (await session.connection()).get_raw_connection()
    return connection.driver_connection


def _connection(*, is_direct: bool, prepares: bool) -> Finding:
    between = "direct" if is_direct else "through a connection pooler"
    does = "are" if prepares else "are not"
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
