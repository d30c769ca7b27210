"""Requests that HTTP parsers read differently, what each parser makes of them, and the table of it.

A request is sent as it stands here, byte by byte. `<task>` stands for the path of the attacked
user's task, `<tasks>` for that of the user's list, `<other>` for another user's list, `<tag>` for
the task's tag, and `<host>` for the server.
"""

import json
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from select import select
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

from src.config import ROOT
from src.schemas.problem import PROBLEM_MEDIA_TYPE
from tests.builders import path_of, tag_of, tasks_of
from tests.processes import PATIENCE

Parser = Literal["httptools", "h11", "zttp"]

PARSERS: Final[tuple[Parser, ...]] = get_args(Parser)
ORIGIN: Final = "https://app.example.com"
"""Where browsers may call the server from."""
DOCUMENT: Final = ROOT / "specs" / "002-backend-database" / "http-edge.md"
SERVER_REFUSAL: Final = b"Invalid HTTP request received."
"""The server's own words for what is not HTTP."""

_SETTLED: Final = 0.1  # s of silence after which no further answer is expected
_PAUSE: Final = 0.05  # s between packets, so that the server reads them one by one
_SLICE: Final = 16 * 1024  # bytes that are sent before a look for an early answer

BAD: Final = "400 by the server"
BAD_HOST: Final = "400 `invalid_host`"
BAD_JSON: Final = "400 `invalid_json`"
NO_UPGRADE: Final = "400 `upgrade_not_supported`"
NO_ROUTE: Final = "404 `route_not_found`"
NO_METHOD: Final = "405 `method_not_allowed`"
TOO_LARGE: Final = "413 `body_too_large`"
NO_TYPE: Final = "415 `unsupported_media_type`"
INVALID: Final = "422 `invalid_request`"
NOTHING: Final = "no answer"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_by_server(self) -> bool:
        """Whether the server has answered without asking the application."""
        return self.body == SERVER_REFUSAL

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        if self.is_by_server:
            return f"{self.status} by the server"
        is_problem = self.headers.get("content-type") == PROBLEM_MEDIA_TYPE
        return f"{self.status} `{self.document['code']}`" if is_problem else str(self.status)


@dataclass(frozen=True)
class Case:
    """What is sent, packet by packet, and which answers come.

    `right` holds the outcomes that the RFCs allow. The first one is that of each parser that is not
    in `others`. A `note` explains each outcome that is not right.
    """

    name: str
    packets: tuple[str, ...]
    right: tuple[str, ...]
    others: Mapping[Parser, str] = field(default_factory=dict)
    note: str = ""
    may_change: bool = False
    """Whether it may change the attacked user's tasks. It may never complete one."""

    def outcome(self, parser: Parser) -> str:
        return self.others.get(parser, self.right[0])

    def is_right(self, parser: Parser) -> bool:
        return self.outcome(parser) in self.right


def _request(line: str, *headers: str, body: str = "", host: str = "<host>") -> str:
    """Write a request, and for a body the headers that belong to it."""
    if body:
        headers = (*headers, _JSON, f"Content-Length: {len(body)}")
    return _lines(f"{line} HTTP/1.1", f"Host: {host}", *headers) + body


def _lines(*lines: str) -> str:
    return "\r\n".join([*lines, "", ""])


def _chunked(body: str, *trailer: str, size: str = "", end: str = "\r\n") -> str:
    return end.join([size or f"{len(body):x}", body, "0", *trailer, "", ""])


