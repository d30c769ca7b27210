"""`python -m src` as a process: how it starts, stops, is killed, and what it says."""

import re
import shlex
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.builders import tasks_of
from tests.processes import PATIENCE, Server, free_port, server, wait_until

SECRET: Final = "S3cret"  # noqa: S105 — it opens nothing


def local(**settings: str) -> dict[str, str]:
    """Settings for a server on a port of its own, which has an embedded database."""
    return {"PORT": str(free_port()), **settings}


def titles(running: Server, user: str) -> set[str]:
    answer = httpx.get(running.url + tasks_of(user), params={"limit": 1000})
    answer.raise_for_status()
    return {task["title"] for task in answer.json()["items"]}


def copied_from_banner(running: Server) -> httpx.Response:
    """Do what the banner's curl line does."""
    (line,) = (line for line in running.out.splitlines() if line.strip().startswith("curl"))
    curl, url, header_option, header, data_option, data = shlex.split(line)
    assert (curl, header_option, data_option) == ("curl", "-H", "-d")
    name, value = header.split(": ")
    return httpx.post(url, headers={name: value}, content=data)


class TestAServer:
    @pytest.mark.requirement("FR-037", "FR-040")
    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_stops_cleanly_and_finds_its_data_again(
        self, tmp_path: Path, how: signal.Signals
    ) -> None:
        with server(tmp_path, **local()) as running:
            running.wait_until_it_serves()
            assert f"  Documentation  {running.url}/docs\n" in running.out
            assert f"embedded PostgreSQL, data in {tmp_path / 'data'}\n" in running.out
            assert "WARNING" not in running.out
            created = copied_from_banner(running)
            assert created.status_code == 201
            assert running.postmaster().is_running()

            assert running.stop(how) == 0

            running.wait_until_nothing_is_left()
            assert "Traceback" not in running.err
        with server(tmp_path, **local()) as again:
            again.wait_until_it_serves()

            found = httpx.get(again.url + created.headers["location"])

            assert found.json() == created.json()

    @pytest.mark.requirement("FR-037")
    def test_outlives_its_terminal_under_nohup(self, tmp_path: Path, database_url: str) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does, for its children
        try:
            with server(tmp_path, **local(DATABASE_URL=database_url)) as running:
                running.wait_until_it_serves()
                running.process.send_signal(signal.SIGHUP)

                assert running.is_serving()
                assert running.stop() == 0
        finally:
            signal.signal(signal.SIGHUP, before)

    @pytest.mark.requirement("FR-043")
    def test_has_its_data_to_itself(self, tmp_path: Path) -> None:
        with server(tmp_path, **local()) as running:
            running.wait_until_it_serves()
            with server(
                tmp_path / "other", **local(DATA_DIRECTORY=str(tmp_path / "data"))
            ) as other:
                assert other.wait() == 2

                (line,) = other.err.splitlines()
                assert line.startswith("task-api: ")
                assert str(tmp_path / "data") in line
            assert running.is_serving()

    @pytest.mark.requirement("FR-036", "FR-037")
    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
    def test_with_workers_on_a_given_database_serves_and_stops_cleanly(
        self, tmp_path: Path, database_url: str, how: signal.Signals
    ) -> None:
        settings = local(DATABASE_URL=database_url, WEB_CONCURRENCY="2")
        with server(tmp_path, **settings) as running:
            running.wait_until_it_serves()
            assert "  Database       from DATABASE_URL\n" in running.out
            assert httpx.get(f"{running.url}/health/ready").status_code == 200
            assert copied_from_banner(running).status_code == 201
            names = [member.name() for member in running.family]
            assert not any("postgres" in name for name in names)
            assert not (tmp_path / "data").exists()

            assert running.stop(how) == 0

            running.wait_until_nothing_is_left()
            assert "Traceback" not in running.err

    @pytest.mark.requirement("FR-037")
    def test_whose_port_is_taken_says_so_and_nothing_else(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with server(tmp_path, **local(PORT=str(port))) as running:
                assert running.wait() == 2

                assert running.out == ""
                assert running.err == (
                    f"task-api: HOST, PORT: cannot listen on port {port} of 127.0.0.1: Address"
                    " already in use; PORT=8001, for example, chooses another port\n"
                )

    @pytest.mark.requirement("FR-037")
    def test_whose_host_is_nowhere_says_so(self, tmp_path: Path) -> None:
        with server(tmp_path, **local(HOST="nowhere.invalid")) as running:
            assert running.wait() == 2

            (line,) = running.err.splitlines()
            assert line.startswith("task-api: HOST, PORT: cannot listen on port")

    @pytest.mark.requirement("FR-037")
    def test_on_any_free_port_says_which(self, tmp_path: Path, database_url: str) -> None:
        with server(tmp_path, **local(PORT="0", DATABASE_URL=database_url)) as running:
            wait_until(lambda: "/docs" in running.out)
            ((_, address),) = re.findall(r"(Documentation) +(http:\S+)/docs", running.out)
            running.url = address

            running.wait_until_it_serves()
            assert copied_from_banner(running).status_code == 201
            assert running.stop() == 0

    @pytest.mark.requirement("FR-037")
    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
    def test_can_be_stopped_while_it_waits_for_its_database(
        self, tmp_path: Path, how: signal.Signals
    ) -> None:
        with (
            silent_listener() as (url, has_caller),
            server(tmp_path, **local(DATABASE_URL=url)) as running,
        ):
            wait_until(lambda: has_caller() or running.process.poll() is not None)
            running.stop(how)

            assert "Traceback" not in running.err


@contextmanager
def silent_listener() -> Iterator[tuple[str, Callable[[], bool]]]:
    """A database that accepts connections and then says nothing; and whether anyone called."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        called = threading.Event()
        callers: list[socket.socket] = []

        def accept() -> None:
            callers.append(listener.accept()[0])
            called.set()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"postgresql://alice@127.0.0.1:{listener.getsockname()[1]}/db", called.is_set
        finally:
            socket.create_connection(listener.getsockname()).close()
            thread.join(PATIENCE)
            for caller in callers:
                caller.close()


class Writer:
    """A client that writes without a pause, and keeps what was answered 201."""

    def __init__(self, running: Server, user: str) -> None:
        self.answered: set[str] = set()
        self._running = running
        self._user = user
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped.set()
        self._thread.join(PATIENCE)

    def _write(self) -> None:
        with httpx.Client(base_url=self._running.url, timeout=PATIENCE) as client:
            number = 0
            while not self._is_stopped.is_set():
                number += 1
                title = f"task {number}"
                try:
                    answer = client.post(tasks_of(self._user), json={"title": title})
                except httpx.TransportError:
                    return
                if answer.status_code == 201:
                    self.answered.add(title)


class TestKillMinusNine:
    @pytest.mark.requirement("FR-041", "SC-006")
    def test_of_the_server_loses_nothing_that_was_answered(self, tmp_path: Path) -> None:
        with server(tmp_path, **local()) as running:
            running.wait_until_it_serves()
            with Writer(running, "alice") as writer:
                wait_until(lambda: len(writer.answered) >= 50)
                running.process.kill()
                running.wait()

            with server(tmp_path, **local()) as again:
                again.wait_until_it_serves()

                assert titles(again, "alice") >= writer.answered

                assert again.stop() == 0
                again.wait_until_nothing_is_left()

    @pytest.mark.requirement("FR-041")
    def test_of_the_server_ends_its_workers(self, tmp_path: Path, database_url: str) -> None:
        settings = local(DATABASE_URL=database_url, WEB_CONCURRENCY="2")
        with server(tmp_path, **settings) as running:
            running.wait_until_it_serves()
            workers = running.process.children(recursive=True)
            assert len(workers) >= 2

            running.process.kill()
            running.wait()

            running.wait_until_nothing_is_left()

    @pytest.mark.requirement("FR-041", "SC-006", "FR-029")
    def test_of_the_database_loses_nothing_that_was_answered(self, tmp_path: Path) -> None:
        with server(tmp_path, **local(DB_POOL_TIMEOUT="0.1")) as running:
            running.wait_until_it_serves()
            with Writer(running, "alice") as writer:
                wait_until(lambda: len(writer.answered) >= 50)
                running.postmaster().kill()
                wait_until(lambda: httpx.get(running.url + tasks_of("alice")).status_code == 503)
                assert httpx.get(f"{running.url}/health").status_code == 200

            assert running.stop() == 0
            running.wait_until_nothing_is_left()
        with server(tmp_path, **local()) as again:
            again.wait_until_it_serves()

            assert titles(again, "alice") >= writer.answered


class TestABadStart:
    @pytest.mark.requirement("FR-036")
    def test_names_each_setting_at_fault_in_one_line(self, tmp_path: Path) -> None:
        settings = {
            "PORT": "abc",
            "LOG_FORMAT": "xml",
            "DATABASE_URL": f"mysql://alice:{SECRET}@localhost/db",
            "DB_POOL_SIZE": "0",
        }
        with server(tmp_path, **settings) as running:
            assert running.wait() == 2

            lines = running.err.splitlines()
            assert sorted(line.split(": ")[:2] for line in lines) == [
                ["task-api", name] for name in sorted(settings)
            ]
            assert SECRET not in running.err + running.out

    @pytest.mark.requirement("FR-036")
    @pytest.mark.parametrize(
        "url",
        [
            pytest.param("postgresql://alice:{secret}@127.0.0.1:{closed}/db", id="nobody listens"),
            pytest.param("postgresql://alice:{secret}@nowhere.invalid/db", id="no such host"),
            pytest.param("{url}_of_nobody", id="no such database"),
            pytest.param("postgresql://alice:{secret}@127.0.0.1:port/db", id="no port"),
            pytest.param("postgresql://alice:{secret}@127.0.0.1/db?colour=red", id="no option"),
            pytest.param("postgresql:alice", id="no host"),
            pytest.param("postgresql://alice:{secret}@127.0.0.1/db?sslmode=maybe", id="no mode"),
        ],
    )
    def test_says_in_one_line_why_the_database_cannot_be_used(
        self, tmp_path: Path, database_url: str, url: str
    ) -> None:
        url = url.format(secret=SECRET, closed=free_port(), url=database_url)
        with server(tmp_path, **local(DATABASE_URL=url)) as running:
            exit_code = running.wait()

            assert SECRET not in running.err + running.out
            assert "Traceback" not in running.err
            (line,) = running.err.splitlines()
            assert line.startswith("task-api: ")
            assert exit_code == 2

    @pytest.mark.requirement("FR-036")
    def test_says_in_one_line_that_the_database_takes_no_migration(
        self, tmp_path: Path, database_url: str
    ) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP TABLE alembic_version")
            name = SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
            connection.execute(name.format(Identifier(connection.info.dbname)))
        with server(tmp_path, **local(DATABASE_URL=database_url, LOG_LEVEL="error")) as running:
            assert running.wait() == 2

            (line,) = running.err.splitlines()
            assert line.startswith("task-api: the database cannot be used: ")
            assert "read-only" in line

    @pytest.mark.requirement("FR-036")
    def test_says_that_the_database_is_newer_than_the_server(
        self, tmp_path: Path, database_url: str
    ) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        with server(tmp_path, **local(DATABASE_URL=database_url)) as running:
            assert running.wait() != 0

            assert "Traceback" not in running.err
            assert running.err.splitlines()[-1].startswith("task-api: ")
