"""`python -m src`: a database if none is given, the migrations, and the server."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

import uvicorn
from alembic.util import CommandError
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError, ProgrammingError

from src import __version__, logs, revisions
from src.config import Settings
from src.local_postgres import LocalPostgresError, local_postgres

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_GRACE: Final = 10  # s that requests under way are given to end


def main() -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then stop the server and the database cleanly."""
    signal.signal(signal.SIGTERM, _stop)
    # uvicorn does not know SIGHUP, which a closed terminal sends: it means the same.
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        settings = Settings()
        logs.configure(settings)
        with _database_url(settings) as url:
            revisions.upgrade(settings.migration_url if settings.database_url else url)
            # The workers are processes of their own, which read the settings again.
            os.environ["DATABASE_URL"] = url
            print(_banner(settings), flush=True)
            _serve(settings)
    except ValidationError as error:
        _give_up(*(_setting_at_fault(found) for found in error.errors()))
    except LocalPostgresError as error:
        _give_up(str(error))
    except OperationalError as error:
        _give_up(f"the database does not answer: {error.orig}")
    except ProgrammingError as error:
        _give_up(f"DATABASE_URL: {error.orig}")
    except CommandError as error:
        _give_up(f"the database is not one of this version: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _serve(settings: Settings) -> None:
    uvicorn.run(
        "src.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.web_concurrency,
        access_log=False,  # the request's own line carries its id
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )


@contextmanager
def _database_url(settings: Settings) -> Iterator[str]:
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
    else:
        with local_postgres(settings.data_directory / "postgres") as url:
            yield url


def _banner(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    lines = [
        "",
        f"  Task API {__version__}",
        "",
        f"  Documentation  {address}/docs",
        f"  Database       {_describe_database(settings)}",
        "",
        "  Try it:",
        f"  curl {address}/api/v1/alice/tasks -H 'Content-Type: application/json'"
        """ -d '{"title": "Buy milk"}'""",
        "",
    ]
    if settings.host not in _LOOPBACK:
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
    return f"{name}: {found['msg']}"


def _give_up(*lines: str) -> NoReturn:
    for line in lines:
        print(f"task-api: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(2)


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    # Raised, not called: every `with` on the way out gets to clean up.
    raise SystemExit(0)


if __name__ == "__main__":
    main()