_JSON: Final = "Content-Type: application/json"
_CHUNKED: Final = (_JSON, "Transfer-Encoding: chunked")
_H2C: Final = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
_WEBSOCKET: Final = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
# The attacked task is open, and this body leaves it open. Without the body, it would be completed.
_COMPLETE: Final = "PATCH <task>/complete"
_OPEN: Final = '{"is_completed": false}'
_LENGTH: Final = f"Content-Length: {len(_OPEN)}"
_GET: Final = _request("GET <tasks>")
_DELETE: Final = _request("DELETE <task>")
_AROUND: Final = (_JSON, "Content-Length: 500")  # longer than any request that is smuggled
_GZIP: Final = "\x1f\x8b\x08"
_TRAILERS: Final = (
    "httptools passes a trailer on as headers if it comes in the same packet. It can only add what"
    " the client may send as a header anyway."
)
_EMPTY: Final = "0\r\n\r\n"
_NEW: Final = '{"title": "New"}'
_LONG: Final = '{"title": "New"}'.ljust(200_000)

GROUPS: Final[Mapping[str, tuple[Case, ...]]] = {
    "Offers to upgrade the connection": (
        Case("h2c, with a body", (_request(_COMPLETE, *_H2C, body=_OPEN),), (NO_UPGRADE,)),
        Case(
            "h2c, with a body in a later packet",
            (_request(_COMPLETE, *_H2C, _JSON, _LENGTH), _OPEN),
            (NO_UPGRADE,),
        ),
        Case(
            "h2c, with a chunked body",
            (_request(_COMPLETE, *_H2C, *_CHUNKED) + _chunked(_OPEN),),
            (NO_UPGRADE,),
        ),
        Case(
            "h2c, with a body that is a request",
            (_request("POST <other>", *_H2C, *_AROUND) + _DELETE,),
            (NO_UPGRADE,),
        ),
        Case(
            "h2c, with a body that is a request, in a later packet",
            (_request("POST <other>", *_H2C, *_AROUND), _DELETE),
            (NO_UPGRADE,),
        ),
        Case(
            "The same, with a foreign host name",
            (_request("POST <other>", *_H2C, *_AROUND, host="evil.example"), _DELETE),
            (NO_UPGRADE,),
        ),
        Case(
            "`Upgrade` without `Connection: Upgrade`, with a body",
            (_request(_COMPLETE, "Upgrade: h2c", body=_OPEN),),
            (NO_UPGRADE,),
        ),
        Case("h2c, without a body", (_request("GET <tasks>", *_H2C),), ("200",)),
        Case(
            "h2c, without a body; another request in the same packet",
            (_request("GET <tasks>", *_H2C) + _GET,),
            ("200, 200",),
            {"httptools": "200"},
            "httptools discards what follows an offer in the same packet.",
        ),
        Case("WebSocket", (_request("GET <tasks>", *_WEBSOCKET),), ("200",)),
        Case(
            "CONNECT to another server",
            (_lines("CONNECT example.com:443 HTTP/1.1", "Host: <host>"),),
            (NO_ROUTE, BAD),
            {"httptools": BAD},
        ),
        Case(
            "CONNECT with a body that is a request, in a later packet",
            (_request("CONNECT <tasks>", *_AROUND), _DELETE),
            (NO_UPGRADE,),
        ),
    ),
    "Host names and targets": (
        Case(
            "No Host",
            (_lines("GET <tasks> HTTP/1.1"),),
            (BAD, BAD_HOST),
            {"httptools": BAD_HOST},
        ),
        Case(
            "Two Host headers",
            (_request("GET <tasks>", "Host: evil.example"),),
            (BAD, BAD_HOST),
            {"httptools": BAD_HOST},
        ),
        Case(
            "A foreign host name, as after DNS rebinding",
            (_request("GET <tasks>", host="evil.example"),),
            (BAD_HOST,),
        ),
        Case(
            "A host name that begins like ours",
            (_request("GET <tasks>", host="127.0.0.1.evil.example"),),
            (BAD_HOST,),
        ),
        Case(
            "A Host that is no host name",
            (_request("GET <tasks>", host="alice@127.0.0.1/"),),
            (BAD_HOST,),
        ),
        Case("An empty Host", (_request("GET <tasks>", host=""),), (BAD_HOST,)),
        Case("White space after Host", (_request("GET <tasks>", host="<host> \t"),), ("200",)),
        Case(
            "A URL as target",
            (_request("GET http://<host><tasks>"),),
            ("200",),
            {"h11": NO_ROUTE, "zttp": NO_ROUTE},
            "Clients send this form to proxies only.",
        ),
        Case(
            "A URL with a foreign host name as target",
            (_request("GET http://evil.example<tasks>"),),
            (NO_ROUTE, BAD_HOST),
            {"httptools": "200"},
            "httptools ignores the name in the URL. The name in Host is checked.",
        ),
        Case("A path that ends in `%0A`", (_request("GET <tasks>%0A"),), (NO_ROUTE,)),
        Case("A path that ends in `%00`", (_request("GET <tasks>%00"),), (NO_ROUTE,)),
        Case("A path that ends in `%2F`", (_request("GET <tasks>%2F"),), (NO_ROUTE,)),
        Case(
            "A fragment",
            (_request("GET <tasks>#top"),),
            (NO_ROUTE, BAD),
            {"httptools": "200"},
            "httptools ignores the fragment.",
        ),
        Case("A space in the target", (_request("GET <tasks>?q=oat milk"),), (BAD,)),
        Case(
            "A byte beyond ASCII in the path",
            (_request("GET <tasks>\xe4"),),
            (BAD,),
            {"zttp": NOTHING},
            "With zttp, the server closes the connection.",
        ),
    ),
    "Request lines": (
        Case("Not HTTP", (_lines("hello"),), (BAD,)),
        Case("HTTP/0.9", ("GET /health\r\n",), (NOTHING,)),
        Case("HTTP/1.0 with Host", (_lines("GET <tasks> HTTP/1.0", "Host: <host>"),), ("200",)),
        Case("HTTP/1.0 without Host", (_lines("GET <tasks> HTTP/1.0"),), (BAD_HOST,)),
        Case(
            "HTTP/2.0",
            (_lines("GET <tasks> HTTP/2.0", "Host: <host>"),),
            (BAD,),
            {"httptools": "200", "h11": "200"},
            "httptools and h11 take it for HTTP/1.1.",
        ),
        Case(
            "A method in lower case",
            (_request("get <tasks>"),),
            (NO_METHOD, BAD),
            {"httptools": BAD},
        ),
        Case(
            "An unknown method", (_request("BREW <tasks>"),), (NO_METHOD, BAD), {"httptools": BAD}
        ),
        Case(
            "An empty line in front",
            ("\r\n" + _GET,),
            ("200",),
            {"h11": BAD, "zttp": BAD},
            "Only very old clients send this.",
        ),
    ),
    "The end of a body": (
        Case(
            "`Content-Length` and `Transfer-Encoding`",
            (_request(_COMPLETE, "Content-Length: 4", *_CHUNKED) + _chunked(_OPEN),),
            (BAD,),
            {"h11": "200"},
            "h11 reads the body by `Transfer-Encoding`, as RFC 9112 permits, but keeps the"
            " connection open. A proxy in front must refuse or rewrite such requests.",
            may_change=True,
        ),
        Case(
            "Two different values of `Content-Length`",
            (_request(_COMPLETE, "Content-Length: 4", body=_OPEN),),
            (BAD,),
        ),
        Case(
            "The same `Content-Length` twice",
            (_request(_COMPLETE, _LENGTH, body=_OPEN),),
            ("200", BAD),
            {"httptools": BAD},
            may_change=True,
        ),
        Case(
            "A negative `Content-Length`",
            (_request(_COMPLETE, _JSON, "Content-Length: -1") + _OPEN,),
            (BAD,),
        ),
        Case(
            "A space in front of the colon of `Content-Length`",
            (_request(_COMPLETE, _JSON, "Content-Length : 23") + _OPEN,),
            (BAD,),
        ),
        Case(
            "`Content_Length: 0` beside `Content-Length`",
            (_request(_COMPLETE, "Content_Length: 0", body=_OPEN),),
            ("200",),
            may_change=True,
        ),
        Case(
            "`Transfer-Encoding: chunked` in HTTP/1.0",
            (_lines(f"{_COMPLETE} HTTP/1.0", "Host: <host>", *_CHUNKED) + _chunked(_OPEN),),
            ("200",),
            may_change=True,
        ),
        Case(
            "`Transfer-Encoding: xchunked`",
            (_request(_COMPLETE, _JSON, "Transfer-Encoding: xchunked") + _chunked(_OPEN),),
            (BAD,),
        ),
        Case(
            "`Transfer-Encoding: gzip, chunked`",
            (
                _request("POST <tasks>", _JSON, "Transfer-Encoding: gzip, chunked")
                + _chunked(_GZIP),
            ),
            (BAD_JSON, BAD),
            {"h11": BAD},
        ),
        Case(
            "A chunk size with `0x`",
            (_request(_COMPLETE, *_CHUNKED) + _chunked(_OPEN, size="0x17"),),
            (BAD,),
        ),
        Case(
            "A chunk that is longer than its size",
            (_request(_COMPLETE, *_CHUNKED) + _chunked(_OPEN, size="10"),),
            (BAD,),
        ),
        Case(
            "A chunk extension",
            (_request(_COMPLETE, *_CHUNKED) + _chunked(_OPEN, size="17;a=b"),),
            ("200",),
            may_change=True,
        ),
        Case(
            "Chunks with line feeds only",
            (_request(_COMPLETE, *_CHUNKED) + _chunked(_OPEN, end="\n"),),
            (BAD, NOTHING),
            {"h11": NOTHING},
        ),
        Case(
            "A body that is shorter than its length",
            (_request(_COMPLETE, _JSON, "Content-Length: 500") + _OPEN,),
            (NOTHING,),
        ),
        Case("A body of GET", (_request("GET <tasks>", body=_OPEN),), (INVALID,)),
        Case(
            "An empty chunked body of GET", (_request("GET <tasks>", *_CHUNKED) + _EMPTY,), ("200",)
        ),
        Case(
            "`Expect: 100-continue`",
            (_request(_COMPLETE, "Expect: 100-continue", _JSON, _LENGTH), _OPEN),
            ("100, 200",),
            may_change=True,
        ),
    ),
    "Trailers": (
        Case(
            "`If-Match` with another version",
            (_request(_COMPLETE, *_CHUNKED) + _chunked(_OPEN, 'If-Match: "99"'),),
            ("200",),
            {"httptools": "412 `version_mismatch`"},
            _TRAILERS,
            may_change=True,
        ),
        Case(
            "`Idempotency-Key` that is no key",
            (_request("POST <other>", *_CHUNKED) + _chunked(_NEW, "Idempotency-Key: a b"),),
            ("201",),
            {"httptools": INVALID},
            _TRAILERS,
        ),
        Case(
            "`Host`",
            (_request("POST <other>", *_CHUNKED) + _chunked(_NEW, "Host: evil.example"),),
            ("201", BAD, BAD_HOST),
            {"httptools": BAD_HOST, "zttp": BAD},
        ),
        Case(
            "`Upgrade`",
            (_request("POST <other>", *_CHUNKED) + _chunked(_NEW, "Upgrade: h2c"),),
            ("201", BAD, NO_UPGRADE),
            {"httptools": NO_UPGRADE, "zttp": BAD},
        ),
        Case(
            "No header",
            (_request("POST <other>", *_CHUNKED) + _chunked(_NEW, "no header"),),
            (BAD,),
        ),
    ),
    "Headers": (
        Case(
            "White space after `If-Match`",
            (_request(_COMPLETE, "If-Match: <tag> \t", body=_OPEN),),
            ("200",),
            may_change=True,
        ),
        Case(
            "White space after `Idempotency-Key`",
            (_request("POST <other>", "Idempotency-Key: a \t", body=_NEW),),
            ("201",),
        ),
        Case(
            "`If_Match` with another version",
            (_request(_COMPLETE, 'If_Match: "99"', body=_OPEN),),
            ("200",),
            may_change=True,
        ),
        Case(
            "`Content-Type` twice",
            (_request("POST <tasks>", "Content-Type: text/plain", body=_NEW),),
            (NO_TYPE,),
        ),
        Case(
            "`Idempotency-Key` twice",
            (_request("POST <tasks>", "Idempotency-Key: a", "Idempotency-Key: b", body=_NEW),),
            (INVALID,),
        ),
        Case(
            "A value that goes on in the next line",
            (_request("GET <tasks>", "X-Request-ID: a", " b"),),
            (BAD, "200"),
            {"h11": "200"},
        ),
        Case(
            "A space in front of the colon",
            (_request("GET <tasks>", "If-None-Match : *"),),
            (BAD,),
        ),
        Case("A line without a colon", (_request("GET <tasks>", "no header"),), (BAD,)),
        Case("A header without a name", (_request("GET <tasks>", ": a"),), (BAD,)),
        Case("NUL in a value", (_request("GET <tasks>", "A: a\0"),), (BAD,)),
        Case(
            "A carriage return in a value",
            (_request("GET <tasks>", "A: a\rHost: evil.example"),),
            (BAD,),
        ),
        Case(
            "Another control character in a value",
            (_request("GET <tasks>", "A: a\1"),),
            (BAD, "200"),
            {"h11": "200"},
        ),
        Case(
            "Lines that end in line feeds only",
            (_GET.replace("\r\n", "\n"),),
            (BAD, "200"),
            {"h11": "200"},
        ),
        Case("A URL of 10,000 bytes", (_request(f"GET <tasks>?q={'a' * 10_000}"),), (INVALID,)),
        Case(
            "A header of 10,000 bytes", (_request("GET <tasks>", f"A: {'a' * 10_000}"),), ("200",)
        ),
        Case(
            "A header of a million bytes",
            (_request("GET <tasks>", f"A: {'a' * 1_000_000}"),),
            (BAD,),
            {"httptools": "200"},
            "httptools has no limit: it is for the proxy in front to set one.",
        ),
    ),
    "Several requests on one connection": (
        Case("Two in one packet", (_GET + _GET,), ("200, 200",)),
        Case(
            "A short one behind a long one",
            (_request("POST <other>", body=_LONG) + _GET,),
            ("201, 200",),
        ),
        Case(
            "One behind a body that is longer than its length",
            (_request(_COMPLETE, body=_OPEN) + _lines("hello") + _GET,),
            (f"200, {BAD}",),
            {"httptools": BAD},
            "httptools gives up before the first request is answered. It is carried out all the"
            " same; the client can safely send it again.",
            may_change=True,
        ),
        Case(
            "One behind a body that is too large",
            (_request("POST <tasks>", body=_LONG * 2) + _GET,),
            (TOO_LARGE,),
        ),
    ),
}

