"""The database: engine, session, transaction, and the retry of statements.

It knows no table and no HTTP. The engine is SQLAlchemy's own with its own pool; a limiter is in
front of it. See ADR 0014.
"""

import asyncio
import logging
import random
import re
import select
from asyncio import get_running_loop
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from enum import Enum, auto
from functools import cache, cached_property, lru_cache, partial
from os import dup
from socket import SHUT_RDWR, socket
from time import monotonic
from typing import Any, Final, NamedTuple, Self, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.sql import SQL, Composed, Literal
from sqlalchemy import Connection, Executable, Row, event
from sqlalchemy.engine import ExceptionContext, ExecutionContext
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import SessionTransaction, SessionTransactionOrigin
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session as SyncSession
from sqlmodel.ext.asyncio.session import AsyncSession

from src import metrics
from src.config import Settings
from src.exceptions import DatabaseUnavailable, OutcomeUnknown
from src.limiter import Limiter

STATEMENT_TIMEOUT: Final = 6.0
"""Seconds after which the application stops waiting for a statement and closes the connection. The
server's own `statement_timeout` is shorter: this one is for a server or a network that hangs."""

MAX_ATTEMPTS: Final = 3
"""The maximum number of times a statement is sent."""

RETRY_WINDOW: Final = 3.0
"""Seconds after which no further attempt begins: the client is waiting."""

FIRST_PAUSE: Final = 0.02
"""Seconds, on average, before the second attempt; twice as many before the third."""

_CONNECTION_DEFAULTS: Final = {
    "application_name": "task-api",
    "keepalives_idle": 10,  # s
    "keepalives_interval": 2,  # s
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,  # ms that sent data may stay unacknowledged
}
TIME_LIMITS: Final = {
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
}
"""The limits of a connection whose role has none. The first migration sets them for its role."""

_PREPARE_THRESHOLD: Final = 5  # psycopg's default: prepare a statement when it runs the sixth time

_CHANGED_RESULT: Final = "0A000"
_READ_ONLY: Final = "25006"
_NOT_EXECUTED: Final = frozenset(
    {
        "57P01",  # admin_shutdown
        "57P05",  # idle_session_timeout
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        _CHANGED_RESULT,  # feature_not_supported: a migration changed what a prepared one returns
        _READ_ONLY,  # read_only_sql_transaction: another connection may lead to the new primary
    }
)
# statement_completion_unknown: from databases that consist of several servers
_UNKNOWN: Final = "40003"
MISSING_HINT: Final = "run `migrate`, or grant the role its privileges"
"""What to do if tables or columns are missing, or hidden from the role."""
GRANT_HINT: Final = "grant the role its privileges"
"""What to do if the role may not use what is there."""
_HINTS: Final = {
    "42P01": MISSING_HINT,  # undefined_table
    "42703": MISSING_HINT,  # undefined_column
    "42704": MISSING_HINT,  # undefined_object, such as a type
    "42501": GRANT_HINT,  # insufficient_privilege
}

_CONNECTION_EXCEPTION: Final = "08"  # SQLSTATE class: how poolers report that they lost the server
_AUTOCOMMIT: Final = "autocommit"
"""The key in `session.info` of the connection that a session uses in autocommit."""
_DRIVER: Final = "driver"
"""The key of its driver's connection, which SQLAlchemy forgets when it is lost."""
_BEGUN: Final = "begun"
"""The key in `session.info` of a session that has left autocommit without `begin()`: by a flush, or
by an isolation level of its own. The value tells whether it had written, and so committed, before.
"""

# What is not SQL in a statement: texts, quoted names, parameters, comments.
_NOT_SQL: Final = re.compile(
    r"'(?:[^']|'')*'|(?<!\w)\$(\w*)\$.*?\$\1\$|\"[^\"]*\"|%\([^)]*\)s|--[^\n]*|/\*.*?\*/", re.DOTALL
)
_READS: Final = re.compile(r"[\s(]*(?:SELECT|SHOW|TABLE|VALUES|WITH)\b", re.IGNORECASE)
_WRITES: Final = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE|INTO)\b", re.IGNORECASE)
_LOCKS: Final = re.compile(
    r"\bFOR\s+(?:NO\s+KEY\s+UPDATE|KEY\s+SHARE|UPDATE|SHARE)\b|\bpg_\w*advisory_xact_lock",
    re.IGNORECASE,
)

