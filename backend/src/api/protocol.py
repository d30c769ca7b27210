"""HTTP/1.1 as uvicorn reads it, where the promises of the API ask for more."""

import logging
from asyncio import TimerHandle, Transport
from typing import Final
from uuid import uuid4

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from src.api.context import REQUEST_ID
from src.api.errors import problem
from src.api.kinds import HEAD_TOO_LARGE, NOT_HTTP, Kind
from src.models.limits import HEAD_MAX_BYTES

HEAD_PATIENCE: Final = 10.0
"""Seconds that a client may take to send the head of a request."""

_HOP_BY_HOP: Final = {b"connection", b"upgrade", b"http2-settings"}

access_log = logging.getLogger("src.access")


class StrictHttpProtocol(HttpToolsProtocol):
    """Reads requests strictly, and answers what is none with a problem.

    - A head must come to its end: after so many bytes, and so much time.
    - An offer to speak another protocol is declined. The parser would take the body of such a
      request for bytes of that protocol, and give them back to be read as the next request.
    - A trailer's fields are no headers. It comes after all that a gateway has checked.
    """

    _is_in_head = True
    _head_size = 0
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # uvicorn narrows it so
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cease_to_await_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(NOT_HTTP)
        else:
            if self._is_in_head:
                self._head_size += len(data)
                self._await_head()
                if self._head_size > HEAD_MAX_BYTES:
                    self._refuse(HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._is_in_head, self._head_size = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:
            # RFC 9110, section 5.5: the white space around a value is no part of it.
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._cease_to_await_head()
        if not self.parser.should_upgrade():
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy")  # which the parser reports as its own error

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _decline(self, rest: bytes) -> None:
        """Read the request again as if it had offered nothing; `rest` is what follows its head."""
        options = [value for name, value in self.headers if name == b"connection"]
        head = [(name, value) for name, value in self.headers if name not in _HOP_BY_HOP]
        if any(b"close" in option.lower() for option in options):
            head.append((b"connection", b"close"))
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version), *(b"%b: %b" % it for it in head)]
        # As uvicorn makes it. The old one may have come to the end of what it reads.
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _refuse(self, kind: Kind) -> None:
        request_id = str(uuid4())
        token = REQUEST_ID.set(request_id)
        try:
            answer = problem(kind)
            access_log.info("%s %d", kind.code, kind.status)
        finally:
            REQUEST_ID.reset(token)
        headers = [
            *self.server_state.default_headers,
            *answer.raw_headers,
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        line = f"HTTP/1.1 {kind.status} {kind.title}\r\n".encode()
        self.transport.write(line + head + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_PATIENCE, self.transport.close)

    def _cease_to_await_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