CASES: Final = tuple(
    (f"{group}: {case.name}", case) for group, cases in GROUPS.items() for case in cases
)


def table() -> str:
    """Make one table for each group: the requests, and the answers under each parser."""
    return "\n\n".join(_table_of(group, cases) for group, cases in GROUPS.items())


def _table_of(group: str, cases: tuple[Case, ...]) -> str:
    rows = [
        ("Request", *PARSERS, "Note"),
        ("---",) * (len(PARSERS) + 2),
        *((case.name, *(_cell(case, parser) for parser in PARSERS), case.note) for case in cases),
    ]
    lines = (f"| {' | '.join(row)} |".replace("  ", " ") for row in rows)
    return "\n".join([f"### {group}", "", *lines])


def _cell(case: Case, parser: Parser) -> str:
    return case.outcome(parser) + ("" if case.is_right(parser) else " *")


def places_of(url: str, task: dict[str, Any], **others: str) -> dict[str, str]:
    """What the marks in a request stand for, if this task of a server is attacked."""
    user = task["user_id"]
    return {
        "<task>": path_of(task),
        "<tasks>": tasks_of(user),
        "<id>": task["id"],
        "<other>": tasks_of(f"mallory-{user}"),
        "<tag>": tag_of(task),
        "<host>": urlsplit(url).netloc,
        **{f"<{name}>": value for name, value in others.items()},
    }


