"""Save the data of the embedded PostgreSQL into a file, and bring it back."""

import re
import subprocess
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from dev.postgres import LocalPostgres, LocalPostgresError
from src.models.task import metadata
from src.revisions import VERSION_TABLE

_TABLES: Final = {VERSION_TABLE, *metadata.tables}
_LISTED_TABLE: Final = re.compile(r" TABLE public (\S+) ")
_ANY_ROLE: Final = ("--no-owner", "--no-privileges")


def save(server: LocalPostgres, file: Path) -> None:
    """Write the database into a file, which appears when it is complete.

    Raises:
        LocalPostgresError: it cannot be written.
    """
    unfinished = file.with_name(f"{file.name}.new")
    try:
        _run(server, "pg_dump", "--format=custom", *_ANY_ROLE, f"--file={unfinished}")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def check(server: LocalPostgres, file: Path) -> None:
    """Make sure that a file is a backup.

    Raises:
        LocalPostgresError: it is something else, such as a backup of another application.
    """
    if not set(_LISTED_TABLE.findall(_contents(server, file))) >= _TABLES:
        raise LocalPostgresError(f"{file} is not a backup of the Task API; nothing was changed")


def load(server: LocalPostgres, file: Path) -> None:
    """Replace the database with that of a backup, or change nothing.

    Raises:
        LocalPostgresError: it cannot be restored.
    """
    options = ("--clean", "--if-exists", "--single-transaction", "--exit-on-error")
    _run(server, "pg_restore", *options, *_ANY_ROLE, f"--dbname={_name(server)}", str(file))


def _contents(server: LocalPostgres, file: Path) -> str:
    """List what is in a file; nothing if it is no backup at all."""
    try:
        return _run(server, "pg_restore", "--list", str(file))
    except LocalPostgresError:
        return ""


def _name(server: LocalPostgres) -> str:
    return str(conninfo_to_dict(server.url)["dbname"])


def _run(server: LocalPostgres, program: str, *arguments: str) -> str:
    parts = conninfo_to_dict(server.url)
    # The password in an argument would be seen by all users of the machine.
    variables = {name: f"PG{name.upper()}" for name in ("host", "port", "user", "password")}
    environment = {variable: str(parts[name]) for name, variable in variables.items()}
    done = subprocess.run(  # noqa: S603 — PostgreSQL's own program
        [server.programs / program, *arguments],
        env=environment | {"PGDATABASE": _name(server), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[0] if done.stderr else f"exit {done.returncode}"
        raise LocalPostgresError(f"{program} failed: {reason}")
    return done.stdout