_QUOTED: Final = re.compile("[\"'«»„“”].*[\"'«»„“”]")  # a server may write in any language

log = logging.getLogger(__name__)


class Effect(Enum):
    """What happens if a statement is executed twice."""

    READ = auto()
    """Nothing: it only reads."""
    IDEMPOTENT = auto()
    """The same as if it were executed once."""
    NOT_REPEATABLE = auto()
    """Something else, so it must not be sent again unless it was surely not executed."""


class Outcome(NamedTuple):
    """The rows of a statement, and whether an earlier attempt may have been executed as well."""

    rows: Sequence[Row[Any]]
    may_have_run_before: bool


class StatementTime:
    """The time that a request has waited for its statements, in seconds."""

    seconds = 0.0


STATEMENT_TIME: Final[ContextVar[StatementTime | None]] = ContextVar("statement_time", default=None)
"""Where the statements of the current request add their time."""


class AutocommitError(RuntimeError):
    """Something needs a transaction, and the session is in autocommit."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: the session is in autocommit mode, where each statement is committed on its"
            " own. Use `async with transaction(session):`"
        )


class _TimeLimit:
    """Stops the waiting for a statement or a commit that hangs, and adds its time to the request's.

    A cancel request would hang as well. A connection whose socket is shut down fails at once.
    """

    def __init__(self, connection: "_Connection", seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds

    def __enter__(self) -> None:
        self._started = monotonic()
        self._timer = get_running_loop().call_later(self._seconds, self._connection.shut_down)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        statement_time = STATEMENT_TIME.get()
        if statement_time is not None:
            statement_time.seconds += monotonic() - self._started


class _Connection(psycopg.AsyncConnection[Any]):
    """A connection of the driver, whose COMMIT and ROLLBACK have a time limit."""

    opening: asyncio.TimerHandle | None = None
    """The timer of a new connection. It runs until SQLAlchemy has asked its own questions, too."""

    has_written = False
    """Whether the session that uses it in autocommit has written."""

    is_binary = False
    """Whether its statement has the execution option `binary`. The driver reads such rows faster,
    but types that it does not know arrive as bytes."""

    async def commit(self) -> None:
        with _TimeLimit(self, STATEMENT_TIMEOUT):
            await super().commit()

    async def rollback(self) -> None:
        with _TimeLimit(self, STATEMENT_TIMEOUT):
            await super().rollback()

    def shut_down(self) -> None:
        """Let whoever waits for the server fail. Does nothing to a connection that is closed."""
        with suppress(OSError, psycopg.Error), socket(fileno=dup(self.fileno())) as same:
            same.shutdown(SHUT_RDWR)


class _Columns(Sequence[psycopg.Column]):
    """The description of a result, made when somebody looks at it.

    For each statement, SQLAlchemy asks twice whether there is one. It looks at the columns only
    the first time: to describe them each time would cost 3 % of a get.
    """

    def __init__(self, describe: Callable[[], Sequence[psycopg.Column] | None]) -> None:
        self._describe = describe

    @cached_property
    def _columns(self) -> Sequence[psycopg.Column]:
        return self._describe() or ()

    def __len__(self) -> int:
        return len(self._columns)

    def __getitem__(self, position: Any) -> Any:  # noqa: ANN401 — an index or a slice
        return self._columns[position]


class _Cursor(psycopg.AsyncCursor[Any]):
    """A cursor that can receive the rows of a statement in PostgreSQL's binary format."""

    @property
    def description(self) -> Sequence[psycopg.Column] | None:  # type: ignore[override]  # psycopg's is a list
        """The columns of the result, or None if it has no rows."""
        if self.pgresult is None or self.pgresult.status != ExecStatus.TUPLES_OK:
            return super().description
        return _Columns(lambda: super(_Cursor, self).description)

    async def execute(self, *arguments: Any, **options: Any) -> Self:  # noqa: ANN401 — as in the base class
        """Execute a statement, in the format that its execution options ask for."""
        if cast("_Connection", self.connection).is_binary:
            options["binary"] = True
        return await super().execute(*arguments, **options)


