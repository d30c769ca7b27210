"""The log: one line an event, as text or as JSON, each with the id of its request."""

import json
import logging
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from src.api.deps import SessionDep
from src.database import transaction
from src.logs import RepetitionFilter
from src.main import create_app
from tests.builders import NO_TASK, create, path_of, tasks_of
from tests.conftest import BASE_URL, make_settings
from tests.processes import MAKE_RUN, free_port, server, serving

pytestmark = pytest.mark.anyio

LINE: Final = re.compile(
    r"(?P<time>\S+) (?P<level>[A-Z]+) \[(?P<request_id>[^\]]+)\] (?P<logger>[\w.]+):"
    r" (?P<message>.*)"
)
REQUEST: Final = re.compile(
    r"(?P<method>[A-Z]+) (?P<path>\S+) (?P<status>\d+) (?P<duration_ms>\d+\.\d) ms,"
    r" database (?P<database_ms>\d+\.\d) ms"
)
FORMATS: Final = ["text", "json"]


def parse(line: str, log_format: str) -> dict[str, Any]:
    """Read one line of the log; every line must be an event of its own."""
    if log_format == "json":
        event: dict[str, Any] = json.loads(line)
        assert {"time", "level", "request_id", "logger", "message"} <= event.keys()
        assert "color_message" not in event
    else:
        match = LINE.fullmatch(line)
        assert match, f"not a line of the log: {line!r}"
        event = match.groupdict()
    assert datetime.fromisoformat(event["time"]).utcoffset() == timedelta()
    return event


def request_in(event: dict[str, Any]) -> dict[str, Any]:
    """Give the values of a request's event, which has nothing else; times as `...`."""
    event = dict(event)
    assert event.pop("level") == "INFO"
    assert event.pop("logger") == "src.access"
    message = event.pop("message")
    del event["time"], event["request_id"]
    if event:
        assert message == "request"
        assert 0 <= event["database_ms"] <= event["duration_ms"]
    else:
        match = REQUEST.fullmatch(message)
        assert match, f"not the line of a request: {message!r}"
        event = match.groupdict() | {"status": int(match["status"])}
    return event | {"duration_ms": ..., "database_ms": ...}


class Log:
    """What the app has logged."""

    def __init__(self, app: FastAPI, stream: StringIO, log_format: str) -> None:
        self.app = app
        self._stream = stream
        self._format = log_format

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The app's own: the client, which is in this process as well, logs its requests too."""
        lines = self.text.splitlines()
        # In the text form, what continues an event is indented.
        events = [parse(line, self._format) for line in lines if not line.startswith("    ")]
        return [event for event in events if event["logger"].startswith("src.")]


@pytest.fixture(params=FORMATS)
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def logged(
    shared_database_url: str, log_format: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[httpx.AsyncClient, Log]]:
    """A client of an app, and the app's log."""
    async with log_of(shared_database_url, log_format, monkeypatch) as logged:
        yield logged


@asynccontextmanager
async def log_of(
    database_url: str, log_format: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[httpx.AsyncClient, Log]]:
    """Give a client of an app, and the app's log. The logging of this process is restored."""
    stream = StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    settings = make_settings(database_url, log_format=log_format)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        app = create_app(settings.model_copy(update={"log_level": "info"}))
    try:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client,
        ):
            yield client, Log(app, stream, log_format)
    finally:
        root.handlers = handlers
        root.setLevel(level)  # loggers remember which levels are enabled until this is called


