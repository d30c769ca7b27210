"""Bodies that never end, that nobody reads to their end, or that are on their way at the stop."""

import logging
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from select import select
from typing import Final

import httpx
import playwright
import pytest
from fastapi import FastAPI
from starlette.types import Message

from src.api import bodies
from src.api.problems import Kind
from src.main import create_app
from tests.builders import NO_TASK, problem, tasks_of
from tests.conftest import make_settings
from tests.http_edge import Parser, answers, exchange
from tests.listening import listening
from tests.processes import PATIENCE, SERVE, free_port, server

NODE: Final = Path(playwright.__file__).parent / "driver" / "node"
TRIES: Final = 5
TOO_LARGE: Final = 5_000_000
LIMIT_AND_BUFFERS: Final = 64 * 1024 * 1024
BODIES: Final = 20
HEAD: Final = (
    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    "{length}\r\n\r\n"
)


@pytest.fixture(scope="module")
def impatient_url(parser: Parser, shared_database_url: str) -> Iterator[str]:
    """The address of a server that waits for bodies as long as the pieces of one take to arrive."""
    settings = make_settings(shared_database_url, log_level="critical", body_timeout=0.5)
    with listening(create_app(settings), parser) as url:
        yield url


def head_of(method: str, path: str, length: str = "Content-Length: 100") -> bytes:
    return HEAD.format(method=method, path=path, length=length).encode()