class _SyncSession(SyncSession):
    """The session that runs inside `Session`."""

    def rollback(self) -> None:
        """Roll back the transaction. Raises if a statement has been committed already."""
        connection = self.info.get(_AUTOCOMMIT)
        is_committed = self.info.get(_BEGUN, False)
        if connection is not None and self.info[_DRIVER].has_written:
            if not connection.invalidated:
                raise AutocommitError("cannot roll back")
            is_committed = True
        super().rollback()  # after a lost connection, this makes the session usable again
        if is_committed:
            raise AutocommitError("cannot roll back what was written before")

    def begin_nested(self) -> SessionTransaction:
        """Begin a savepoint, which needs a transaction around it."""
        if self.info.get(_AUTOCOMMIT) is not None:
            raise AutocommitError("cannot create a savepoint")
        return super().begin_nested()


class Session(AsyncSession):
    """SQLModel's session, in autocommit: one statement, one transaction, one round trip.

    What needs several statements gets a real transaction (READ COMMITTED): `transaction(session)`,
    `session.begin()`, and the flush of changed objects with the `commit()` that follows.
    """

    sync_session_class = _SyncSession

    async def __aexit__(self, *error: object) -> None:
        """Close the session."""
        connection = self.info.get(_AUTOCOMMIT)
        if connection is not None and not connection.get_execution_options():
            # There is nothing to roll back, so nothing to wait for, or to shield from a
            # cancellation: what SQLAlchemy starts for that costs 5 % of a request.
            self.sync_session.close()
        else:
            await super().__aexit__(*error)

    async def stream(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 — as in the base class
        """Execute a statement and stream its rows, which needs a transaction."""
        transaction = self.sync_session.get_transaction()
        is_begun = transaction is not None and (
            transaction.origin is not SessionTransactionOrigin.AUTOBEGIN or _BEGUN in self.info
        )
        if not is_begun:
            raise AutocommitError("cannot stream rows")
        return await super().stream(*args, **options)


class Database:
    """The database of these settings: the engine, and the sessions on it.

    It opens no connection before it needs one. A session holds one of `db_pool_size` permits from
    its start to its end, so the pool always has a connection for it.

    The engine is in autocommit, too: `engine.begin()` is no transaction, and what `set_config` sets
    for the session stays on the connection. In `transaction(session)`, use `set_config(…, true)`.
    """

    def __init__(self, settings: Settings) -> None:
        metrics.POOL_SIZE.set(settings.db_pool_size)
        self.limiter = Limiter(
            settings.db_pool_size,
            max_waiting=settings.db_pool_max_waiting,
            timeout=settings.db_pool_timeout,
            user_share=settings.db_user_share,
        )
        self._prepare_statements = settings.db_prepare_statements
        # What the URL says wins, except for the encoding: the API is UTF-8.
        self._connection_options: dict[str, Any] = {
            **_CONNECTION_DEFAULTS,
            "connect_timeout": settings.db_connect_timeout,
            **conninfo_to_dict(settings.database_url.get_secret_value()),
            "client_encoding": "utf8",
        }
        self.engine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=self._connect,  # libpq reads the URL, not SQLAlchemy
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_size=settings.db_pool_size,
            pool_timeout=settings.db_pool_timeout,
            max_overflow=0,
            pool_use_lifo=True,
            pool_reset_on_return=None,
            use_native_hstore=False,
            hide_parameters=True,
        )
        _listen(self.engine)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.dispose()

    @asynccontextmanager
    async def session(self, user: str | None = None) -> AsyncIterator[AsyncSession]:
        """Lend a session, once a permit is free. It opens no connection before it needs one.

        For requests of a user, name the `user`: nobody gets more than the share of one user.

        Raises:
            DatabaseUnavailable: no permit became free, or there is no connection.
            OutcomeUnknown: the database failed after something may have been executed.
        """
        async with (
            self.limiter.permit(user),
            Session(self.engine, expire_on_commit=False, close_resets_only=False) as session,
        ):
            try:
                yield session
            except PoolTimeout as error:
                raise DatabaseUnavailable(_reason(error)) from error
            except DBAPIError as error:
                if _is_unavailable(error):
                    raise OutcomeUnknown(_reason(error)) from error
                raise

    async def _connect(self) -> _Connection:
        """Open a connection.

        Behind a transaction pooler, prepared statements of different clients get mixed up. The
        process id that libpq reports is then made up by the pooler.
        """
        try:
            connection = await _Connection.connect(
                **self._connection_options,
                autocommit=True,
                prepare_threshold=None,
                cursor_factory=_Cursor,
            )
            try:
                backend_pid = await _open(connection)
                require_utf8(connection.info)
            except BaseException:
                await connection.close()
                raise
        except psycopg.Error as error:
            raise DatabaseUnavailable(connection_failure(error)) from None
        is_direct = backend_pid == connection.info.backend_pid
        if {"auto": is_direct, "always": True, "never": False}[self._prepare_statements]:
            connection.prepare_threshold = _PREPARE_THRESHOLD
        return connection


