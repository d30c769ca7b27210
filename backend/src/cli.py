"""The command line of what is deployed: `python -m src COMMAND`. `--help` lists the commands."""

import asyncio
import logging
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from ipaddress import ip_address
from socket import (
    AI_PASSIVE,
    SOCK_STREAM,
    create_server,
    gaierror,
    getaddrinfo,
    has_dualstack_ipv6,
    socket,
)
from tempfile import TemporaryDirectory
from threading import Thread
from types import FrameType
from typing import Annotated, Final, NoReturn

import psycopg
import typer
import uvicorn
from alembic.util import CommandError
from prometheus_client.multiprocess import mark_process_dead
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress
from sqlalchemy.exc import DBAPIError
from sqlmodel import func, select
from uvicorn.supervisors import Multiprocess

from src import __version__, checks, logs, metrics, revisions, seed
from src.api.violations import VIOLATIONS
from src.checks import Finding, Verdict
from src.config import Settings, faults_of, set_for_workers
from src.database import Database, connection_failure, transaction
from src.env_file import EnvFileError
from src.exceptions import DatabaseUnavailable
from src.models.limits import USER_ID_PATTERN
from src.process import give_up, limit_unread_time
from src.services.changes import RESTART_LISTS

_COLOURS: Final = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red"}
_SHUTDOWN_TIMEOUT: Final = 10  # s that running requests have to finish
_RESTART_TIMEOUT: Final = 3600  # s that all lists together may take to restart
_BACKLOG: Final = 2048  # connections that the system accepts before the server does
_OUR_HOST: Final = "set HOST to an address of this machine, for example HOST=127.0.0.1"
_NO_SUCH_ADDRESS: Final = (EADDRNOTAVAIL, EAFNOSUPPORT)  # such as ::1 where IPv6 is switched off

log = logging.getLogger(__name__)

