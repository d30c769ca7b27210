"""What happens below HTTP's surface, on a real socket: bytes that no client library sends."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from src.api import protocol
from src.models.limits import HEAD_MAX_BYTES
from tests.builders import create, path_of, tasks_of
from tests.processes import PATIENCE, until

pytestmark = pytest.mark.anyio

OFFER: Final = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
async def port(app: FastAPI) -> AsyncIterator[int]:
    """The port on which the app is served, in the event loop of the tests."""
    config = uvicorn.Config(
        app, http=protocol.StrictHttpProtocol, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        await until(lambda: server.started)
        yield listener.getsockname()[1]
        server.should_exit = True
        await serving


@pytest.fixture
async def task(client: httpx.AsyncClient, user: str) -> dict[str, Any]:
    return await create(client, user)


async def send(port: int, *packets: bytes) -> list[Answer]:
    """Send these packets on one connection, and read all that comes until it is closed."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.set_write_buffer_limits(0)
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0)  # so that they do not become one
        received = await reader.read()
        writer.close()
    return list(answers(received))


def answers(received: bytes) -> Iterator[Answer]:
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (it.partition(": ") for it in lines)}
        length = int(headers.get("content-length", "0"))
        yield Answer(int(line.split()[1]), headers, received[:length])
        received = received[length:]


def request(method: str, path: str, headers: str = "", body: str = "") -> bytes:
    """Write a request; the connection ends with it unless the headers say otherwise."""
    typed = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    close = "" if "Connection" in headers else "Connection: close\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{typed}{close}{headers}\r\n{body}".encode()


class TestWhatIsNotHttp:
    @pytest.mark.requirement("FR-022", "FR-027")
    @pytest.mark.parametrize(
        "sent",
        [
            b"hello\r\n\r\n",
            b"GET /health\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /api/v1/a/tasks?sort=title desc HTTP/1.1\r\nHost: x\r\n\r\n",
            b"FOO /health HTTP/1.1\r\nHost: x\r\n\r\n",
            b"CONNECT example.com:80 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /api/v1/a/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
        ],
        ids=lambda sent: ascii(sent[:24]),
    )
    async def test_is_answered_with_a_problem_and_logged(
        self, port: int, sent: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "src.access")

        (answer,) = await send(port, sent)

        request_id = answer.headers["x-request-id"]
        assert UUID(request_id).version == 4
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.document == {
            "type": "urn:task-api:problem:not_http",
            "title": "The request is not HTTP",
            "status": 400,
            "detail": "It breaks the syntax of HTTP/1.1 (RFC 9112): in a URL, for example, blanks"
            " and characters beyond ASCII are percent-encoded.",
            "instance": f"urn:task-api:request:{request_id}",
            "code": "not_http",
            "request_id": request_id,
        }
        (event,) = (it for it in caplog.records if it.name == "src.access")
        assert (vars(event)["request_id"], event.getMessage()) == (request_id, "not_http 400")


class TestAnOfferOfAnotherProtocol:
    """As curl makes it with --http2, and Java's client by itself."""

    @pytest.mark.requirement("FR-063")
    @pytest.mark.parametrize("cut", [None, 40, -len('{"is_completed": true}')])
    async def test_is_declined_and_the_request_is_read_as_it_stands(
        self, port: int, task: dict[str, Any], cut: int | None
    ) -> None:
        wish = request("PATCH", f"{path_of(task)}/complete", OFFER, '{"is_completed": true}')
        packets = [wish] if cut is None else [wish[:cut], wish[cut:]]
        last = request("GET", path_of(task))

        *written, read = await send(port, *packets, *packets, last)

        assert [answer.status for answer in written] == [200, 200]
        assert all(answer.document["is_completed"] for answer in (*written, read))

    @pytest.mark.requirement("FR-013", "FR-063")
    @pytest.mark.parametrize("body", ["", "later"])
    async def test_leaves_no_body_to_be_read_as_a_request(
        self, port: int, task: dict[str, Any], body: str
    ) -> None:
        smuggled = request("DELETE", path_of(task)).decode()
        outer = request("POST", tasks_of("mallory"), OFFER, smuggled)
        packets = outer.partition(b"\r\n\r\n") if body else (outer,)

        (answer, read) = await send(port, *packets, request("GET", path_of(task)))

        assert (answer.status, answer.document["code"]) == (400, "invalid_json")
        assert read.document == task

    @pytest.mark.requirement("FR-063")
    async def test_does_not_hide_that_the_connection_shall_end(
        self, port: int, task: dict[str, Any]
    ) -> None:
        offer = "Connection: Upgrade, close\r\nUpgrade: websocket\r\n"

        (answer,) = await send(port, request("GET", path_of(task), offer))

        assert answer.document == task
        assert answer.headers["connection"] == "close"


class TestHeaders:
    @pytest.mark.requirement("FR-062")
    async def test_are_none_if_they_come_after_the_body(self, port: int, user: str) -> None:
        head = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        body = '{"title": "x"}'
        trailer = "Idempotency-Key: k\r\nX-Request-ID: mine\r\n"
        chunked = f"{len(body):x}\r\n{body}\r\n0\r\n{trailer}\r\n".encode()

        (answer,) = await send(port, request("POST", tasks_of(user), head) + chunked)

        assert answer.status == 201
        assert UUID(answer.document["id"]).version == 7
        assert answer.headers["x-request-id"] != "mine"

    @pytest.mark.requirement("FR-027")
    async def test_have_no_white_space_around_their_value(self, port: int) -> None:
        (answer,) = await send(port, request("GET", "/health", "X-Request-ID: \t mine \t\r\n"))

        assert answer.headers["x-request-id"] == "mine"

    @pytest.mark.requirement("FR-062")
    @pytest.mark.parametrize(
        "endless",
        [b"GET /", b"GET / HTTP/1.1\r\nA: ", b"GET / HTTP/1.1\r\n"],
        ids=["URL", "header", "headers"],
    )
    async def test_without_end_are_refused(self, port: int, endless: bytes) -> None:
        filler = b"A: b\r\n" * 10_000 if endless.endswith(b"\n") else b"a" * 60_000
        packets = [endless, filler, filler]
        assert sum(map(len, packets)) > HEAD_MAX_BYTES

        (answer,) = await send(port, *packets)

        assert (answer.status, answer.document["code"]) == (431, "head_too_large")

    @pytest.mark.requirement("FR-062")
    @pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nA: "])
    async def test_that_do_not_come_are_not_awaited_for_ever(
        self, port: int, monkeypatch: pytest.MonkeyPatch, sent: bytes
    ) -> None:
        monkeypatch.setattr(protocol, "HEAD_PATIENCE", 0.01)

        assert await send(port, sent) == []