def connection_failure(error: psycopg.Error) -> str:
    """Say in one line why a connection failed, without any part of the connection string.

    libpq quotes its parts. If a password is not written as it must be, a piece of it can be taken
    for the host or the database.
    """
    reason, *_ = str(error).splitlines() or [""]
    where = "at the Unix socket: " if " on socket " in reason else ""
    reason = reason.rpartition(" failed: ")[2].removeprefix("FATAL:").strip()
    return where + (_QUOTED.sub('"…"', reason) or "no reason given")


def require_utf8(server: psycopg.ConnectionInfo) -> None:
    """Refuse a database that cannot store every text.

    Raises:
        DatabaseUnavailable: its encoding is not UTF8.
    """
    encoding = server.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise DatabaseUnavailable(
            f"the encoding of the database is {encoding}: create one with ENCODING 'UTF8'"
        )


def _opening(backend_pid: int) -> Composed:
    """Return the statement that a new connection begins with.

    The driver reads dates in ISO form only. Poolers keep track of both settings, as of the
    encoding. They do not keep track of time limits, which would then hold for other clients, too:
    only a direct connection, whose process id libpq knows, gets those that are missing.
    """
    limits = (
        SQL(
            "CASE WHEN current_setting({name}) <> '0' THEN current_setting({name})"
            " WHEN pg_backend_pid() = {pid} THEN set_config({name}, {limit}, false) END"
        ).format(name=Literal(name), limit=Literal(limit), pid=Literal(backend_pid))
        for name, limit in TIME_LIMITS.items()
    )
    return SQL(
        "SELECT pg_backend_pid(), set_config('datestyle', 'ISO', false),"
        " set_config('timezone', 'UTC', false), current_user,"
        " current_setting('synchronous_commit'), {limits}"
    ).format(limits=SQL(", ").join(limits))


async def _open(connection: _Connection) -> int:
    """Prepare a new connection; return the process id that the server itself reports."""
    connection.opening = get_running_loop().call_later(STATEMENT_TIMEOUT, connection.shut_down)
    cursor = await connection.execute(_opening(connection.info.backend_pid))
    ((backend_pid, _, _, role, synchronous_commit, *limits),) = await cursor.fetchall()
    if synchronous_commit == "off":
        warn_once(
            "synchronous_commit is off: a crash of the database can lose changes that were answered"
            " with 2xx; turn it on for the role or the database"
        )
    for (name, missing), limit in zip(TIME_LIMITS.items(), limits, strict=True):
        if limit is None:
            warn_once(
                f"the role {role} has no {name}, so a statement that was given up may still be"
                f" executed later; run as this role: ALTER ROLE CURRENT_USER SET {name} ="
                f" '{missing}'"
            )
    return int(backend_pid)


@cache
def warn_once(message: str) -> None:
    """Log a warning the first time only."""
    log.warning(message)


@asynccontextmanager
async def transaction(session: AsyncSession) -> AsyncIterator[AsyncSession]:
    """Run a block in one real transaction: committed at its end, rolled back if it raises.

    This is `session.begin()`, except that statements may have run before: they are committed.

    Raises:
        AutocommitError: objects were added, changed or deleted before.
    """
    if session.info.get(_AUTOCOMMIT) is not None:
        if session.new or session.dirty or session.deleted:
            raise AutocommitError("cannot begin a transaction after objects were changed")
        await session.commit()
    async with session.begin():
        yield session


