"""What surrounds every request, as plain ASGI: its id, its line in the log, HEAD, and the
answer to a failure that nobody foresaw.
"""

import logging
import re
import time
from http import HTTPStatus
from typing import Final
from uuid import uuid4

from fastapi import Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.api.context import REQUEST_ID
from src.api.errors import problem
from src.api.kinds import INTERNAL_ERROR, ORIGIN_NOT_ALLOWED, PREFLIGHT_REFUSED

_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")

access_log = logging.getLogger("src.access")
log = logging.getLogger(__name__)


class RequestContext:
    """Gives each request its id, on the answer and on the log's lines, and logs the request.

    The client's own `X-Request-ID` is taken over if it is harmless in a header and a log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        token = REQUEST_ID.set(request_id)
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            if access_log.isEnabledFor(logging.INFO):
                access_log.info(
                    "%s %s %d %.1f ms",
                    scope["method"],
                    # As it was sent, percent-encoded: no line breaks reach the log.
                    scope["raw_path"].decode("ascii", "backslashreplace"),
                    status,
                    (time.perf_counter() - started) * 1000,
                )
            REQUEST_ID.reset(token)


class HeadAsGet:
    """Answers HEAD wherever GET is served: the same answer, without its body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET"}, receive, send_head)


class Cors(CORSMiddleware):
    """Lets browsers of the given origins in, and refuses in a problem document."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == HTTPStatus.OK:
            return response
        is_allowed = self.is_allowed_origin(request_headers["origin"])
        kind = PREFLIGHT_REFUSED if is_allowed else ORIGIN_NOT_ALLOWED
        return problem(kind, headers={"Vary": "Origin"})


class LastResort:
    """Answers a failure that nobody foresaw with a problem document, and logs it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            if started:
                raise  # half an answer is out: all that is left is to break the connection
            log.exception("unforeseen failure")
            await problem(INTERNAL_ERROR)(scope, receive, send)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return str(uuid4())
