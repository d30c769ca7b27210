"""Bodies, without an application inside."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final

import httpx
import pytest
from fastapi import Body, FastAPI
from starlette.types import Message, Receive, Scope, Send

from src.api.bodies import Bodies, BodyDeadlines

pytestmark = pytest.mark.anyio

SCOPE: Final[Scope] = {"type": "http", "method": "POST", "headers": [(b"content-length", b"2")]}


@pytest.mark.requirement("FR-114")
async def test_what_comes_after_the_body_has_no_deadline() -> None:
    """A streamed answer waits for it, to notice that the client has hung up."""
    received: list[Message] = []
    coming: asyncio.Queue[Message] = asyncio.Queue()
    coming.put_nowait({"type": "http.request", "body": b"{}", "more_body": False})

    async def listens(_scope: Scope, receive: Receive, _send: Send) -> None:
        received.extend([await receive(), await receive()])

    async def nothing_to_send(_: Message) -> None:
        raise AssertionError("nobody answers")

    app = Bodies(listens, BodyDeadlines(timeout=0))
    request = asyncio.create_task(app(SCOPE, coming.get, nothing_to_send))
    for _ in range(10):  # a deadline would have passed by then
        await asyncio.sleep(0)
    coming.put_nowait({"type": "http.disconnect"})
    await request

    assert [message["type"] for message in received] == ["http.request", "http.disconnect"]


@pytest.mark.requirement("FR-116")
async def test_a_body_whose_time_is_up_does_not_matter_when_the_server_stops() -> None:
    deadlines = BodyDeadlines(timeout=0)
    waiting = asyncio.create_task(deadlines.wait(asyncio.Queue[Message]().get(), deadlines.next()))
    for _ in range(2):  # it has begun, and its time is up, but it does not know yet
        await asyncio.sleep(0)

    deadlines.stop_soon()

    with pytest.raises(TimeoutError):
        await waiting


@pytest.mark.requirement("FR-116")
async def test_a_body_gets_no_more_time_when_the_server_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("src.api.bodies._STOPPING_SECONDS", 3600)
    deadlines = BodyDeadlines(timeout=0.1)
    body = deadlines.wait(asyncio.Queue[Message]().get(), deadlines.next())
    waiting = asyncio.create_task(body)
    await asyncio.sleep(0)  # it has begun

    deadlines.stop_soon()

    done, _ = await asyncio.wait([waiting], timeout=30)
    assert done
    assert isinstance(waiting.exception(), TimeoutError)


@pytest.mark.requirement("FR-114")
async def test_a_body_that_was_read_does_not_matter_when_the_server_stops() -> None:
    deadlines = BodyDeadlines(timeout=60)
    message: Message = {"type": "http.request", "body": b"{}", "more_body": False}

    async def arrive() -> Message:
        return message

    assert await deadlines.wait(arrive(), deadlines.next()) == message

    deadlines.stop_soon()


@pytest.mark.requirement("FR-115")
async def test_a_body_that_fastapi_finds_too_large_is_refused_once() -> None:
    app = FastAPI(max_body_size=10)
    app.add_middleware(Bodies, deadlines=BodyDeadlines(timeout=60))

    @app.post("/texts")
    async def keep(text: Annotated[str, Body()]) -> None: ...

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 10

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/texts", content=chunks())

    assert answer.status_code == 413
