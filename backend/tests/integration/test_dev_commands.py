"""Commands on the data of the embedded PostgreSQL. A drill: save it, change it, bring it back."""

from pathlib import Path

import httpx
import psycopg
import pytest

from dev import backup
from dev.postgres import local_postgres
from tests.builders import tasks_of
from tests.processes import free_port, server

pytestmark = pytest.mark.requirement("FR-154")


def run(directory: Path, command: str, file: Path) -> tuple[int, str]:
    """Run a command on the data of this directory; give its status and what it prints."""
    with server(directory, program=("dev", command, str(file)), LOG_LEVEL="error") as running:
        return running.wait(), running.out + running.err


@pytest.mark.requirement("FR-153")
@pytest.mark.parametrize(
    ("command", "instead"),
    [
        (("seed", "alice"), "`python -m src seed`"),
        (("backup", "tasks.dump"), "pg_dump"),
        (("restore", __file__), "pg_restore"),
    ],
)
def test_are_refused_where_the_user_has_another_database(
    tmp_path: Path, command: tuple[str, ...], instead: str
) -> None:
    theirs = {"DATABASE_URL": "postgresql://127.0.0.1:1/theirs"}
    with server(tmp_path / "run", program=("dev", *command), **theirs) as running:
        assert running.wait() == 2
        assert running.err == (
            "task-api: DATABASE_URL is set, but this command is for the embedded PostgreSQL: use"
            f" {instead}, or unset DATABASE_URL\n"
        )
    assert not (tmp_path / "run" / "data").exists()


def test_a_backup_of_no_data_is_refused_and_creates_none(tmp_path: Path) -> None:
    file, directory = tmp_path / "tasks.dump", tmp_path / "misspelled"

    assert run(directory, "backup", file) == (
        2,
        f"task-api: DATA_DIRECTORY: there is no data in {directory}/data\n",
    )
    assert not file.exists()
    assert not (directory / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("SELECT 1", id="empty"),
        pytest.param("CREATE TABLE tasks (name text)", id="another application's"),
    ],
)
def test_a_restore_of_another_database_is_refused(tmp_path: Path, statement: str) -> None:
    file = tmp_path / "other.dump"
    with local_postgres(tmp_path / "other") as other:
        with psycopg.connect(other.url) as connection:
            connection.execute(statement.encode())
        backup.save(other, file)

    assert run(tmp_path / "run", "restore", file) == (
        2,
        f"task-api: {file} is not a backup of the Task API; nothing was changed\n",
    )


@pytest.mark.slow
def test_a_restore_brings_back_what_was_saved_and_lets_clients_start_again(
    tmp_path: Path, user: str
) -> None:
    file = tmp_path / "tasks.dump"
    directory = tmp_path / "run"
    settings = {"PORT": str(free_port())}
    with server(directory, **settings) as running:
        running.wait_until_it_serves()
        tasks = running.url + tasks_of(user)
        for number in range(3):
            assert httpx.post(tasks, json={"title": f"{number}"}).status_code == 201
        saved = httpx.get(tasks).json()
        tokens = [httpx.get(f"{tasks}/changes").json()["next"]]
        status, told = run(directory, "backup", file)
        assert (status, file.exists()) == (2, False)
        assert told.startswith("task-api: ")
        assert "in use by another run" in told
        assert running.stop() == 0

    assert run(directory, "backup", file) == (0, f"saved in {file}\n")

    with server(directory, **settings) as running:
        running.wait_until_it_serves()
        httpx.delete(f"{tasks}/{saved['items'][0]['id']}")
        httpx.post(tasks, json={"title": "after the backup"})
        tokens.append(httpx.get(f"{tasks}/changes").json()["next"])
        changed = httpx.get(tasks).json()
        assert running.stop() == 0
    no_backup = tmp_path / "no.dump"
    no_backup.write_text("SELECT 1")
    status, told = run(directory, "restore", no_backup)
    assert (status, told) == (
        2,
        f"task-api: {no_backup} is not a backup of the Task API; nothing was changed\n",
    )
    with server(directory, **settings) as running:
        running.wait_until_it_serves()
        assert httpx.get(tasks).json() == changed
        assert running.stop() == 0

    assert run(directory, "restore", file) == (0, f"restored from {file}\n")

    with server(directory, **settings) as running:
        running.wait_until_it_serves()
        assert httpx.get(tasks).json() == saved
        for token in tokens:
            changes = httpx.get(f"{tasks}/changes", params={"since": token})
            assert (changes.status_code, changes.json()["code"]) == (410, "list_restarted")
        assert running.stop() == 0


@pytest.mark.slow
def test_a_backup_can_be_restored_where_there_was_nothing(tmp_path: Path, user: str) -> None:
    file = tmp_path / "tasks.dump"
    with server(tmp_path / "one", PORT=str(free_port())) as running:
        running.wait_until_it_serves()
        created = httpx.post(running.url + tasks_of(user), json={"title": "Buy milk"}).json()
        assert running.stop() == 0
    assert run(tmp_path / "one", "backup", file)[0] == 0

    assert run(tmp_path / "other", "restore", file) == (0, f"restored from {file}\n")

    with server(tmp_path / "other", PORT=str(free_port())) as running:
        running.wait_until_it_serves()
        found = httpx.get(f"{running.url}{tasks_of(user)}/{created['id']}")
        assert found.json() == created
        assert running.stop() == 0


@pytest.mark.requirement("FR-153")
def test_the_embedded_database_can_be_seeded(tmp_path: Path, user: str) -> None:
    with server(tmp_path, program=("dev", "seed", user, "--tasks", "3")) as running:
        assert running.wait() == 0
        assert running.out == f"3 tasks created for {user}\n"
    with server(tmp_path, PORT=str(free_port())) as running:
        running.wait_until_it_serves()
        assert len(httpx.get(running.url + tasks_of(user)).json()["items"]) == 3
        assert running.stop() == 0


def test_a_folder_is_not_replaced_by_a_backup(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    status, told = run(tmp_path / "run", "backup", folder)

    assert status == 2
    assert "directory" in told  # the message is wrapped to the width of the screen
    assert folder.is_dir()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "tasks.dump"
    with server(tmp_path / "run", program=("dev", "seed", "alice", "--tasks", "1")) as running:
        assert running.wait() == 0

    status, told = run(tmp_path / "run", "backup", file)

    assert status == 2
    assert told.startswith("task-api: pg_dump failed: ")
    assert str(file) in told