def fill(text: bytes, places: Mapping[str, str]) -> bytes:
    """Put in the places of the marks."""
    pattern = b"|".join(mark.encode() for mark in places)
    return re.sub(pattern, lambda mark: places[mark[0].decode()].encode(), text)


def check(answer: Answer) -> None:
    """Hold an answer against what is promised of all answers."""
    assert answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
    if answer.is_by_server or answer.status == HTTPStatus.CONTINUE:
        return
    assert answer.headers["x-request-id"]
    if answer.status >= HTTPStatus.BAD_REQUEST:
        assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE
        assert answer.document["status"] == answer.status
        assert answer.document["request_id"] == answer.headers["x-request-id"]


def exchange(url: str, packets: Iterable[bytes], *, count: int) -> list[Answer]:
    """Send the packets on one connection, and give all answers. `count` of them are awaited."""
    location = urlsplit(url)
    address = (location.hostname or "", location.port or 0)
    received = bytearray()
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_closed = False
        for number, packet in enumerate(packets):
            if number:
                time.sleep(_PAUSE)
            is_closed = is_closed or _send(connection, packet, received)
        deadline = time.monotonic() + PATIENCE
        while not is_closed:
            has_all = len(list(answers(received))) >= count
            patience = _SETTLED if has_all else deadline - time.monotonic()
            if not _is_readable(connection, patience):
                break
            is_closed = _receive(connection, received)
    return list(answers(received, is_closed=is_closed))