async def run(
    session: AsyncSession,
    statement: Executable,
    parameters: Mapping[str, Any],
    effect: Effect,
) -> Outcome:
    """Run a statement; if the connection fails, run it again where that does no harm (ADR 0035).

    A statement that was surely not executed is sent again. If the connection was lost before the
    answer arrived, the outcome is unknown: then it is sent again only if its `effect` allows that.

    The statement is committed, unless the caller has begun a transaction; also in a session that is
    not in autocommit, such as one of a test.

    Raises:
        OutcomeUnknown: it may have been executed, and it writes.
        DatabaseUnavailable: it was not executed, or only reads.
        sqlalchemy.exc.DBAPIError: the database refused it.
    """
    is_uncertain = False
    started = monotonic()
    # In a transaction, a new connection would lose the earlier statements.
    is_in_transaction = session.in_transaction() and _AUTOCOMMIT not in session.info
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            result = await session.exec(
                statement,  # type: ignore[call-overload]  # SQLModel's types know only its `select`
                params=parameters,
            )
            rows = result.all()
            if not is_in_transaction and _AUTOCOMMIT not in session.info:
                await session.commit()
            return Outcome(rows, is_uncertain)
        except (DBAPIError, DatabaseUnavailable) as error:
            was_executed = _was_executed(error)
            is_uncertain |= was_executed is None
            may_repeat = was_executed is False or (
                was_executed is None and effect is not Effect.NOT_REPEATABLE
            )
            is_last = (
                is_in_transaction or attempt == MAX_ATTEMPTS or monotonic() > started + RETRY_WINDOW
            )
            if is_last or not may_repeat:
                if is_uncertain and effect is not Effect.READ:
                    raise OutcomeUnknown(_reason(error)) from error
                if _is_unavailable(error):
                    raise DatabaseUnavailable(_reason(error)) from error
                hint = _HINTS.get(_sqlstate(error) or "")
                if hint is not None:
                    raise DatabaseUnavailable(f"{_reason(error)}: {hint}") from error
                raise
            # Another connection: this one is lost, or in a state that failed.
            await session.run_sync(lambda sync_session: _invalidate_connection(sync_session.info))
            await session.reset()
            # After a migration, the statement would fail on all the other connections, too.
            if _sqlstate(error) == _CHANGED_RESULT and isinstance(session.bind, AsyncEngine):
                await session.bind.dispose()
        metrics.RETRIES.inc()
        spread = random.uniform(0.5, 1.5)  # noqa: S311 — no secret
        await asyncio.sleep(FIRST_PAUSE * 2 ** (attempt - 1) * spread)
    raise AssertionError  # pragma: no cover — the last attempt returns or raises


def _invalidate_connection(info: Mapping[Any, Any]) -> None:
    connection = info.get(_AUTOCOMMIT)
    if connection is not None and not connection.invalidated:
        connection.invalidate()


def _cause(error: Exception) -> BaseException | None:
    """Return the driver's error inside one of SQLAlchemy's, or the error itself."""
    return error.orig if isinstance(error, DBAPIError) else error


def _sqlstate(error: Exception) -> str | None:
    cause = _cause(error)
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None


def _was_executed(error: Exception) -> bool | None:
    """Tell whether the server has executed a statement that failed; None if that is unknown.

    A statement that PostgreSQL refused counts as executed: another attempt would fail as well.
    """
    if isinstance(error, DatabaseUnavailable):  # there was no connection to send it on
        return False
    sqlstate = _sqlstate(error)
    if sqlstate in _NOT_EXECUTED:
        return False
    is_lost = sqlstate in (None, _UNKNOWN) or str(sqlstate).startswith(_CONNECTION_EXCEPTION)
    return None if is_lost and isinstance(_cause(error), psycopg.OperationalError) else True


def _is_unavailable(error: Exception) -> bool:
    """Tell whether the database is unreachable, overloaded or too slow."""
    return isinstance(_cause(error), psycopg.OperationalError) or _sqlstate(error) == _READ_ONLY


def _reason(error: Exception) -> str:
    """Say what failed, without the statement and its values."""
    cause = _cause(error)
    message = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return message or str(cause)


# What the engine does beyond SQLAlchemy's defaults, by its events.


def _listen(engine: AsyncEngine) -> None:
    event.listen(engine.sync_engine, "checkout", _check_connection)
    for name in ("do_execute", "do_execute_no_params", "do_executemany"):
        event.listen(engine.sync_engine, name, partial(_run_limited, name))
    event.listen(engine.sync_engine, "handle_error", _on_error)