class TestARequest:
    @pytest.mark.requirement("FR-038", "FR-027", "FR-145")
    async def test_is_one_line_with_its_id(
        self, logged: tuple[httpx.AsyncClient, Log], log_format: str, user: str
    ) -> None:
        client, log = logged

        started = perf_counter()
        answer = await client.get(f"{tasks_of(user)}?limit=5")
        waited_ms = (perf_counter() - started) * 1000

        (event,) = log.events
        if log_format == "json":
            assert 0 < event["database_ms"] <= event["duration_ms"] <= round(waited_ms, 3)
        assert event["request_id"] == answer.headers["x-request-id"]
        route = {"route": "/api/v1/{user_id}/tasks"} if log_format == "json" else {}
        assert request_in(event) == route | {
            "method": "GET",
            "path": tasks_of(user),
            "status": 200,
            "duration_ms": ...,
            "database_ms": ...,
        }

    @pytest.mark.requirement("FR-027")
    async def test_may_bring_its_id(self, logged: tuple[httpx.AsyncClient, Log]) -> None:
        client, log = logged

        await client.get("/health", headers={"X-Request-ID": "trace-1.a_B"})

        assert [event["request_id"] for event in log.events] == ["trace-1.a_B"]

    @pytest.mark.requirement("FR-027")
    @pytest.mark.parametrize(
        "request_id",
        [b"two words", b"", b"x" * 129, b"\xe4", b'"', b"[a]", b"a\tb", b"a=b", b"%0A"],
    )
    async def test_gets_another_id_if_its_own_could_harm(
        self, logged: tuple[httpx.AsyncClient, Log], request_id: bytes
    ) -> None:
        client, log = logged

        answer = await client.get("/health", headers={b"X-Request-ID": request_id})

        (event,) = log.events
        assert event["request_id"] == answer.headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f-]{36}", event["request_id"])

    @pytest.mark.requirement("FR-038")
    async def test_tells_nothing_of_what_the_task_says(
        self, logged: tuple[httpx.AsyncClient, Log], user: str
    ) -> None:
        client, log = logged

        task = await create(client, user, title="A secret", description="Another one")
        await client.get(f"{path_of(task)}?password=S3cret")

        assert "secret" not in repr(log.events).lower()

    @pytest.mark.requirement("FR-038")
    @pytest.mark.parametrize(
        "path", ["/%0A2026-01-01", "/%0d%0aX", "/%E2%80%A8", "/%C2%85", "/%1B", "/%00"]
    )
    async def test_cannot_break_a_line_with_its_path(
        self, logged: tuple[httpx.AsyncClient, Log], path: str
    ) -> None:
        client, log = logged

        await client.get(path)

        (event,) = log.events
        assert request_in(event)["path"] == path

    @pytest.mark.requirement("FR-038", "FR-027")
    async def test_that_fails_unforeseen_is_told_of_in_one_more_line_with_its_id(
        self,
        logged: tuple[httpx.AsyncClient, Log],
        user: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def fail(*_: object, **__: object) -> None:
            raise RuntimeError("first line\nsecond line")

        client, log = logged
        monkeypatch.setattr("src.services.todo_service.list_tasks", fail)

        answer = await client.get(tasks_of(user))

        assert answer.status_code == 500
        failure, access = log.events
        assert failure["level"] == "ERROR"
        assert request_in(access)["status"] == 500
        assert {failure["request_id"], access["request_id"]} == {answer.headers["x-request-id"]}

    @pytest.mark.requirement("FR-038", "FR-077")
    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ("ALTER TABLE tasks ADD CONSTRAINT other_rule CHECK (title = '')", 500),
            (
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
                r" AS $$ BEGIN RAISE E'\n%\n\n%', NEW.title, NEW.description; END $$;"
                " CREATE TRIGGER refuse BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION"
                " refuse()",
                500,
            ),
            ("DROP TABLE tasks CASCADE", 503),
        ],
    )
    async def test_that_the_database_refuses_is_logged_without_its_values(
        self,
        database_url: str,
        log_format: str,
        user: str,
        monkeypatch: pytest.MonkeyPatch,
        change: str,
        status: int,
    ) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(change.encode())
        async with log_of(database_url, log_format, monkeypatch) as (client, log):
            answer = await client.post(
                tasks_of(user), json={"title": "A secret", "description": "Another secret"}
            )

        assert answer.status_code == status
        assert ("Traceback" in log.text) is (status == 500)
        assert "secret" not in log.text.lower()

    @pytest.mark.requirement("FR-027")
    async def test_shares_its_id_with_no_other(self, logged: tuple[httpx.AsyncClient, Log]) -> None:
        client, log = logged

        for _ in range(5):
            await client.get("/health")

        assert len({event["request_id"] for event in log.events}) == 5


@pytest.mark.requirement("FR-145")
@pytest.mark.parametrize("log_format", ["json"])
class TestTheRoute:
    @pytest.mark.parametrize(
        ("method", "path", "route", "status"),
        [
            ("GET", "/api/v1/{user}/tasks/{task}", "/api/v1/{user_id}/tasks/{task_id}", 404),
            ("HEAD", "/api/v1/{user}/tasks", "/api/v1/{user_id}/tasks", 200),
            ("PUT", "/api/v1/{user}/tasks", "/api/v1/{user_id}/tasks", 405),
            ("POST", "/api/v1/{user}/tasks", "/api/v1/{user_id}/tasks", 422),
            ("GET", "/health", "/health", 200),
            ("GET", "/nowhere/{user}", "unmatched", 404),
            ("GET", "/redoc", "unmatched", 200),
        ],
    )
    async def test_is_the_template_not_the_path(
        self,
        logged: tuple[httpx.AsyncClient, Log],
        user: str,
        method: str,
        path: str,
        route: str,
        status: int,
    ) -> None:
        client, log = logged

        await client.request(method, path.format(user=user, task=NO_TASK))

        (event,) = log.events
        assert request_in(event) == {
            "method": method,
            "route": route,
            "path": path.format(user=user, task=NO_TASK),
            "status": status,
            "duration_ms": ...,
            "database_ms": ...,
        }


