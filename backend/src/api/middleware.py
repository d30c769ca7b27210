"""What surrounds every request, as plain ASGI: its id and log line, what browsers may do with the
answer, the rules of HTTP, CORS, and the answer to an unexpected error: from the outside in.
`src.main` adds them in the opposite order.
"""

import asyncio
import logging
import re
import time
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from random import getrandbits
from typing import Final
from uuid import UUID

from fastapi import Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from src import metrics
from src.api.bodies import has_body
from src.api.problems import RETRY_AFTER, Kind, problem
from src.database import STATEMENT_TIME, StatementTime
from src.logs import REQUEST_ID

_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_SECURITY_HEADERS: Final = (
    # The answers are data: no browser should run, show or frame anything in them.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),  # for browsers that do not know `frame-ancestors`
)
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")

UNMATCHED: Final = "unmatched"
"""The route of a request that is for none."""

_ROUTED: Final = ("route", "endpoint", "path_params", "state")
"""What the router adds to the scope, for middleware outside to read once there is a response."""

access_log = logging.getLogger("src.access")
log = logging.getLogger(__name__)


class RequestContext:
    """Gives each request its id, logs and counts it, and its answer the security headers.

    A client's own `X-Request-ID` is used if it is harmless in a header and a log. White space
    around the values of headers is removed, since it is not part of them (RFC 9110, section 5.5);
    httptools keeps it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        request_id = _request_id(headers)
        id_token = REQUEST_ID.set(request_id)
        statement_time = StatementTime()
        time_token = STATEMENT_TIME.set(statement_time)
        request: Scope = {**scope, "headers": headers}
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                scope.update({name: request[name] for name in _ROUTED if name in request})
                headers = message.get("headers", ())
                present = {name for name, _ in headers}
                missing = [header for header in _SECURITY_HEADERS if header[0] not in present]
                if b"x-request-id" in present:  # a route's own would contradict the log
                    headers = [header for header in headers if header[0] != b"x-request-id"]
                own = (b"x-request-id", request_id.encode())
                message["headers"] = [*headers, *missing, own]
            await send(message)

        try:
            await self.app(request, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            method, route = scope["method"], _route_of(request)
            metrics.count_request(method, route, status, seconds)
            if access_log.isEnabledFor(logging.INFO):
                fields = {
                    "method": method,
                    "route": route,
                    # As it was sent, percent-encoded: no line breaks reach the log.
                    "path": scope["raw_path"].decode("ascii", "backslashreplace"),
                    "status": status,
                    "duration_ms": round(seconds * 1000, 3),
                    "database_ms": round(statement_time.seconds * 1000, 3),
                }
                access_log.info("request", extra=fields)
            STATEMENT_TIME.reset(time_token)
            REQUEST_ID.reset(id_token)


class HTTPRules:
    """Refuses requests that HTTP parsers read differently and that could damage data.

    It also answers HEAD like GET, without the body.

    - One Host header, with a name of this server (RFC 9112, section 3.2). While there is no
      authentication, this keeps out web pages that rebind their own name to this machine. It holds
      for WebSockets, too.
    - No line break at the end of the path: the patterns of routes would let it pass. And no encoded
      slash: routes are matched after decoding, but it separates nothing (RFC 3986, section 2.2).
    - No offer to upgrade the connection, and no CONNECT, in a request with a body: httptools takes
      that body for bytes of the other protocol. The request would be carried out without it, and
      the body might be read as the next request, so the connection is closed.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: tuple[str, ...]) -> None:
        self.app = app
        self.allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        is_ours = len(hosts) == 1 and _is_host_allowed(hosts[0], self.allowed_hosts)
        if scope["type"] == "websocket":
            await (self.app if is_ours else WebSocketClose())(scope, receive, send)
            return
        headers = dict(scope["headers"])
        is_upgrade = b"upgrade" in headers or scope["method"] == "CONNECT"
        if is_upgrade and has_body(headers):  # first: no other answer may keep the connection open
            refusal = problem(Kind.UPGRADE_NOT_SUPPORTED, headers={"Connection": "close"})
        elif not is_ours:
            refusal = problem(Kind.INVALID_HOST)
        else:
            # The scope is a copy of `RequestContext`, which reads the route from it afterwards.
            if scope["path"].endswith("\n") or b"%2f" in scope["raw_path"].lower():
                scope["path"] = ""  # no route has it
            if scope["method"] == "HEAD":
                scope["method"] = "GET"
                send = _without_body(send)
            await self.app(scope, receive, send)
            return
        await refusal(scope, receive, send)


class CORS(CORSMiddleware):
    """Starlette's CORS middleware, which refuses in a problem document."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == HTTPStatus.OK:
            return response
        is_allowed = self.is_allowed_origin(request_headers["origin"])
        kind = Kind.PREFLIGHT_REFUSED if is_allowed else Kind.ORIGIN_NOT_ALLOWED
        return problem(kind, headers={"Vary": "Origin"})


class UnexpectedErrors:
    """Logs an unexpected error and answers it with a problem.

    Starlette's own handler stands outside all middleware: its answer would lack the request's id
    and the CORS headers. A request that the server cancels, because it stops and has waited long
    enough, is answered as well: nobody knows whether its change was made.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except (Exception, asyncio.CancelledError) as error:
            if has_started:
                raise  # half an answer has been sent: all that is left is to close the connection
            if isinstance(error, Exception):
                log.exception("unexpected error")
                answer = problem(Kind.INTERNAL_ERROR)
            else:
                log.warning("a request was interrupted by the shutdown")
                is_read = scope["method"] == "GET"
                kind = Kind.DATABASE_UNAVAILABLE if is_read else Kind.OUTCOME_UNKNOWN
                answer = problem(kind, headers={"Retry-After": RETRY_AFTER})
            await answer(scope, receive, send)


def _route_of(request: Scope) -> str:
    """Return the template of the route, such as `/health`, once the request has been routed.

    An unknown path, a preflight request and a file of /docs have no route.
    """
    return getattr(request.get("route"), "path_format", UNMATCHED)


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _SANE_REQUEST_ID.fullmatch(value):
            return value.decode()
    return str(UUID(int=getrandbits(128), version=4))


@lru_cache(maxsize=256)
def _is_host_allowed(host: bytes, allowed_hosts: tuple[str, ...]) -> bool:
    match = _HOST.fullmatch(host.decode("latin-1"))
    if match is None:
        return False
    name = match["name"].lower()
    return _is_loopback(name) or any(_matches(name, allowed) for allowed in allowed_hosts)


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _matches(name: str, allowed: str) -> bool:
    return allowed in ("*", name) or (allowed.startswith("*.") and name.endswith(allowed[1:]))


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head