def _send(connection: socket.socket, packet: bytes, received: bytearray) -> bool:
    """Send a packet. Say whether the server has closed the connection, perhaps half-way."""
    for start in range(0, len(packet), _SLICE):
        if _is_readable(connection, 0) and _receive(connection, received):
            return True
        try:
            connection.sendall(packet[start : start + _SLICE])
        except OSError:
            return _receive(connection, received)
    return False


def _receive(connection: socket.socket, received: bytearray) -> bool:
    """Read what there is. Say whether the server has closed the connection."""
    try:
        data = connection.recv(1 << 16)
    except OSError:
        return True
    received += data
    return not data


def _is_readable(connection: socket.socket, patience: float) -> bool:
    return bool(select([connection], [], [], max(patience, 0))[0])


def answers(received: bytes | bytearray, *, is_closed: bool = False) -> Iterator[Answer]:
    """Give the answers that are complete."""
    rest = bytes(received)
    while b"\r\n\r\n" in rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (it.partition(": ") for it in lines)}
        status = int(line.split()[1])
        if headers.get("transfer-encoding") == "chunked":
            rest, body, is_complete = _dechunked(rest)
            if not is_complete:
                return
            yield Answer(status, headers, body)
            continue
        if "content-length" in headers:
            length = int(headers["content-length"])
        elif status == HTTPStatus.CONTINUE:
            length = 0
        elif is_closed:
            length = len(rest)
        else:
            return
        if len(rest) < length:
            return
        yield Answer(status, headers, rest[:length])
        rest = rest[length:]


def _dechunked(rest: bytes) -> tuple[bytes, bytes, bool]:
    """Read a chunked body: give what follows it, the body, and whether all of it is there."""
    body = b""
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + len(b"\r\n") :]
        if length == 0:
            return rest, body, True
    return rest, body, False