def _check_connection(
    dbapi_connection: DBAPIConnection, record: ConnectionPoolEntry, _: object
) -> None:
    """Make sure that a pooled connection is alive, idle and in autocommit. No round trip.

    There is nothing to read on an idle connection, unless the server has closed it.
    """
    connection = cast("_Connection", record.driver_connection)
    if connection.opening is not None:  # it is new
        connection.opening.cancel()
        connection.opening = None
        return
    if connection.pgconn.transaction_status != TransactionStatus.IDLE:
        raise DisconnectionError
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError
    if not connection.autocommit:
        dbapi_connection.autocommit = True


# The dialect's events replace the execution. Those of connections, `before_cursor_execute` and
# `after_cursor_execute`, would cost 5 % of a request more (ADR 0036).


def _run_limited(name: str, cursor: DBAPICursor, statement: str, *more: Any) -> bool:  # noqa: ANN401 — perhaps parameters, and the context
    """Run a statement within its time. Refuse a lock that would be gone at once."""
    context: ExecutionContext = more[-1]
    connection = context.root_connection
    kind = _kind_of(statement)
    if kind.locks and _is_autocommit(connection):
        raise AutocommitError("cannot keep a lock")
    driver_connection = _driver_connection(connection)
    seconds = context.execution_options.get("timeout", STATEMENT_TIMEOUT)
    driver_connection.is_binary = context.execution_options.get("binary", False)
    try:
        with _TimeLimit(driver_connection, seconds):
            getattr(context.dialect, name)(cursor, statement, *more)
    finally:
        driver_connection.is_binary = False
    if kind.writes:
        driver_connection.has_written = True
    return True  # it has been executed


class _Kind(NamedTuple):
    """What a statement does, as far as its text tells: a function that it calls may write, too.

    It `locks` if locks are all that it leaves behind.
    """

    writes: bool
    locks: bool


@lru_cache(maxsize=1024)
def _kind_of(statement: str) -> _Kind:
    sql, locks = _LOCKS.subn(" ", _NOT_SQL.sub(" ", statement))
    writes = _READS.match(sql) is None or _WRITES.search(sql) is not None
    # One that writes as well needs its locks no longer than it runs.
    return _Kind(writes, locks > 0 and not writes)


def _driver_connection(connection: Connection) -> _Connection:
    return cast("_Connection", connection.connection.driver_connection)


def _on_error(context: ExceptionContext) -> None:
    """Close a connection that is lost or read-only. SQLAlchemy would close all others with it.

    A connection becomes read-only when its server does, for example after a failover. A new one
    can reach the primary.
    """
    context.invalidate_pool_on_disconnect = False
    cause = context.original_exception
    if isinstance(cause, psycopg.Error) and cause.sqlstate == _READ_ONLY:
        context.is_disconnect = True


def _is_autocommit(connection: Connection) -> bool:
    dbapi_connection = connection.connection.dbapi_connection
    return dbapi_connection is not None and bool(dbapi_connection.autocommit)


@event.listens_for(_SyncSession, "after_begin")
def _choose_mode(
    session: SyncSession, transaction: SessionTransaction, connection: Connection
) -> None:
    """Start a real transaction where the caller has asked for one by `begin()`.

    A caller who has chosen an isolation level has one already.
    """
    if transaction.nested:
        return
    if not _is_autocommit(connection):
        session.info.setdefault(_BEGUN, False)
    elif transaction.origin is SessionTransactionOrigin.AUTOBEGIN:
        session.info[_AUTOCOMMIT] = connection
        session.info[_DRIVER] = _driver_connection(connection)
        session.info[_DRIVER].has_written = False
    else:
        _leave_autocommit(connection)


@event.listens_for(_SyncSession, "before_flush")
def _flush_in_transaction(session: SyncSession, *_: object) -> None:
    """Start a real transaction for a flush, whose statements belong together."""
    connection = session.connection()
    if session.info.pop(_AUTOCOMMIT, None) is not None:
        session.info[_BEGUN] = _driver_connection(connection).has_written
        _leave_autocommit(connection)


@event.listens_for(_SyncSession, "after_transaction_end")
def _forget_mode(session: SyncSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        for key in (_AUTOCOMMIT, _DRIVER, _BEGUN):
            session.info.pop(key, None)


def _leave_autocommit(connection: Connection) -> None:
    dbapi_connection = connection.connection.dbapi_connection
    assert dbapi_connection is not None, "it has just begun"  # noqa: S101 — an invariant
    # The public way, an execution option, is refused on a connection that has begun.
    connection.dialect.set_isolation_level(dbapi_connection, "READ COMMITTED")
