"""The first build of this API, from the history of this repository.

It is measured next to the current build, in the same run. It runs in an environment of its own,
with the packages that it pinned. It has the operations that are compared, and can serve the same
data as long as no migration stands in its way.

`python -m benchmarks.first_build` prepares it. The benchmark does so itself when it is missing.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from benchmarks import BACKEND

COMMIT: Final = "9cfec566ced082f664c1c56c6219c04e05935cf9"
DIRECTORY: Final = BACKEND / "benchmarks" / ".first-build"
FIRST_BACKEND: Final = DIRECTORY / "backend"
FIRST_PYTHON: Final = str(DIRECTORY / ".venv" / "bin" / "python")

NEWEST: Final = "0002"
UNNOTICED: Final = {"0003_first_version.py", "0004_position.py"}
"""The migrations since its newest one that make no difference to it, except that it refuses to
start with a revision that it does not know."""

_REPOSITORY: Final = str(BACKEND.parent)
_FILES: Final = ("src", "migrations", "alembic.ini", "requirements.txt")
_READY: Final = DIRECTORY / "ready"
"""Contains the commit. It is written last, so an interrupted preparation starts again."""


class FirstBuildUnavailable(Exception):
    """The first build cannot be measured here. The message says why, in one line."""


def prepare() -> None:
    """Extract the first build and install its packages, unless that is already done.

    Raises:
        FirstBuildUnavailable: there is no git history, no network, or a newer schema.
    """
    if not (_READY.exists() and _READY.read_text() == COMMIT):
        shutil.rmtree(DIRECTORY, ignore_errors=True)
        _extract()
        _install()
        _READY.write_text(COMMIT)
    if _migrations(BACKEND) - _migrations(FIRST_BACKEND) - UNNOTICED:
        raise FirstBuildUnavailable("its database schema is not the current one")


@contextmanager
def revision_shown(database_url: str) -> Iterator[None]:
    """Let the first build find the newest revision that it knows where it looks for it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num text)")
        connection.execute("INSERT INTO alembic_version VALUES (%s)", [NEWEST])
        try:
            yield
        finally:
            connection.execute("DROP TABLE alembic_version")


def _extract() -> None:
    git = shutil.which("git")
    if git is None:
        raise FirstBuildUnavailable("git is not installed")
    paths = [f"backend/{name}" for name in _FILES]
    archive = subprocess.run(
        [git, "-C", _REPOSITORY, "archive", COMMIT, *paths], capture_output=True, check=False
    )
    if archive.returncode != 0:
        reason = archive.stderr.decode().strip().partition("\n")[0]
        raise FirstBuildUnavailable(
            f"git cannot read commit {COMMIT[:7]} ({reason}); a shallow clone needs"
            " `git fetch --unshallow`"
        )
    DIRECTORY.mkdir()
    subprocess.run(["tar", "-x"], input=archive.stdout, cwd=DIRECTORY, check=True)


def _install() -> None:
    print("installing the packages of the first build", file=sys.stderr, flush=True)
    pip = [FIRST_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = ["--no-deps", "--require-hashes", "-r", str(FIRST_BACKEND / "requirements.txt")]
    try:
        subprocess.run([sys.executable, "-m", "venv", str(DIRECTORY / ".venv")], check=True)
        subprocess.run([*pip, *pinned], check=True)
    except subprocess.CalledProcessError as error:
        raise FirstBuildUnavailable(
            "its packages cannot be installed; the error is above"
        ) from error


def _migrations(backend: Path) -> set[str]:
    return {path.name for path in (backend / "migrations" / "versions").glob("*.py")}


if __name__ == "__main__":
    try:
        prepare()
    except FirstBuildUnavailable as unavailable:
        sys.exit(f"the first build cannot be measured: {unavailable}")
