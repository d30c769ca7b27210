"""`python -m src`: a database if none is given, the migrations, and the server."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from socket import AI_PASSIVE, SOCK_STREAM, create_server, getaddrinfo, socket
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

import uvicorn
from alembic.util import CommandError
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from uvicorn.supervisors import Multiprocess

from src import __version__, logs, revisions
from src.api.protocol import StrictHttpProtocol
from src.config import Settings
from src.local_postgres import LocalPostgresError, local_postgres

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_GRACE: Final = 10  # s that requests under way are given to end
_BACKLOG: Final = 2048  # connections that the system accepts before the server does


def main() -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then stop the server and the database cleanly."""
    signal.signal(signal.SIGTERM, _stop)
    # A closed terminal sends SIGHUP: it means the same, unless `nohup` has made us deaf to it.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        settings = Settings()
        logs.configure(settings)
        with _listener(settings) as listener, _database_url(settings) as url:
            revisions.upgrade(settings.migration_url if settings.database_url else url)
            # The workers are processes of their own, which read the settings again.
            os.environ["DATABASE_URL"] = url
            print(_banner(settings, *listener.getsockname()[:2]), flush=True)
            _serve(settings, listener)
    except ValidationError as error:
        _give_up(*(_setting_at_fault(found) for found in error.errors()))
    except LocalPostgresError as error:
        _give_up(str(error))
    except DBAPIError as error:
        _give_up(f"the database cannot be used: {error.orig}")
    except CommandError as error:
        _give_up(f"the database is not one of this version: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _serve(settings: Settings, listener: socket) -> None:
    config = uvicorn.Config(
        "src.main:create_app",
        factory=True,
        http=StrictHttpProtocol,
        ws="none",
        workers=settings.web_concurrency,
        access_log=False,  # the request's own line carries its id
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    if settings.web_concurrency > 1:
        hang_up = signal.getsignal(signal.SIGHUP)
        supervisor = Multiprocess(config, [listener])
        signal.signal(signal.SIGHUP, hang_up)  # it would start the workers anew
        supervisor.run()
    else:
        with suppress(KeyboardInterrupt):  # it has stopped by then, and says so to its parent
            uvicorn.Server(config).run([listener])


@contextmanager
def _listener(settings: Settings) -> Iterator[socket]:
    """Take the port before anything else: whoever cannot have it is told at once."""
    try:
        ((family, _, _, _, address), *_) = getaddrinfo(
            settings.host, settings.port, type=SOCK_STREAM, flags=AI_PASSIVE
        )
        listener = create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        reason, *_ = str(error.strerror).split(" (")
        _give_up(
            f"HOST, PORT: cannot listen on port {settings.port} of {settings.host}: {reason};"
            " PORT=8001, for example, chooses another port"
        )
    with listener:
        yield listener


@contextmanager
def _database_url(settings: Settings) -> Iterator[str]:
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
    else:
        with local_postgres(settings.data_directory / "postgres") as url:
            yield url


def _banner(settings: Settings, ip: str, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{port}"
    lines = [
        "",
        f"  Task API {__version__}",
        "",
        f"  Documentation  {address}/docs",
        f"  The same       {address}/redoc",
        f"  Database       {_describe_database(settings)}",
        "",
        "  Try it:",
        f"  curl {address}/api/v1/alice/tasks -H 'Content-Type: application/json'"
        """ -d '{"title": "Buy milk"}'""",
        "",
    ]
    if not ip_address(ip).is_loopback:
        lines += [
            f"  WARNING: there is no authentication, and HOST={settings.host} lets others in:",
            "  whoever reaches the port can act for any user.",
            "",
        ]
    return "\n".join(lines)


def _describe_database(settings: Settings) -> str:
    if settings.database_url is not None:
        return "from DATABASE_URL"
    return f"embedded PostgreSQL, data in {settings.data_directory}"


def _setting_at_fault(found: "ErrorDetails") -> str:
    name = "_".join(str(part) for part in found["loc"][:1]).upper()
    return f"{name}: {found['msg'].removeprefix('Value error, ')}"


def _give_up(*lines: str) -> NoReturn:
    for line in lines:
        print(f"task-api: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(2)


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    # Raised, not called: every `with` on the way out gets to clean up.
    raise SystemExit(0)


if __name__ == "__main__":
    main()
