"""`make run` and `python -m src` as processes: how they start, stop and are killed."""

import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Final, Self

import httpx
import psutil
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from src import revisions
from tests.builders import tasks_of
from tests.conftest import ROLE
from tests.processes import (
    MAKE_RUN,
    MIGRATE,
    PATIENCE,
    SERVE,
    Server,
    free_port,
    server,
    wait_until,
)

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
    @pytest.mark.parametrize("program", [MAKE_RUN, SERVE], ids=" ".join)
    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
    def test_with_workers_on_a_given_database_serves_and_stops_cleanly(
        self, tmp_path: Path, database_url: str, how: signal.Signals, program: tuple[str, ...]
    ) -> None:
        settings = local(DATABASE_URL=database_url, WEB_CONCURRENCY="2")
        with server(tmp_path, program=program, **settings) as running:
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
                    " already in use; choose another port, for example PORT=8001\n"
                )

    @pytest.mark.requirement("FR-036", "FR-037")
    @pytest.mark.parametrize("host", ["nowhere.invalid", "a..b"])
    def test_whose_host_is_nowhere_says_so(self, tmp_path: Path, host: str) -> None:
        with server(tmp_path, **local(HOST=host)) as running:
            assert running.wait() == 2

            (line,) = running.err.splitlines()
            assert line.startswith("task-api: HOST")
            assert host in line
            assert line.endswith(
                "set HOST to an address of this machine, for example HOST=127.0.0.1"
            )

    @pytest.mark.requirement("FR-037")
    def test_on_any_free_port_says_which(self, tmp_path: Path, database_url: str) -> None:
        with server(tmp_path, **local(PORT="0", DATABASE_URL=database_url)) as running:
            wait_until(lambda: "/docs" in running.out)
            ((_, address),) = re.findall(r"(Documentation) +(http:\S+)/docs", running.out)
            running.url = address

            running.wait_until_it_serves()
            assert copied_from_banner(running).status_code == 201
            assert running.stop() == 0

    @pytest.mark.slow
    @pytest.mark.requirement("FR-105")
    @pytest.mark.parametrize(
        ("parser", "workers"), [("httptools", "1"), ("httptools", "2"), ("h11", "1"), ("zttp", "1")]
    )
    def test_closes_an_idle_connection_after_the_time_of_the_setting(
        self, tmp_path: Path, database_url: str, parser: str, workers: str
    ) -> None:
        settings = local(DATABASE_URL=database_url, HTTP_PARSER=parser, WEB_CONCURRENCY=workers)
        with server(tmp_path, program=SERVE, **settings, KEEP_ALIVE_TIMEOUT="1") as running:
            running.wait_until_it_serves()
            port = int(settings["PORT"])
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = HTTPResponse(connection)
                answer.begin()
                assert answer.read() == b'{"status":"ok"}'
                asked = time.monotonic()

                assert connection.recv(1) == b""

                assert time.monotonic() - asked > 0.9
            assert running.stop() == 0

    @pytest.mark.requirement("FR-104")
    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_on_all_addresses_answers_both_families(
        self, tmp_path: Path, database_url: str, workers: str
    ) -> None:
        settings = local(HOST="::", DATABASE_URL=database_url, WEB_CONCURRENCY=workers)
        with server(tmp_path, program=SERVE, **settings) as running:
            running.wait_until_it_serves()
            for address in ("127.0.0.1", "[::1]"):
                assert httpx.get(f"http://{address}:{settings['PORT']}/health").status_code == 200
            assert "WARNING: there is no authentication, and HOST=:: opens the port" in running.out
            assert f"http://localhost:{settings['PORT']}/docs" in running.out
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

    @pytest.mark.slow
    @pytest.mark.requirement("FR-041", "SC-006", "FR-101")
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_of_the_database_ends_the_server_and_loses_nothing_that_was_answered(
        self, tmp_path: Path, workers: str
    ) -> None:
        with server(tmp_path, **local(WEB_CONCURRENCY=workers, LOG_LEVEL="critical")) as running:
            running.wait_until_it_serves()
            with Writer(running, "alice") as writer:
                wait_until(lambda: len(writer.answered) >= 50)
                running.postmaster().kill()
                assert running.wait() == 2

            running.wait_until_nothing_is_left()
            assert running.err == "task-api: PostgreSQL was killed by SIGKILL: start again\n"
        with server(tmp_path, **local()) as again:
            again.wait_until_it_serves()

            assert titles(again, "alice") >= writer.answered