app: Final = typer.Typer(
    help="The Task API. Settings come from the environment and the file .env; see .env.example.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("serve")
def serve_command() -> None:
    """Serve the API. The database must be at the newest migration: see `migrate`."""
    stop_on_signals()
    with errors_in_one_line():
        settings = Settings()
        with listeners(settings) as sockets:
            serve(settings, sockets, "from DATABASE_URL")


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database to the newest migration. Uses DATABASE_URL_UNPOOLED if it is set."""
    with errors_in_one_line():
        migrate(Settings())
        print(f"the database is at the newest migration, {revisions.newest()}")


@app.command("check")
def check_command() -> None:
    """Check the settings and the database, and say what to do. Exits with 1 if a check fails."""
    with errors_in_one_line():
        settings = Settings()
        # What the log would say is among the findings.
        logs.configure(settings.model_copy(update={"log_level": "critical"}))
        print_finding(Finding(Verdict.OK, "settings", "can be read"))
        for finding in checks.check_environment():
            print_finding(finding)
        if asyncio.run(print_findings(settings)):
            sys.exit(1)


async def print_findings(settings: Settings) -> bool:
    """Print what the checks find, and tell whether one of them failed."""
    has_failed = False
    async for finding in checks.check(settings):
        print_finding(finding)
        has_failed |= finding.verdict is Verdict.FAILED
    return has_failed


def print_finding(finding: Finding) -> None:
    """Print a finding in one line, with colours if somebody is watching."""
    verdict = typer.style(f"{finding.verdict:8}", fg=_COLOURS[finding.verdict])
    typer.echo(f"{verdict} {finding.subject:12} {finding.text}")


def _require_user_id(user: str) -> str:
    if not re.fullmatch(USER_ID_PATTERN, user):
        raise typer.BadParameter(VIOLATIONS[USER_ID_PATTERN][1])
    return user


User = Annotated[
    str, typer.Argument(help="The user to create the tasks for.", callback=_require_user_id)
]
Tasks = Annotated[int, typer.Option(min=1, max=100_000, help="How many tasks to create.")]
Force = Annotated[
    bool, typer.Option("--force", help="Create them even if the user already has tasks.")
]


@app.command("seed")
def seed_command(user: User, *, tasks: Tasks = 100, force: Force = False) -> None:
    """Create demo tasks for a user."""
    with errors_in_one_line():
        asyncio.run(create_demo_tasks(Settings(), user, tasks, force=force))


async def create_demo_tasks(settings: Settings, user: str, count: int, *, force: bool) -> None:
    """Create demo tasks, and show how far it is if somebody is watching."""
    console = Console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn())
    progress = Progress(*columns, console=console, disable=not console.is_terminal)
    async with Database(settings) as database, database.session() as session:
        if not force and await seed.has_tasks(session, user):
            give_up(f"{user} has tasks already; add --force to create more")
        with progress:
            bar = progress.add_task("tasks", total=count)
            async for created in seed.seed(session, user, count):
                progress.advance(bar, created)
    print(f"{count} tasks created for {user}")


@app.command("restored")
def restored_command() -> None:
    """Run this once after restoring a backup, before you serve.

    Clients that follow the changes then get 410 and copy the tasks again.
    """
    with errors_in_one_line():
        count = asyncio.run(restart_lists(Settings()))
        print(f"lists restarted: {count}; clients that follow the changes copy the tasks again")


async def restart_lists(settings: Settings) -> int:
    """Let every list start again at the present time; return their number."""
    async with Database(settings) as database, database.session() as session:
        await revisions.check(session)  # a backup may be empty, or of an earlier release
        async with transaction(session):
            # One statement for all users may take longer than any request should.
            await session.exec(select(func.set_config("statement_timeout", "0", True)))  # noqa: FBT003 — SQL's is_local
            without_time_limit = RESTART_LISTS.execution_options(timeout=_RESTART_TIMEOUT)
            restarted = await session.exec(without_time_limit)
    return int(restarted.rowcount)


def migrate(settings: Settings) -> None:
    """Bring the database to the newest migration."""
    logs.configure(settings)
    name = "DATABASE_URL_UNPOOLED" if settings.database_url_unpooled else "DATABASE_URL"
    try:
        revisions.upgrade(settings.migration_url, connect_timeout=settings.db_connect_timeout)
    except DatabaseUnavailable as error:
        give_up(f"{name}: the database cannot be used: {error}")
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error) and error.orig.sqlstate is None:
            reason = connection_failure(error.orig)
            give_up(f"{name}: the connection to the database failed: {reason}")
        raise


def serve(settings: Settings, sockets: list[socket], database: str) -> None:
    """Serve on listening sockets until a signal comes; `database` is described in the banner."""
    logs.configure(settings)
    addresses = [listening.getsockname()[:2] for listening in sockets]
    print(banner(settings, database, addresses), flush=True)
    Thread(target=asyncio.run, args=[log_failed_checks(settings)], daemon=True).start()
    config = uvicorn.Config(
        "src.main:create_app",
        factory=True,
        http=settings.http_parser,
        ws="none",
        root_path=settings.root_path,
        workers=settings.web_concurrency,
        access_log=False,  # the request's own log line has its id
        log_config=None,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_timeout,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT,
    )
    if settings.web_concurrency > 1:
        on_hang_up = signal.getsignal(signal.SIGHUP)
        supervisor = _Supervisor(config, sockets)
        signal.signal(signal.SIGHUP, on_hang_up)  # uvicorn would restart the workers
        with metrics_directory() as directory:
            set_for_workers(metrics.DIRECTORY_VARIABLE, directory)
            supervisor.run()
    else:
        with suppress(KeyboardInterrupt):  # by then it has stopped, and tells its parent
            uvicorn.Server(config).run(sockets)


async def log_failed_checks(settings: Settings) -> None:
    """Log failed checks and misspelled settings: the server starts in spite of them."""
    for finding in checks.check_environment():
        log.warning("%s: %s", finding.subject, finding.text)
    async for finding in checks.check(settings):
        if finding.verdict is Verdict.FAILED:
            log.warning("%s: %s", finding.subject, finding.text)


def metrics_directory() -> TemporaryDirectory[str]:
    """Make the directory through which the metrics of all workers are collected."""
    try:
        return TemporaryDirectory(prefix="task-api-metrics-")
    except OSError as error:
        give_up(f"TMPDIR: several workers need a temporary directory: {error.strerror}")


class _Supervisor(Multiprocess):
    """The parent of several workers. It stops listening before they end.

    A worker that is replaced no longer counts in the metrics of what there is now.
    """

    def keep_subprocess_alive(self) -> None:
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # it has no types

    def terminate_all(self) -> None:
        # Otherwise clients could connect until the last worker has ended, and nobody would answer.
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


@contextmanager
def listeners(settings: Settings) -> Iterator[list[socket]]:
    """Take the port before anything else, so that a port in use is reported at once.

    There is a socket for each address of the host: localhost usually has one of each family.
    """
    with ExitStack() as cleanup:
        try:
            sockets = _listen(settings.host, settings.port, cleanup)
        except UnicodeError:
            give_up(f"HOST: {settings.host!r} is not a host name; {_OUR_HOST}")
        except OSError as error:
            reason, *_ = str(error.strerror).split(" (")
            is_foreign = isinstance(error, gaierror) or error.errno in _NO_SUCH_ADDRESS
            give_up(
                f"HOST, PORT: cannot listen on port {settings.port} of {settings.host}: {reason};"
                f" {_OUR_HOST if is_foreign else 'choose another port, for example PORT=8001'}"
            )
        yield sockets


def _listen(host: str, port: int, cleanup: ExitStack) -> list[socket]:
    sockets: list[socket] = []
    unavailable: OSError | None = None
    found = getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE)
    for family, (ip, _, *scope) in dict.fromkeys(
        (family, address) for family, *_, address in found
    ):
        # If any port will do, all addresses get the same.
        same_port = sockets[0].getsockname()[1] if sockets else port
        try:
            listening = create_server(
                (ip, same_port, *scope),
                family=family,
                backlog=_BACKLOG,
                # Without this, :: would be all addresses of IPv6 only.
                dualstack_ipv6=ip == "::" and has_dualstack_ipv6(),
            )
        except OSError as error:
            if error.errno not in _NO_SUCH_ADDRESS:
                raise
            unavailable = error
        else:
            limit_unread_time(listening)
            sockets.append(cleanup.enter_context(listening))
    if unavailable is not None and not sockets:
        raise unavailable
    return sockets


def banner(settings: Settings, database: str, addresses: Sequence[tuple[str, int]]) -> str:
    """Say where the server is, and what to try first."""
    ips = [ip_address(ip) for ip, _ in addresses]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if any(ip.is_unspecified for ip in ips):  # that is no address to connect to
        host = "localhost"
    address = f"http://{host}:{addresses[0][1]}"
    lines = [
        "",
        f"  Task API {__version__}",
        "",
        f"  Documentation  {address}/docs",
        f"                 {address}/redoc",
        f"  Database       {database}",
        "",
        "  Try it:",
        f"  curl {address}/api/v1/alice/tasks -H 'Content-Type: application/json'"
        """ -d '{"title": "Buy milk"}'""",
        "",
    ]
    if settings.root_path:
        prefix = f"ROOT_PATH={settings.root_path}"
        lines += [f"  {prefix}: open the documentation at the address of the proxy.", ""]
    if not all(ip.is_loopback for ip in ips):
        lines += [
            f"  WARNING: there is no authentication, and HOST={settings.host} opens the port to"
            " others:",
            "  anyone who can reach it can act for any user. ALLOWED_HOSTS must list the host",
            "  names that clients use.",
            "",
        ]
    return "\n".join(lines)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the program with one clear line where a person must act."""
    try:
        yield
    except (EnvFileError, ValidationError) as error:
        give_up(*faults_of(error))
    except DBAPIError as error:
        give_up(f"the database cannot be used: {error.orig}{_remedy(error)}")
    except DatabaseUnavailable as error:
        give_up(f"DATABASE_URL: the database cannot be used: {error}")
    except CommandError as error:
        give_up(f"the database is at a migration that this version does not know: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def stop_on_signals() -> None:
    """Exit on SIGTERM, and on SIGHUP of a closed terminal, by way of every `with` block."""
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under `nohup`
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _remedy(error: DBAPIError) -> str:
    """Say what to do about an error of a migration, if that is known."""
    match error.orig:
        case psycopg.errors.InvalidSchemaName():
            return "; create the schema that search_path names: CREATE SCHEMA ..."
        case psycopg.errors.InsufficientPrivilege():
            return "; run `migrate` as the role that owns the tables: set DATABASE_URL_UNPOOLED"
    return ""
