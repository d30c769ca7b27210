"""`make run`: a database if none is given, the migrations, and the server; backups of its data."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import SecretStr, field_validator

from dev import backup
from dev.postgres import (
    LocalPostgres,
    LocalPostgresError,
    has_data,
    ignore_pg_variables,
    local_postgres,
)
from src import cli
from src.config import ROOT, EnvironmentSettings, Settings
from src.process import give_up

app: Final = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # it wraps paragraphs
    subcommand_metavar="[COMMAND] [ARGS]...",
)


class DevSettings(EnvironmentSettings):
    """The settings that decide which database `make run` uses, read as the others are."""

    model_config = Settings.model_config

    database_url: SecretStr | None = None
    database_url_unpooled: SecretStr | None = None
    data_directory: Path = ROOT / ".data"

    @field_validator("data_directory")
    @classmethod
    def _make_absolute(cls, directory: Path) -> Path:
        try:
            return ROOT / directory.expanduser()
        except RuntimeError:
            raise ValueError(
                "must be the home directory of a user who exists, if it begins with ~"
            ) from None


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """Migrate the database and serve the API.

    Without DATABASE_URL, start an embedded PostgreSQL that keeps its data in DATA_DIRECTORY, and
    stop it together with the server.
    """
    cli.stop_on_signals()
    if context.invoked_subcommand:
        return
    with cli.errors_in_one_line():
        ours = DevSettings()
        if ours.database_url:
            _serve(Settings(), "from DATABASE_URL")
        elif ours.database_url_unpooled:
            give_up("DATABASE_URL_UNPOOLED: is for migrations only; set DATABASE_URL as well")
        else:
            _serve_embedded(ours.data_directory)


@app.command("seed")
def seed_command(user: cli.User, *, tasks: cli.Tasks = 100, force: cli.Force = False) -> None:
    """Create demo tasks for a user of the embedded PostgreSQL. The server must be stopped."""
    with cli.errors_in_one_line(), _embedded(instead="`python -m src seed`") as server:
        settings = _settings_of(server)
        cli.migrate(settings)
        asyncio.run(cli.create_demo_tasks(settings, user, tasks, force=force))


NewBackup = Annotated[Path, typer.Argument(help="The file of the backup.", dir_okay=False)]
Backup = Annotated[
    Path, typer.Argument(help="The file of the backup.", dir_okay=False, exists=True, readable=True)
]


@app.command("backup")
def backup_command(file: NewBackup) -> None:
    """Save the data of the embedded PostgreSQL into a file. The server must be stopped."""
    with cli.errors_in_one_line(), _embedded(instead="pg_dump", needs_data=True) as server:
        backup.save(server, file)
    typer.echo(f"saved in {file}")


@app.command("restore")
def restore_command(file: Backup) -> None:
    """Replace the data of the embedded PostgreSQL with a backup. The server must be stopped.

    If the backup cannot be restored, nothing changes. After a restore, clients that follow the
    changes get 410 and copy the tasks again.
    """
    with cli.errors_in_one_line(), _embedded(instead="pg_restore") as server:
        backup.check(server, file)
        settings = _settings_of(server)
        cli.migrate(settings)  # gives the role its time limits
        backup.load(server, file)
        cli.migrate(settings)  # if the backup is of an earlier release
        asyncio.run(cli.restart_lists(settings))
    typer.echo(f"restored from {file}")


def _settings_of(server: LocalPostgres) -> Settings:
    """Give the settings of the environment, but for this database and no other."""
    url = SecretStr(server.url)
    return Settings(database_url=url, database_url_unpooled=url)


@contextmanager
def _embedded(*, instead: str, needs_data: bool = False) -> Iterator[LocalPostgres]:
    """Run the embedded PostgreSQL for a command. With DATABASE_URL set, say what to use instead."""
    ours = DevSettings()
    if ours.database_url:
        give_up(
            "DATABASE_URL is set, but this command is for the embedded PostgreSQL: use"
            f" {instead}, or unset DATABASE_URL"
        )
    directory = ours.data_directory / "postgres"
    if needs_data and not has_data(directory):
        give_up(f"DATA_DIRECTORY: there is no data in {ours.data_directory}")
    ignore_pg_variables()
    try:
        with local_postgres(directory) as server:
            yield server
    except LocalPostgresError as error:
        give_up(str(error))


def _serve(settings: Settings, database: str) -> None:
    with cli.listeners(settings) as sockets:
        cli.migrate(settings)
        cli.serve(settings, sockets, database)


def _serve_embedded(directory: Path) -> None:
    # The other settings and the port are checked before the database starts.
    settings = Settings(database_url=SecretStr("postgresql://127.0.0.1/embedded"))
    ignore_pg_variables()
    try:
        with (
            cli.listeners(settings) as sockets,
            local_postgres(directory / "postgres") as server,
            _ending_with(server),
        ):
            # The workers are processes of their own, which read the settings again.
            os.environ["DATABASE_URL"] = server.url
            settings = Settings()
            cli.migrate(settings)
            cli.serve(settings, sockets, f"embedded PostgreSQL, data in {directory}")
    except LocalPostgresError as error:
        give_up(str(error))


@contextmanager
def _ending_with(server: LocalPostgres) -> Iterator[None]:
    """If the database ends, stop as on SIGTERM, since nobody would start it again.

    Raises:
        LocalPostgresError: the database has ended.
    """

    def on_child_end(*_: object) -> None:
        if server.failure() is not None:
            signal.signal(signal.SIGCHLD, before)
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGCHLD, on_child_end)
    try:
        on_child_end()  # before the handler was there
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
        if failure := server.failure():
            raise failure


if __name__ == "__main__":
    app(prog_name="python -m dev")