@pytest.mark.requirement("FR-146")
class TestTheTimeInTheDatabase:
    @pytest.mark.unscoped
    async def test_is_that_of_all_statements_and_of_the_commit(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE slow (id int);"
                " CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql"
                " AS $$ BEGIN PERFORM pg_sleep(0.04); RETURN NULL; END $$;"
                " CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON slow"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleep()"
            )

        fails_slowly = "DO $$ BEGIN PERFORM pg_sleep(0.02); RAISE division_by_zero; END $$"

        async def be_slow(session: SessionDep) -> None:
            with suppress(DBAPIError):
                await session.exec(text(fails_slowly))  # type: ignore[call-overload]  # text
            async with transaction(session):
                await session.exec(text("SELECT pg_sleep(0.03)"))  # type: ignore[call-overload]  # text
                await session.exec(text("INSERT INTO slow VALUES (1)"))  # type: ignore[call-overload]  # text

        async with log_of(database_url, "json", monkeypatch) as (client, log):
            log.app.add_api_route("/slow", be_slow)
            await client.get("/slow")

        (event,) = log.events
        assert request_in(event)["route"] == "/slow"
        assert event["database_ms"] >= 20 + 30 + 40

    async def test_is_nothing_if_there_are_none(
        self, shared_database_url: str, user: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with log_of(shared_database_url, "json", monkeypatch) as (client, log):
            await create(client, user)
            await client.get("/health")

        created, health = log.events
        assert created["database_ms"] > 0
        assert health["database_ms"] == 0


@pytest.mark.requirement("FR-038", "FR-027", "FR-145")
@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize(
    "program", [MAKE_RUN, ("uvicorn", "--factory", "src.main:create_app", "--port")]
)
def test_every_line_of_a_server_is_an_event(
    tmp_path: Path, database_url: str, log_format: str, program: tuple[str, ...]
) -> None:
    settings = {"DATABASE_URL": database_url, "PORT": str(free_port()), "LOG_FORMAT": log_format}
    if program != MAKE_RUN:
        program = (*program, settings["PORT"])
    with server(tmp_path, program=program, **settings) as running:
        running.wait_until_it_serves()
        httpx.get(f"{running.url}/health", headers={"X-Request-ID": "trace-1"})
        for request in (
            b"GET /\xc2\x85\xe2\x80\xa8\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n",  # not encoded
            b"no HTTP at all\r\n\r\n",
        ):
            send_raw(settings["PORT"], request)
        running.stop()

        lines = running.err.split("\n")[:-1]

    events = [parse(line, log_format) for line in lines]
    requests = [event for event in events if event["logger"] == "src.access"]
    assert "trace-1" in [event["request_id"] for event in requests]
    assert {request_in(event)["path"] for event in requests} == {"/health"}
    assert "\x1b" not in running.err
    assert {event["logger"].split(".")[0] for event in events} >= {"src", "uvicorn"}


def send_raw(port: str, request: bytes) -> bytes:
    """Send bytes that no client would send, and give what comes back."""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as connection:
        connection.sendall(request)
        return connection.recv(65536)


@pytest.mark.requirement("FR-029", "FR-038")
async def test_an_outage_is_logged_with_its_reason_but_not_for_every_request(
    user: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://alice:S3cret@127.0.0.1:{free_port()}/tasks"
    async with serving(url, db_pool_timeout=0.05) as (_, client):
        answers = [await client.get(tasks_of(user)) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [503] * 5
    log = capsys.readouterr().err
    (line,) = [line for line in log.splitlines() if " WARNING " in line]
    assert line.endswith(" src.api.problems: database unavailable: Connection refused")
    assert "S3cret" not in log


@pytest.mark.requirement("FR-038", "FR-077")
def test_each_message_is_logged_every_ten_seconds() -> None:
    repetition = RepetitionFilter()

    def is_logged(message: str, at: float) -> bool:
        return bool(repetition.filter(logging.makeLogRecord({"msg": message, "created": at})))

    assert is_logged("down", 100)
    assert not is_logged("down", 109.9)
    assert is_logged("down", 110)
    assert is_logged("full", 110.1)
    assert not is_logged("down", 110.2)
    assert not is_logged("full", 110.3)
    assert is_logged("down", 120)
    assert not is_logged("full", 120)
    assert is_logged("full", 120.1)