def received_to_its_end(connection: socket.socket) -> bytes:
    """What the server sends until it closes the connection."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def sent_until_it_breaks(connection: socket.socket) -> int:
    """Send without an end; say how many bytes the connection has taken when it is closed."""
    sent = 0
    try:
        while True:
            sent += connection.send(b" " * (1 << 16))
    except OSError:
        return sent


def connected(url: str) -> socket.socket:
    location = httpx.URL(url)
    return socket.create_connection((location.host, location.port or 0), timeout=PATIENCE)


@pytest.mark.requirement("FR-114")
class TestABodyThatNeverEnds:
    @pytest.mark.parametrize("rest", [b"", b'{"title": "x"'], ids=["nothing", "half of it"])
    @pytest.mark.parametrize(
        ("method", "path"),
        [("POST", ""), ("POST", "/batch"), ("PATCH", "/{id}"), ("PATCH", "/{id}/complete")],
    )
    def test_is_408_and_changes_nothing(
        self, url: str, impatient_url: str, user: str, method: str, path: str, rest: bytes
    ) -> None:
        task = httpx.post(url + tasks_of(user), json={"title": "Buy milk"}).json()
        request = head_of(method, tasks_of(user) + path.format_map(task)) + rest

        (answer,) = exchange(impatient_url, [request], count=1)

        assert answer.status == 408
        assert answer.headers["connection"] == "close"
        assert answer.document == problem(answer, Kind.REQUEST_TIMEOUT)
        assert httpx.get(impatient_url + tasks_of(user)).json()["items"] == [task]

    def test_in_chunks_is_408_where_there_should_be_none(
        self, impatient_url: str, user: str
    ) -> None:
        request = head_of("DELETE", tasks_of(user) + "/x", "Transfer-Encoding: chunked")

        (answer,) = exchange(impatient_url, [request], count=1)

        assert str(answer) == "408 `request_timeout`"

    def test_is_408_however_often_a_piece_of_it_comes(self, impatient_url: str, user: str) -> None:
        head = head_of("POST", tasks_of(user), "Transfer-Encoding: chunked")

        with connected(impatient_url) as connection:
            connection.sendall(head)
            while not select([connection], [], [], 0.02)[0]:
                connection.sendall(b"1\r\n \r\n")
            (answer,) = answers(connection.recv(1 << 16))

        assert str(answer) == "408 `request_timeout`"

    def test_ends_the_connection(
        self, impatient_url: str, user: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bodies, "_DRAIN_SECONDS", 0.1)

        with connected(impatient_url) as connection:
            connection.sendall(head_of("POST", tasks_of(user)))
            received = received_to_its_end(connection)

        assert [*map(str, answers(received))] == ["408 `request_timeout`"]

    def test_is_another_than_one_that_comes_in_pieces(self, url: str, user: str) -> None:
        request = head_of("POST", tasks_of(user), "Content-Length: 17")

        (answer,) = exchange(url, [request, b'{"title"', b': "Milk"}'], count=1)

        assert (answer.status, answer.document["title"]) == (201, "Milk")
        assert "connection" not in answer.headers


@pytest.mark.requirement("FR-115")
class TestAnAnswerBeforeTheEndOfTheBody:
    def test_reaches_urllib(self, url: str, user: str) -> None:
        request = urllib.request.Request(  # noqa: S310 — it is our own server
            url + tasks_of(user), b" " * TOO_LARGE, {"Content-Type": "application/json"}
        )
        for _ in range(TRIES):
            with pytest.raises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(request)  # noqa: S310 — it is our own server
            with raised.value as answer:
                assert answer.code == 413

    def test_reaches_httpx(self, url: str, user: str) -> None:
        for _ in range(TRIES):
            answer = httpx.post(
                url + tasks_of(user),
                content=b" " * TOO_LARGE,
                headers={"Content-Type": "application/json"},
            )
            assert (answer.status_code, answer.headers["connection"]) == (413, "close")

    def test_reaches_fetch(self, url: str, user: str) -> None:
        program = """
            const [url, size, tries] = process.argv.slice(1);
            const headers = {"Content-Type": "application/json"};
            const body = " ".repeat(size);
            for (let count = 0; count < tries; count++) {
                console.log((await fetch(url, {method: "POST", headers, body})).status);
            }
        """
        arguments = ("--input-type=module", "--eval", program, url + tasks_of(user))
        done = subprocess.run(
            [NODE, *arguments, str(TOO_LARGE), str(TRIES)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

        assert (done.stdout.split(), done.stderr) == (["413"] * TRIES, "")

    @pytest.mark.parametrize(
        ("method", "path", "status"), [("GET", "", 422), ("DELETE", "/x", 422), ("POST", "s", 404)]
    )
    def test_reaches_a_client_that_sends_all_first(
        self, url: str, user: str, method: str, path: str, status: int
    ) -> None:
        length = f"Content-Length: {TOO_LARGE}"
        with connected(url) as connection:
            connection.sendall(head_of(method, tasks_of(user) + path, length))
            connection.sendall(b" " * TOO_LARGE)
            received = received_to_its_end(connection)

        (answer,) = answers(received)
        assert (answer.status, answer.headers["connection"]) == (status, "close")

    def test_ends_a_body_that_never_ends(self, url: str, user: str) -> None:
        """The client sends for as long as the server reads."""
        length = f"Content-Length: {10**12}"
        with connected(url) as connection:
            connection.sendall(head_of("POST", tasks_of(user), length))
            sent = sent_until_it_breaks(connection)

        assert sent < LIMIT_AND_BUFFERS

    def test_waits_no_longer_than_a_moment_for_the_rest(
        self, url: str, user: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bodies, "_DRAIN_SECONDS", 0.1)

        with connected(url) as connection:
            connection.sendall(head_of("GET", tasks_of(user)))
            received = received_to_its_end(connection)

        assert [*map(str, answers(received))] == ["422 `invalid_request`"]

    def test_spares_a_client_that_asks_first_the_body(self, url: str, user: str) -> None:
        """As curl does before it sends a large body."""
        length = f"Content-Length: {TOO_LARGE}\r\nExpect: 100-continue"

        (answer,) = exchange(url, [head_of("POST", tasks_of(user), length)], count=1)

        assert str(answer) == "413 `body_too_large`"


@pytest.mark.slow
@pytest.mark.requirement("FR-116", "FR-117")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_end_of_the_server_ends_bodies_without_a_traceback(
    tmp_path: Path, database_url: str, how: signal.Signals, workers: str
) -> None:
    settings = {
        "DATABASE_URL": database_url,
        "PORT": str(free_port()),
        "WEB_CONCURRENCY": workers,
    }
    with server(tmp_path, program=SERVE, **settings) as running, ExitStack() as stack:
        running.wait_until_it_serves()
        half_sent = [stack.enter_context(connected(running.url)) for _ in range(BODIES)]
        for connection in half_sent:
            connection.sendall(head_of("POST", tasks_of("alice")) + b'{"title": ')
        with httpx.Client(base_url=running.url) as last:  # by then, the others have been accepted
            last.get("/health/ready")

        assert running.stop(how) == 0

        for connection in half_sent:
            received = received_to_its_end(connection)
            assert [*map(str, answers(received))] == ["408 `request_timeout`"]
        assert "Traceback" not in running.err
        assert "ERROR" not in running.err


@pytest.mark.anyio
@pytest.mark.requirement("FR-117")
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_client_that_hangs_up_is_no_error(
    app: FastAPI, user: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no body is read, one in chunks is read only to see whether it is empty."""
    caplog.set_level(logging.WARNING)
    path = f"{tasks_of(user)}/{NO_TASK}"
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"transfer-encoding", b"chunked")],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)

    assert sent[0]["status"] == 400
    assert caplog.messages == []
