"""How long the body of a request may take, and what happens to one that nobody reads to its end.

Plain ASGI, around everything else. How large a body may be is checked where it is read.
"""

import asyncio
import math
from collections.abc import Awaitable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.api.problems import Kind, RefusedRequest

_STOPPING_SECONDS: Final = 2.0
"""The time that bodies have left when the server is told to stop."""

_DRAIN_SECONDS: Final = 5.0
_DRAIN_BYTES: Final = 32 * 1024 * 1024
"""How long, and how many bytes, the server reads on of a body that is no longer needed."""


class BodyDeadlines:
    """The times at which bodies must have arrived: soon, once the server is told to stop."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout  # s
        self._stop = math.inf
        self._waiting: set[asyncio.Timeout] = set()

    def next(self) -> float:
        """Return the deadline of a body that begins now."""
        return _now() + self._timeout

    async def wait(self, message: Awaitable[Message], deadline: float) -> Message:
        """Wait for a part of a body. Raises TimeoutError after the deadline."""
        async with asyncio.timeout_at(min(deadline, self._stop)) as waiting:
            self._waiting.add(waiting)
            try:
                return await message
            finally:
                self._waiting.remove(waiting)

    def stop_soon(self) -> None:
        """Let all bodies end soon, since the server waits for their requests before it stops."""
        self._stop = _now() + _STOPPING_SECONDS
        for waiting in self._waiting:
            if not waiting.expired():  # its time may be up at this very moment
                waiting.reschedule(min(waiting.when() or self._stop, self._stop))


class Bodies:
    """Ends each request whose body does not end, and reads on after an early answer.

    - A body that has not arrived by its deadline gets 408.
    - An answer that is given before the body has been read, such as a 413, closes the connection.
      The rest of the body is read for a moment: if the server closed the connection at once, the
      client would be told of a reset and not get the answer (RFC 9112, section 9.6).
    """

    def __init__(self, app: ASGIApp, deadlines: BodyDeadlines) -> None:
        self.app = app
        self.deadlines = deadlines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and has_body(dict(scope["headers"])):
            exchange = _Exchange(receive, send, self.deadlines)
            receive, send = exchange.receive, exchange.send
        await self.app(scope, receive, send)


def has_body(headers: dict[bytes, bytes]) -> bool:
    """Tell from the headers whether a request has a body. One in chunks may still be empty."""
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"").strip(b"0") != b""


class _Exchange:
    """One request with a body, and its answer."""

    def __init__(self, receive: Receive, send: Send, deadlines: BodyDeadlines) -> None:
        self._receive = receive
        self._send = send
        self._deadlines = deadlines
        self._deadline = deadlines.next()
        self._is_read = False
        self._drains = False

    async def receive(self) -> Message:
        if self._is_read:  # what comes now is the end of the connection, whenever that is
            return await self._receive()
        try:
            return await self._next_part()
        except TimeoutError:
            raise RefusedRequest(Kind.REQUEST_TIMEOUT) from None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._is_read:
            headers = [*message.get("headers", ())]
            # If the answer closes the connection anyway, nothing more of it is to be read.
            self._drains = all(name.lower() != b"connection" for name, _ in headers)
            if self._drains:
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
        is_end = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not (is_end and self._drains):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._read_on()
        await self._send({"type": "http.response.body", "body": b""})

    async def _next_part(self) -> Message:
        message = await self._deadlines.wait(self._receive(), self._deadline)
        self._is_read = not message.get("more_body", False)  # or the client has hung up
        return message

    async def _read_on(self) -> None:
        self._deadline = _now() + _DRAIN_SECONDS
        unread = _DRAIN_BYTES
        try:
            while not self._is_read and unread > 0:
                unread -= len((await self._next_part()).get("body", b""))
        except (TimeoutError, HTTPException):  # the latter from FastAPI's `max_body_size`
            return


def _now() -> float:
    return asyncio.get_running_loop().time()