@pytest.mark.slow
class TestWorkers:
    @pytest.mark.requirement("FR-107")
    def test_that_are_killed_are_replaced(self, tmp_path: Path, database_url: str) -> None:
        settings = local(DATABASE_URL=database_url, WEB_CONCURRENCY="2")
        with server(tmp_path, program=SERVE, **settings) as running:
            running.wait_until_it_serves()
            wait_until(lambda: len(workers_of(running)) == 2)
            first = workers_of(running)
            for worker in first:
                worker.kill()
                worker.wait(PATIENCE)

            wait_until(lambda: len({*workers_of(running)} - {*first}) == 2)
            running.wait_until_it_serves()
            assert copied_from_banner(running).status_code == 201
            assert running.stop() == 0

            running.wait_until_nothing_is_left()


def workers_of(running: Server) -> list[psutil.Process]:
    """The processes that serve."""
    found = []
    for child in running.process.children():
        with suppress(psutil.NoSuchProcess):  # one that has just been killed
            if any("spawn_main" in part for part in child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
class TestASignalUnderLoad:
    @pytest.mark.requirement("FR-107")
    @pytest.mark.parametrize(
        ("how", "workers"),
        [
            (signal.SIGTERM, "1"),
            (signal.SIGTERM, "2"),
            (signal.SIGINT, "1"),
            (signal.SIGHUP, "2"),
        ],
    )
    def test_lets_the_requests_finish_that_have_begun(
        self, tmp_path: Path, database_url: str, workers: str, how: signal.Signals
    ) -> None:
        settings = local(DATABASE_URL=database_url, WEB_CONCURRENCY=workers)
        with (
            server(tmp_path, program=SERVE, **settings) as running,
            psycopg.connect(database_url) as blocker,
            ThreadPoolExecutor() as threads,
        ):
            running.wait_until_it_serves()
            blocker.execute("LOCK TABLE tasks IN EXCLUSIVE MODE")
            url = running.url + tasks_of("alice")
            answers = [
                threads.submit(httpx.post, url, json={"title": "x"}, timeout=PATIENCE)
                for _ in range(4)
            ]
            wait_until(lambda: waiting(database_url) == len(answers))
            running.process.send_signal(how)
            wait_until(lambda: is_closed(int(settings["PORT"])))
            assert not any(answer.done() for answer in answers)
            blocker.rollback()

            assert [answer.result().status_code for answer in answers] == [201] * len(answers)
            assert running.wait() == 0
            running.wait_until_nothing_is_left()
            assert "Traceback" not in running.err


def waiting(url: str) -> int:
    """How many connections wait for a lock in the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
        assert row is not None
        return int(row[0])


def is_closed(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


class TestTheEmbeddedDatabase:
    @pytest.mark.requirement("FR-101")
    def test_that_was_stopped_stops_the_server(self, tmp_path: Path) -> None:
        with server(tmp_path, **local(LOG_LEVEL="critical")) as running:
            running.wait_until_it_serves()
            running.postmaster().send_signal(signal.SIGINT)

            assert running.wait() == 2

            (line,) = running.err.splitlines()
            assert line.startswith("task-api: PostgreSQL has stopped: ")
            assert line.endswith(f"(see {tmp_path}/data/postgres/postgres.log)")

    @pytest.mark.requirement("FR-101")
    def test_survives_the_end_of_one_of_its_processes(self, tmp_path: Path) -> None:
        with server(tmp_path, **local()) as running:
            running.wait_until_it_serves()
            created = copied_from_banner(running)
            for backend in running.postmaster().children():
                if "task_api" in " ".join(backend.cmdline()):
                    backend.kill()

            wait_until(
                lambda: httpx.get(running.url + created.headers["location"]).status_code == 200
            )

            assert running.stop() == 0

    @pytest.mark.requirement("FR-100")
    def test_is_not_reached_by_what_the_shell_says_of_other_databases(self, tmp_path: Path) -> None:
        shell = {
            "PGSSLMODE": "require",
            "PGHOST": "nowhere.invalid",
            "PGHOSTADDR": "192.0.2.1",
            "PGPORT": "1",
            "PGUSER": "alice",
            "PGPASSWORD": SECRET,
            "PGDATABASE": "shop",
            "PGSERVICE": "shop",
            "PGOPTIONS": "-c default_transaction_read_only=on",
            "PGCLIENTENCODING": "LATIN1",
            "PGTARGETSESSIONATTRS": "standby",
            "PGREQUIREAUTH": "none",
            "PGCHANNELBINDING": "require",
        }
        with server(tmp_path, **local(**shell)) as running:
            running.wait_until_it_serves()

            assert copied_from_banner(running).status_code == 201
            assert running.stop() == 0


class TestTheCommandLine:
    @pytest.mark.requirement("FR-069")
    @pytest.mark.parametrize("program", [("src",), SERVE, MIGRATE, MAKE_RUN], ids=" ".join)
    def test_helps_without_any_setting(self, tmp_path: Path, program: tuple[str, ...]) -> None:
        asked = (*program, "--help")
        with server(tmp_path, program=asked, DATABASE_URL="none", PORT="none") as running:
            assert running.wait() == 0

            assert f"Usage: python -m {' '.join(program)}" in running.out
            assert running.err == ""
        assert sorted(path.name for path in tmp_path.iterdir()) == ["stderr", "stdout"]

    @pytest.mark.requirement("FR-069")
    def test_without_a_command_shows_the_help(self, tmp_path: Path) -> None:
        with server(tmp_path, program=("src",)) as running:
            assert running.wait() == 2

            assert "Usage: python -m src" in running.out
            assert running.err == ""

    @pytest.mark.requirement("FR-069")
    @pytest.mark.parametrize("program", [SERVE, MIGRATE, MAKE_RUN], ids=" ".join)
    def test_starts_nothing_with_an_argument_that_it_does_not_know(
        self, tmp_path: Path, program: tuple[str, ...]
    ) -> None:
        with server(tmp_path, program=(*program, "--port", "8000")) as running:
            assert running.wait() == 2

            assert "No such option: --port" in running.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["stderr", "stdout"]

    @pytest.mark.requirement("FR-069")
    @pytest.mark.parametrize("program", [SERVE, MIGRATE], ids=" ".join)
    def test_requires_a_database(self, tmp_path: Path, program: tuple[str, ...]) -> None:
        with server(tmp_path, program=program, **local()) as running:
            assert running.wait() == 2

            assert running.err == (
                "task-api: DATABASE_URL is not set; to run with an embedded database, use"
                " `make run`\n"
            )

    @pytest.mark.requirement("FR-036")
    def test_refuses_a_direct_url_without_the_other(self, tmp_path: Path) -> None:
        url = "postgresql://alice@localhost/db"
        with server(tmp_path, **local(DATABASE_URL_UNPOOLED=url)) as running:
            assert running.wait() == 2

            assert running.err == (
                "task-api: DATABASE_URL_UNPOOLED: is for migrations only; set DATABASE_URL as"
                " well\n"
            )

    @pytest.mark.requirement("FR-069", "FR-162")
    def test_serves_without_migrating_and_migrates_without_serving(
        self, tmp_path: Path, make_empty_database: Callable[[], str]
    ) -> None:
        url = make_empty_database()
        with server(tmp_path, program=SERVE, **local(DATABASE_URL=url)) as running:
            running.wait_until_it_serves()
            wait_until(lambda: "WARNING [-] src.cli: schema: " in running.err)
            assert httpx.get(f"{running.url}/health/ready").status_code == 503

            with server(tmp_path / "migrate", program=MIGRATE, DATABASE_URL=url) as migrating:
                assert migrating.wait() == 0
                newest = revisions.newest()
                assert migrating.out == f"the database is at the newest migration, {newest}\n"

            assert httpx.get(f"{running.url}/health/ready").status_code == 200
            assert copied_from_banner(running).status_code == 201
            assert running.stop() == 0

    @pytest.mark.requirement("FR-044")
    @pytest.mark.parametrize("program", [MIGRATE, MAKE_RUN], ids=" ".join)
    def test_migrates_through_the_direct_url(
        self, tmp_path: Path, make_empty_database: Callable[[], str], program: tuple[str, ...]
    ) -> None:
        url = make_empty_database()
        pooler = f"postgresql://alice@127.0.0.1:{free_port()}/db"
        settings = local(DATABASE_URL=pooler, DATABASE_URL_UNPOOLED=url)
        with server(tmp_path, program=program, **settings) as running:
            wait_until(lambda: is_migrated(url))
            if program == MAKE_RUN:
                running.wait_until_it_serves()
                assert httpx.get(f"{running.url}/health/ready").status_code == 503
                running.stop()

            assert running.wait() == 0

    @pytest.mark.requirement("FR-069")
    @pytest.mark.parametrize(
        ("parser", "expected"),
        [
            ("httptools", ("application/problem+json", 400)),
            ("h11", ("text/plain; charset=utf-8", 200)),
            ("ZTTP", ("text/plain; charset=utf-8", 400)),
        ],
    )
    def test_serves_with_the_http_parser_of_the_setting(
        self, tmp_path: Path, database_url: str, parser: str, expected: tuple[str, int]
    ) -> None:
        settings = local(DATABASE_URL=database_url, HTTP_PARSER=parser)
        with server(tmp_path, program=SERVE, **settings) as running:
            running.wait_until_it_serves()
            assert copied_from_banner(running).status_code == 201
            # The parsers differ in two kinds of requests: without a Host, and with bare line feeds.
            _, content_type = sent_raw(running, "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
            status, _ = sent_raw(
                running, "GET /health HTTP/1.1\nHost: localhost\nConnection: close\n\n"
            )

            assert (content_type, status) == expected
            assert running.stop() == 0


def is_migrated(url: str) -> bool:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT to_regclass('task_api_version') IS NOT NULL").fetchone()
        return row == (True,)


def sent_raw(running: Server, request: str) -> tuple[int, str]:
    """Send a request as it is; give the status and the content type of the answer."""
    with socket.create_connection(("127.0.0.1", httpx.URL(running.url).port or 0)) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(request.encode())
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.headers["content-type"]


class TestTheSameContract:
    """Whoever starts the application, it gives the same answers."""

    @pytest.mark.requirement("FR-070")
    @pytest.mark.parametrize(
        "program",
        [
            ("uvicorn", "--factory", "src.main:create_app", "--no-server-header", "--port"),
            ("fastapi_cli", "run", "src/asgi.py", "--host", "127.0.0.1", "--port"),
            ("fastapi_cli", "run", "--host", "127.0.0.1", "--port"),  # by `tool.fastapi`
        ],
        ids=["uvicorn", "fastapi run FILE", "fastapi run"],
    )
    def test_is_served_by(
        self, tmp_path: Path, database_url: str, program: tuple[str, ...]
    ) -> None:
        ours, theirs = local(DATABASE_URL=database_url), local(DATABASE_URL=database_url)
        with (
            server(tmp_path / "ours", program=SERVE, **ours) as expected,
            server(tmp_path / "theirs", program=(*program, theirs["PORT"]), **theirs) as other,
        ):
            expected.wait_until_it_serves()
            other.wait_until_it_serves()
            assert answers_of(other, "bob") == answers_of(expected, "alice")

            other.stop()
            other.wait_until_nothing_is_left()
            assert "Traceback" not in other.err


def answers_of(running: Server, user: str) -> list[object]:
    """Send some requests; give what is the same for each user and time."""
    tasks = tasks_of(user)
    with httpx.Client(base_url=running.url) as client:
        created = client.post(tasks, json={"title": "Buy milk"})
        seen = {"If-None-Match": created.headers["etag"]}
        answers = [
            created,
            client.get(created.headers["location"], headers=seen),
            client.get(tasks, params={"include_total": "true"}),
            client.post(tasks, json={"title": "", "colour": "red"}),
            client.get(f"{tasks}?limit=0&limit=0"),
            client.head(tasks),
            client.put(f"{tasks}/summary"),
            client.get("/nowhere"),
            client.get("/health", headers={"Host": "evil.example"}),
            client.patch(tasks, content=b"{", headers={"Content-Type": "application/json"}),
        ]
    same = ("title", "code", "errors", "detail", "total")
    return [
        (
            answer.status_code,
            sorted({*answer.headers} - {"server"}),
            {
                name: value
                for name, value in (answer.json() if answer.content else {}).items()
                if name in same
            },
        )
        for answer in answers
    ]


class TestAnUnsafeDatabase:
    @pytest.mark.requirement("FR-106")
    @pytest.mark.parametrize(
        ("setting", "count"),
        [
            ("synchronous_commit = off", 1),
            ("synchronous_commit = on", 0),
            ("TimeZone = 'Asia/Tokyo'", 0),
        ],
    )
    def test_is_told_of_in_one_line(
        self, tmp_path: Path, database_url: str, setting: str, count: int
    ) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                f"ALTER ROLE CURRENT_USER IN DATABASE {connection.info.dbname} SET {setting}"
            )
        settings = local(DATABASE_URL=database_url, LOG_LEVEL="warning")
        with server(tmp_path, program=SERVE, **settings) as running:
            running.wait_until_it_serves()
            for _ in range(2):  # each time over a new connection
                assert copied_from_banner(running).status_code == 201
                end_connections(database_url)
            assert running.stop() == 0

            told = "synchronous_commit is off: a crash of the database can lose changes"
            assert running.err.count(told) == len(running.err.splitlines()) == count


def end_connections(url: str) -> None:
    """End all other connections to the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


class TestABadStart:
    @pytest.mark.requirement("FR-036")
    @pytest.mark.parametrize("program", [MAKE_RUN, SERVE, MIGRATE], ids=" ".join)
    def test_names_each_setting_at_fault_in_one_line(
        self, tmp_path: Path, program: tuple[str, ...]
    ) -> None:
        settings = {
            "PORT": "abc",
            "LOG_FORMAT": "xml",
            "DATABASE_URL": f"mysql://alice:{SECRET}@localhost/db",
            "DB_POOL_SIZE": "0",
        }
        with server(tmp_path, program=program, **settings) as running:
            assert running.wait() == 2

            lines = running.err.splitlines()
            assert sorted(line.split(": ")[:2] for line in lines) == [
                ["task-api", name] for name in sorted(settings)
            ]
            assert SECRET not in running.err + running.out

    @pytest.mark.requirement("FR-036", "FR-097")
    @pytest.mark.parametrize(
        ("program", "name"),
        [(MAKE_RUN, "DATABASE_URL"), (MIGRATE, "DATABASE_URL_UNPOOLED")],
        ids=["make run", "migrate"],
    )
    @pytest.mark.parametrize(
        ("url", "told"),
        [
            pytest.param(
                "postgresql://alice:{secret}@127.0.0.1:{closed}/shop",
                "Connection refused",
                id="nobody listens",
            ),
            pytest.param(
                "postgresql://alice:{secret}@127.0.0.1:{closed},127.0.0.2:{closed}/shop",
                "Connection refused",
                id="nobody listens at several addresses",
            ),
            pytest.param(
                "host=nowhere.invalid user=alice password='{secret} #'",
                'failed to resolve host "…"',
                id="no such host",
            ),
            pytest.param("{server}/shop", 'database "…" does not exist', id="no such database"),
            pytest.param("{server}/shop?user=alice", '"…"', id="no such user"),
            pytest.param(
                "postgresql://alice:{secret}@127.0.0.1/shop?sslmode=maybe",
                'invalid sslmode value: "…"',
                id="no mode",
            ),
        ],
    )
    def test_says_in_one_line_why_the_connection_failed_and_quotes_nothing(
        self,
        tmp_path: Path,
        database_url: str,
        program: tuple[str, ...],
        name: str,
        url: str,
        told: str,
    ) -> None:
        server_url = database_url.rpartition("/")[0]
        settings = {
            "DATABASE_URL": database_url,
            name: url.format(secret=SECRET, closed=free_port(), server=server_url),
        }
        with server(tmp_path, program=program, **local(**settings)) as running:
            assert running.wait() == 2

            (line,) = running.err.splitlines()
            assert line.startswith(f"task-api: {name}: the connection to the database failed: ")
            assert told in line
            for part in (SECRET, "alice", "shop", "nowhere", "127.0.0", "maybe", ROLE):
                assert part not in running.err + running.out.replace(running.url, "")

    @pytest.mark.requirement("FR-097", "FR-162")
    def test_that_cannot_connect_later_logs_no_part_of_the_setting(self, tmp_path: Path) -> None:
        url = f"postgresql://alice:{SECRET}@127.0.0.1:{free_port()}/shop"
        with server(tmp_path, program=SERVE, **local(DATABASE_URL=url)) as running:
            running.wait_until_it_serves()
            warning = "WARNING [-] src.cli: database: Connection refused; check DATABASE_URL\n"
            wait_until(lambda: warning in running.err)
            assert httpx.get(running.url + tasks_of("bob")).status_code == 503

            assert running.stop() == 0

            assert "database unavailable: Connection refused\n" in running.err
            for part in (SECRET, "alice", "shop", "127.0.0.1"):
                assert part not in running.err

    @pytest.mark.requirement("FR-097")
    def test_of_restored_names_the_setting(self, tmp_path: Path) -> None:
        url = f"postgresql://alice:{SECRET}@127.0.0.1:{free_port()}/shop?connect_timeout=soon"
        with server(tmp_path, program=("src", "restored"), DATABASE_URL=url) as running:
            assert running.wait() == 2

            assert running.err == (
                "task-api: DATABASE_URL: the database cannot be used: bad value for"
                ' connect_timeout: "…"\n'
            )

    @pytest.mark.requirement("FR-036")
    def test_says_in_one_line_that_the_database_takes_no_migration(
        self, tmp_path: Path, make_empty_database: Callable[[], str]
    ) -> None:
        database_url = make_empty_database()
        with psycopg.connect(database_url, autocommit=True) as connection:
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
            connection.execute("UPDATE task_api_version SET version_num = '9999'")
        with server(tmp_path, **local(DATABASE_URL=database_url)) as running:
            assert running.wait() != 0

            assert "Traceback" not in running.err
            assert running.err.splitlines()[-1].startswith(
                "task-api: the database is at a migration that this version does not know: "
            )
