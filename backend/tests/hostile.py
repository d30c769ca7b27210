"""Hostile requests, byte by byte, with the answer to each and what is then in the attacked list.

The attacked user has one task, "Buy milk". Marks in a request are filled in before it is sent:
`<tasks>` and `<task>` are the paths of the user's list and task, `<id>` is the task's id,
`<foreign>` that of another user's task, and `<host>` the server. What HTTP parsers read differently
is in `tests.http_edge`.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.builders import NO_TASK
from tests.http_edge import (
    BAD,
    BAD_JSON,
    INVALID,
    NO_METHOD,
    NO_ROUTE,
    NO_TYPE,
    TOO_LARGE,
    fill,
)

MILK: Final = "Buy milk"
"""The title of the task that the attacked user has."""

OK: Final = "200"
CREATED: Final = "201"
NO_SUCH_TASK: Final = "404 `task_not_found`"
MISMATCH: Final = "412 `version_mismatch`"
BATCH_FAILED: Final = "409 `batch_failed`"

_JSON: Final = "Content-Type: application/json"
_MERGE_PATCH: Final = "Content-Type: application/merge-patch+json"
_CHUNKED: Final = "Transfer-Encoding: chunked"
_HUGE: Final = 50_000_000  # bytes
_DELETE: Final = b"DELETE <task> HTTP/1.1\r\nHost: <host>\r\n\r\n"
_INTEGERS: Final = {
    "2^31": str(2**31),
    "2^63": str(2**63),
    "2^64": str(2**64),
    "10^400": str(10**400),
    "10^5000": "1" + "0" * 5000,
    "-2^63-1": str(-(2**63) - 1),
}


@dataclass(frozen=True)
class Attack:
    """A request, the answer that it gets, and the titles that the list then has, newest first.

    With a `body`, the headers that belong to it are added, unless `is_framed` says that the request
    brings its own. The `repeated` body is sent so many times.
    """

    name: str
    line: str
    outcome: str
    headers: tuple[str, ...] = ()
    body: bytes | None = None
    repeated: int = 1
    is_framed: bool = False
    left: tuple[str, ...] = (MILK,)

    def packet(self, places: Mapping[str, str]) -> bytes:
        """Write the request, with the marks filled in."""
        body = fill(self.body or b"", places) * self.repeated
        headers = ["Host: <host>", "Connection: close", *self.headers]
        if self.body is not None and not self.is_framed:
            headers.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([f"{self.line} HTTP/1.1", *headers, "", ""])
        return fill(head.encode("latin-1"), places) + body


def _create(
    name: str, body: bytes, outcome: str = INVALID, *headers: str, left: tuple[str, ...] = (MILK,)
) -> Attack:
    return Attack(name, "POST <tasks>", outcome, headers or (_JSON,), body, left=left)


def _stores(name: str, title: str, **fields: object) -> Attack:
    """A task that looks dangerous but is one like any other."""
    body = json.dumps({"title": title, **fields}, ensure_ascii=False).encode()
    return _create(name, body, CREATED, left=(title, MILK))


def _field(name: str, value: str, field: str = "title") -> Attack:
    """A task with this JSON in a field, which breaks a rule."""
    required = "" if field == "title" else '"title": "x", '
    return _create(f"{name} as {field}", f'{{{required}"{field}": {value}}}'.encode())


def _patch(name: str, body: bytes, outcome: str = INVALID) -> Attack:
    return Attack(name, "PATCH <task>", outcome, (_MERGE_PATCH,), body)


def _complete(name: str, body: bytes, outcome: str = INVALID) -> Attack:
    return Attack(name, "PATCH <task>/complete", outcome, (_JSON,), body)


def _move(name: str, body: bytes, outcome: str = INVALID) -> Attack:
    return Attack(name, "POST <task>/move", outcome, (_JSON,), body)


def _batch(name: str, body: bytes, outcome: str = INVALID) -> Attack:
    return Attack(name, "POST <tasks>/batch", outcome, (_JSON,), body)


def _operation(name: str, operation: str, outcome: str = INVALID) -> Attack:
    return _batch(name, b'{"operations": [%s]}' % operation.encode(), outcome)


def _get(name: str, target: str, outcome: str = INVALID, *headers: str) -> Attack:
    return Attack(name, f"GET {target}", outcome, headers)


def _query(query: str, outcome: str = INVALID, *, name: str = "", of: str = "") -> Attack:
    return _get(name or f"{of}?{query}", f"<tasks>{of}?{query}", outcome)


def _user(user: str, outcome: str = INVALID, *, name: str = "") -> Attack:
    return _get(name or user, f"/api/v1/{user}/tasks", outcome)


def _task_id(task_id: str, outcome: str = INVALID, *, name: str = "") -> Attack:
    return _get(name or task_id, f"<tasks>/{task_id}", outcome)


def _header(header: str, outcome: str = INVALID, line: str = "GET <task>") -> Attack:
    return Attack(f"{header[:60]} on {line}", line, outcome, (header,))


def _framed(name: str, outcome: str, *headers: str, body: bytes) -> Attack:
    """A create whose end is ambiguous or never comes. What follows it would delete the task."""
    return Attack(name, "POST <tasks>", outcome, (_JSON, *headers), body + _DELETE, is_framed=True)


def _chunks(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


_NEW: Final = b'{"title": "New"}'
_WHITE: Final = "\u2003\u00a0\u3000\u2028\u0085\t"
_FAMILY: Final = "\U0001f468\u200d\U0001f469\u200d\U0001f467"

GROUPS: Final[Mapping[str, tuple[Attack, ...]]] = {
    "encodings of the body": (
        _create("a raw NUL", b'{"title": "a\0b"}', BAD_JSON),
        _create("an escaped NUL in the title", rb'{"title": "a\u0000b"}'),
        _create("an escaped NUL in the description", rb'{"title": "x", "description": "\u0000"}'),
        _create("an escaped NUL in a tag", rb'{"title": "x", "tags": ["\u0000"]}'),
        _create("an escaped NUL in the priority", rb'{"title": "x", "priority": "low\u0000"}'),
        _create("an escaped NUL in a name", rb'{"title": "x", "\u0000": 1}'),
        _create("the first half of a surrogate pair", rb'{"title": "\ud83d"}'),
        _create("the second half of a surrogate pair", rb'{"title": "\ude00"}'),
        _create("a surrogate pair the wrong way round", rb'{"title": "\ude00\ud83d"}'),
        _create("half a surrogate pair as a name", rb'{"title": "x", "\ud83d": 1}'),
        _create("half a surrogate pair in a tag", rb'{"title": "x", "tags": ["\udfff"]}'),
        _create("half a surrogate pair as a date", rb'{"title": "x", "due_date": "\ud83d"}'),
        _create("CESU-8", b'{"title": "\xed\xa0\xbd\xed\xb8\x80"}', BAD_JSON),
        _create("a byte that is never UTF-8", b'{"title": "\xff"}', BAD_JSON),
        _create("an overlong NUL", b'{"title": "\xc0\x80"}', BAD_JSON),
        _create("an overlong slash", b'{"title": "\xe0\x80\xaf"}', BAD_JSON),
        _create("a character that is cut off", b'{"title": "\xf0\x9f\x98"}', BAD_JSON),
        _create("a lone continuation byte", b'{"title": "\x80"}', BAD_JSON),
        _create("beyond the last code point", b'{"title": "\xf4\x90\x80\x80"}', BAD_JSON),
        _create("Latin-1", b'{"title": "caf\xe9"}', BAD_JSON),
        _create("a byte order mark", b"\xef\xbb\xbf" + _NEW, BAD_JSON),
        *(
            _create(encoding, _NEW.decode().encode(encoding), BAD_JSON)
            for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be")
        ),
        _create("gzip without a word", gzip.compress(_NEW), BAD_JSON),
        *(
            _create(
                f"Content-Encoding: {coding}", body, NO_TYPE, _JSON, f"Content-Encoding: {coding}"
            )
            for coding, body in (
                ("gzip", gzip.compress(_NEW)),
                ("GZIP", gzip.compress(_NEW)),
                ("deflate", zlib.compress(_NEW)),
                ("br", _NEW),
                ("zstd", _NEW),
                ("gzip, gzip", gzip.compress(gzip.compress(_NEW))),
                ("gzip, identity", gzip.compress(_NEW)),
            )
        ),
        _create(
            "a gzip bomb",
            gzip.compress(b" " * 100_000_000),
            NO_TYPE,
            _JSON,
            "Content-Encoding: gzip",
        ),
    ),
    "what is not a JSON object": (
        *(
            _create(f"{depth} arrays in each other", b"[" * depth + b"]" * depth, outcome)
            for depth, outcome in ((100, INVALID), (101, BAD_JSON), (100_000, BAD_JSON))
        ),
        *(
            _create(
                f"{depth} objects in each other", b'{"a":' * depth + b"1" + b"}" * depth, outcome
            )
            for depth, outcome in ((100, INVALID), (101, BAD_JSON), (40_000, BAD_JSON))
        ),
        _create("99 arrays as tags", b'{"title": "x", "tags": %s1%s}' % (b"[" * 99, b"]" * 99)),
        _create("100,000 open brackets", b"[" * 100_000, BAD_JSON),
        _create("100,000 closing brackets", b"]" * 100_000, BAD_JSON),
        *(
            _create(text.decode() or "nothing", text, outcome)
            for text, outcome in (
                (b"", INVALID),
                (b" ", BAD_JSON),
                (b"\r\n", BAD_JSON),
                (b"null", INVALID),
                (b"true", INVALID),
                (b"0", INVALID),
                (b'"title"', INVALID),
                (b"[]", INVALID),
                (b"[{}]", INVALID),
                (b"{}", INVALID),
                (b"{", BAD_JSON),
                (b'{"title": "x"', BAD_JSON),
                (b'{"title": "x",}', BAD_JSON),
                (b'{"title": "x"}}', BAD_JSON),
                (b'{"title": "x"}{"title": "y"}', BAD_JSON),
                (b"{title: 1}", BAD_JSON),
                (b"{'title': 'x'}", BAD_JSON),
                (b'{"title": "x" /* why */}', BAD_JSON),
                (b'{"title": undefined}', BAD_JSON),
                (b'{"title": .5}', BAD_JSON),
                (b'{"title": +1}', BAD_JSON),
                (b'{"title": 01}', BAD_JSON),
                (b'{"title": 0x10}', BAD_JSON),
                (b'{"title": NaN}', BAD_JSON),
                (b'{"title": -Infinity}', BAD_JSON),
                (b'{"is_completed": NaN, "title": "x"}', BAD_JSON),
                (b'{"title": Infinity}', BAD_JSON),
                (rb'{"title": "\x41"}', BAD_JSON),
                (rb'{"title": "\u12"}', BAD_JSON),
                (b'{"title": "a\nb"}', BAD_JSON),
                (b'{"title": "x", "title": "y"}', BAD_JSON),
                (rb'{"title": "x", "t\u0069tle": "y"}', BAD_JSON),
                (b'{"title": "x", "a": {"b": 1, "b": 1}}', BAD_JSON),
                (b"title=x", BAD_JSON),
                (b"<title>x</title>", BAD_JSON),
            )
        ),
        _create("100,000 times the same name", b"{%s}" % b",".join([b'"a":1'] * 40_000), BAD_JSON),
    ),
    "wrong types": (
        *(_field(name, digits) for name, digits in _INTEGERS.items() if name != "10^5000"),
        _create("10^5000 as title", f'{{"title": {_INTEGERS["10^5000"]}}}'.encode(), BAD_JSON),
        _field("1e999", "1e999"),
        _field("-1e999", "-1e999"),
        _field("1e-999", "1e-999"),
        *(
            _field(value, value, field)
            for field, values in {
                "title": ("true", "0", "1.5", "null", "[]", "{}", '["x"]'),
                "description": ("true", "0", "[]", "{}"),
                "is_completed": ("1", "0", '"true"', '"on"', "null", "[]", "{}", "1e999"),
                "priority": ("1", "null", '"HIGH"', '"urgent"', '""', '" high"', "[]", "{}"),
                "tags": ('"x"', "{}", "null", "[1]", "[null]", "[[]]", '[""]', '[" "]', "1e999"),
                "due_date": ("0", "1e999", "[]", "true", "20261224", '"2026-12-24T00:00:00Z"'),
                "due_at": ("0", "1e999", "[]", "1700000000", '"2026-12-24"', '"1700000000"'),
                "position": ("1", '"NaN"', '"1e10"', '"-1"', '""', '"0000000000000001.10"', "{}"),
                "id": (f'"{NO_TASK}"', "1", "null"),
                "user_id": ('"mallory"', "null"),
                "version": ("1", str(2**63)),
                "__proto__": ('{"title": "y"}',),
                "constructor": ('{"prototype": {}}',),
                "$where": ('"1 == 1"',),
                "": ("1",),
            }.items()
            for value in values
        ),
        _field("a position of 5,000 digits", f'"{"1" * 5000}"', "position"),
        _field("a position in other digits", '"\u0660' + "\u0661" * 15 + '"', "position"),
        _create(
            "both due fields",
            b'{"title": "x", "due_date": "2026-01-01", "due_at": "2026-01-01T00:00Z"}',
        ),
        _create("20,000 unknown fields", b"{%s}" % b",".join(b'"%d":1' % n for n in range(20_000))),
        _create(
            "100 unknown fields with long names",
            json.dumps({f"{n:03}" + "\U0001f600" * 97: 1 for n in range(100)}).encode(),
        ),
        _create("20,000 wrong tags", b'{"title": "x", "tags": [%s]}' % b",".join([b"1"] * 20_000)),
        _create("a name of 200,000 characters", b'{"title": "x", "%s": 1}' % (b"a" * 200_000)),
        _create("a title of 200,000 characters", b'{"title": "%s"}' % (b"a" * 200_000)),
    ),
    "dates and instants": (
        *(
            _field(f'"{value}"', f'"{value}"', "due_at")
            for value in (
                "1899-12-31T23:59:59Z",
                "1900-01-01T00:00:00+00:01",
                "2999-12-31T23:59:59.999999-00:01",
                "3000-01-01T00:00:00Z",
                "0001-01-01T00:00:00+01:00",
                "0001-01-01T00:00:00+23:59",
                "9999-12-31T23:59:59-23:59",
                "9999-12-31T23:59:59.999999999-01:00",
                "0000-01-01T00:00:00Z",
                "10000-01-01T00:00:00Z",
                "-0001-01-01T00:00:00Z",
                "2026-02-29T00:00:00Z",
                "2026-13-01T00:00:00Z",
                "2026-12-24T24:00:00Z",
                "2016-12-31T23:59:60Z",
                "2026-12-24T12:00:00",
                "2026-12-24T12:00:00+24:00",
                "2026-12-24T12:00:00+99:99",
                "2026-12-24T12:00:00 Europe/Berlin",
                "2026-12-24T12:00:00.0000000000Z",
                "\u0662\u0660\u0662\u0666-12-24T12:00:00Z",
                "2026-W52-4T12:00:00Z",
                "infinity",
                "now",
                "epoch",
                "",
            )
        ),
        *(
            _field(f'"{value}"', f'"{value}"', "due_date")
            for value in (
                "1899-12-31",
                "3000-01-01",
                "0000-00-00",
                "10000-01-01",
                "2026-02-29",
                "2026-1-1",
                "20261224",
                "2026-W52-4",
                "2026-359",
                "24.12.2026",
                "-infinity",
                "today",
                "\uff12026-12-24",
                "2026-12-24 BC",
                "",
            )
        ),
        _stores("the first day", "first", due_date="1900-01-01"),
        _stores("the last day", "last", due_date="2999-12-31"),
        _stores("the first instant", "first", due_at="1900-01-01T01:00:00+01:00"),
        _stores("the last instant", "last", due_at="2999-12-31T23:59:59.999999999Z"),
    ),
    "text": (
        _stores("255 characters of four bytes", "\U0001f600" * 255),
        _stores("255 times the last code point", "\U0010ffff" * 255),
        _stores("255 noncharacters", "\uffff" * 255),
        _stores("254 accents on one letter", "e" + "\u0301" * 254),
        _stores("families", _FAMILY * 51),
        _stores("a private character", "\ue000"),
        _stores("from right to left", "\u202egnp.exe"),
        _stores("no width", "\u200b"),
        _stores("a byte order mark", "\ufeff"),
        _stores("control characters", "a\u0001\u001b[31m\u007f\u0080b"),
        _stores("tags of an editor", "\U000e0041\U000e007f"),
        _stores("one quote", "'"),
        _stores("SQL", "'; DROP TABLE tasks; --"),
        _stores("SQL with a backslash", "\\'; SELECT pg_sleep(10); --"),
        _stores("placeholders", "%s %(user_id)s :user_id $1 {0} {{ 7 * 7 }} ${7*7}"),
        _stores("HTML", "<script>alert(1)</script>"),
        _stores("line breaks", "a\r\nSet-Cookie: b=c\r\n\r\nd"),
        _stores("a path", "../../../../etc/passwd"),
        _stores("JSON", '{"title": "x"}'),
        _stores("null as text", "null"),
        _stores("a number as text", "1e999"),
        _stores("2,000 characters of four bytes", "long", description="\U0001f600" * 2000),
        _stores(
            "20 tags of 50 characters",
            "many",
            tags=[f"{n:02}" + "\U0001f600" * 48 for n in range(20)],
        ),
        _stores("a tag with a comma", "comma", tags=["a,b", "'", "{a}", "NULL", '"']),
        *(
            _create(name, json.dumps(task).encode())
            for name, task in {
                "256 characters": {"title": "\U0001f600" * 256},
                "only white space": {"title": _WHITE},
                "nothing": {"title": ""},
                "2,001 characters": {"title": "x", "description": "\U0001f600" * 2001},
                "51 characters in a tag": {"title": "x", "tags": ["\U0001f600" * 51]},
                "21 tags": {"title": "x", "tags": [str(n) for n in range(21)]},
            }.items()
        ),
    ),
    "content types": (
        *(
            _create(f"Content-Type: {media_type}", _NEW, NO_TYPE, f"Content-Type: {media_type}")
            for media_type in (
                "text/plain",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "application/xml",
                "application/jsonp",
                "application/json, text/plain",
                "application/vnd.api+json",
                "application/merge-patch+json",
                "application/json; charset=utf-16",
                "application/json; charset=utf-7",
                "application/json; charset=\xff",
                "*/*",
                "json",
                "",
                ";",
                "a" * 10_000,
            )
        ),
        _create("no Content-Type", _NEW, NO_TYPE, "Accept: */*"),
        _create("two Content-Types", _NEW, NO_TYPE, _JSON, "Content-Type: application/json"),
        _create(
            "in other words",
            _NEW,
            CREATED,
            "Content-Type: APPLICATION/JSON ; Charset=UTF8",
            "Content-Encoding: Identity",
            left=("New", MILK),
        ),
    ),
    "users": (
        *(
            _user(user)
            for user in (
                "%00",
                "%ff",
                "%fe",
                "%ed%a0%80",
                "%c0%ae%c0%ae",
                "%2e%2e",
                "%2e",
                "..",
                "%",
                "%zz",
                "%u0041",
                "al%00ice",
                "al%20ice",
                "al+ice%0a",
                "%0d%0aX-Injected:1",
                "%f0%9f%98%80",
                "%d0%b0lice",
                "%ef%bc%a1lice",
                "alice%5cbob",
                "alice'--",
                "alice;bob",
                "alice=bob",
                "*",
                "$1",
                "{user_id}",
                "@alice",
            )
        ),
        _user("alice%252F", name="a slash that is encoded twice"),
        _user("a" * 129, name="129 characters"),
        _user("a" * 60_000, name="60,000 characters"),
        _user("a" * 128, OK, name="128 characters"),
        _user("alice%2Fbob", NO_ROUTE),
        _user("alice/../bob", NO_ROUTE),
        _user("", NO_ROUTE, name="nobody"),
        _user("%61lice", OK),
        _get("an encoded slash between user and tasks", "/api/v1/alice%2Ftasks", NO_ROUTE),
        _get("an encoded slash in front", "/%2fhealth", NO_ROUTE),
    ),
    "tasks": (
        *(
            _task_id(task_id)
            for task_id in (
                "0",
                "-1",
                "null",
                "%00",
                "<id>%00",
                "<id>%20",
                "%7B<id>%7D",
                "urn:uuid:<id>",
                "<id>-",
                "<id>'--",
                "%ff",
                "..",
                "%2e%2e",
                "summary%20",
                "SUMMARY",
                "batch%00",
                *_INTEGERS.values(),
            )
            if len(task_id) <= 1000
        ),
        _task_id("1" * 5001, name="10^5000"),
        _task_id("1" * 60_000, name="60,000 digits"),
        _task_id("<foreign>", NO_SUCH_TASK),
        _task_id(NO_TASK, NO_SUCH_TASK),
        _task_id("00000000-0000-0000-0000-000000000000", NO_SUCH_TASK),
        _task_id("ffffffff-ffff-ffff-ffff-ffffffffffff", NO_SUCH_TASK),
        _task_id("<id>/", NO_ROUTE),
        _task_id("<id>//complete", NO_ROUTE),
        _task_id("<id>%2Fcomplete", NO_ROUTE),
        _task_id("<id>/complete/", NO_ROUTE),
        _task_id("<id>/..", NO_ROUTE),
        _task_id("batch", NO_METHOD),
        _task_id("<id>/complete", NO_METHOD),
        _task_id("<id>/move", NO_METHOD),
        _task_id("", NO_ROUTE, name="a slash at the end"),
        _get("two slashes in front", "/<tasks>", NO_ROUTE),
        _get("dots in the path", "/health/../docs", NO_ROUTE),
        _get("a backslash", "/api\\v1\\alice\\tasks", NO_ROUTE),
        _get("a path of 60,000 slashes", "/" * 60_000, NO_ROUTE),
    ),
    "queries": (
        *(
            _query(f"{name}={value}")
            for name, values in {
                "limit": (
                    "0",
                    "-1",
                    "1001",
                    *list(_INTEGERS.values())[:4],
                    "",
                    "%00",
                    "1.0",
                    "1.5",
                    "1e2",
                    "1_0",
                    "+1",
                    "%2B1",
                    "%201",
                    "%D9%A1",
                    "0x10",
                    "NaN",
                    "Infinity",
                    "1e999",
                    "true",
                    "1;limit=2",
                ),
                "cursor": ("", "x", "%00", "%ff", "AAAA", "e30", "bnVsbA", "...", "<id>"),
                "q": ("%00", "%ff", "%ed%a0%80", "a" * 256),
                "tag": ("", ",", "%00", "%ff", "a" * 51, "a,,b"),
                "priority": ("", "urgent", "high,", "HIGH", "%00"),
                "is_completed": ("", "1", "yes", "True", "%00"),
                "sort": ("", "id", "title,title", "--title", "title;", "-", "user_id", "%00"),
                "due": ("", "now", "overdue,today"),
                "tz": ("", "Mars", "%00", "../../etc/passwd", "UTC%00", "a" * 5000, "%ff"),
                "due_before": ("infinity", "now", "0", "%00", "1899-12-31", "3000-01-02"),
                "created_after": (
                    "0001-01-01T00:00:00%2B01:00",
                    "9999-12-31T23:59:59-01:00",
                    "2026-01-01",
                    "epoch",
                    "1e999",
                ),
                "include_total": ("", "1", "maybe"),
                "since": ("x",),
                "user_id": ("mallory",),
                "_method": ("DELETE",),
                "%00": ("1",),
                "%ff": ("1",),
                "limit%20": ("1",),
                "LIMIT": ("1",),
                "limit[]": ("1",),
                "": ("1",),
            }.items()
            for value in values
        ),
        _query("limit=" + _INTEGERS["10^5000"], name="a limit of 10^5000"),
        _query("limit=1&limit=1"),
        _query("limit=1&limit=2&limit=x"),
        _query("&".join(["limit=1"] * 5000), name="5,000 limits"),
        _query("&".join(f"a{n}=1" for n in range(8_000)), name="8,000 unknown parameters"),
        _query("q=" + "a" * 70_000, BAD, name="a value of 70 KB"),
        _query("a" * 70_000 + "=1", BAD, name="a name of 70 KB"),
        _query("cursor=" + "A" * 60_000, name="a cursor of 60 KB"),
        _query("sort=" + ",".join(["title", "-due"] * 1000), name="2,000 sorts"),
        _query("priority=" + ",".join(["low"] * 10_000), OK, name="10,000 priorities"),
        _query("tag=" + ",".join(map(str, range(10_000))), name="10,000 tags"),
        _query("q=%25_%5C'--", OK),
        _query("q=%F0%9F%98%80", OK),
        _query("&&&", OK),
        _query("", OK, name="an empty query"),
        _query("since=x", of="/changes"),
        _query("since=", of="/changes"),
        _query("since=%00", of="/changes"),
        _query("since=" + "A" * 60_000, of="/changes", name="a token of 60 KB"),
        _query("since=1&since=2", of="/changes"),
        _query(f"limit={2**63}", of="/changes"),
        _query("limit=0", of="/changes"),
        _query("cursor=x", of="/changes"),
        _query("tz=%ff", of="/summary"),
        _query("limit=1", of="/summary"),
    ),
    "headers": (
        *(
            _header(f"If-Match: {tags}", outcome, "DELETE <task>")
            for tags, outcome in (
                ("", INVALID),
                ("1", INVALID),
                ('"1', INVALID),
                ("'1'", INVALID),
                ('"1" "2"', INVALID),
                ('"\x7f"', BAD),
                ('"1"', MISMATCH),
                ('W/"1"', MISMATCH),
                ('"01"', MISMATCH),
                ('"-1"', MISMATCH),
                ('"1e999"', MISMATCH),
                ('"\xff"', MISMATCH),
                (f'"{2**63}"', MISMATCH),
                (f'"{10**400}"', MISMATCH),
                (f'"{"9" * 5001}"', MISMATCH),
                (", ".join(['"1"'] * 10_000), MISMATCH),
                ("," * 50_000 + '"1', INVALID),
            )
        ),
        _header('If-None-Match: "1', INVALID),
        _header("If-None-Match: " + '"1", ' * 10_000 + '"2"', OK),
        _header("If-None-Match: *", INVALID, "DELETE <task>"),
        _header("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", INVALID, "DELETE <task>"),
        _header("Idempotency-Key: a", INVALID, "DELETE <task>"),
        *(
            _create(
                f"Idempotency-Key: {key[:20]}, {len(key)} characters",
                _NEW,
                INVALID,
                _JSON,
                f"Idempotency-Key: {key}",
            )
            for key in ("", "a b", "\xe9", "a" * 256, "a" * 100_000)
        ),
        _create("Idempotency-Key with NUL", _NEW, BAD, _JSON, "Idempotency-Key: a\0b"),
        _header("X-Request-ID: " + "a" * 100_000, OK),
        _header("X-Request-ID: a\xff", OK),
        _header("X-HTTP-Method-Override: DELETE", OK),
        _header("X-Original-URL: /api/v1/mallory/tasks", OK),
        _header("X-Forwarded-Host: evil.example", OK),
        _header("X-Forwarded-Prefix: /evil", OK),
        _header("Range: bytes=0-0", OK),
        _header("Accept: application/xml", OK),
        _header("Accept-Encoding: " + "gzip, " * 1000, OK),
        _header("Origin: null", OK),
        _header("Cookie: " + "a=b; " * 10_000, OK),
        _header("\r\n".join(f"X-{n}: {n}" for n in range(5_000)), OK),
        _header("X: " + "a" * 1_000_000, OK),
        _header("TE: trailers, deflate", OK),
        _header("Proxy: http://evil.example", OK),
        _header("Content-Length: 0", OK),
    ),
    "patches": (
        _patch("an array", b"[]"),
        _patch("null", b"null"),
        _patch("a JSON patch", b'[{"op": "remove", "path": "/title"}]'),
        _patch("no title", b'{"title": null}'),
        _patch("no state", b'{"is_completed": null}'),
        _patch("no priority", b'{"priority": null}'),
        _patch("no tags", b'{"tags": null}'),
        _patch("no position", b'{"position": null}'),
        _patch("both due fields", b'{"due_date": "2026-01-01", "due_at": "2026-01-01T00:00Z"}'),
        _patch("an unknown field", b'{"Title": "x"}'),
        _patch("a field twice", b'{"title": "x", "title": "y"}', BAD_JSON),
        _patch("half a surrogate pair", rb'{"title": "\ud83d"}'),
        _patch("another user's id", b'{"user_id": "mallory", "id": "<foreign>"}', OK),
        _patch("a version of 10^400", b'{"version": %d}' % 10**400, OK),
        Attack("a PATCH of a form", "PATCH <task>", NO_TYPE, ("Content-Type: text/plain",), _NEW),
        Attack("a PATCH of nothing", "PATCH <task>", INVALID, (_MERGE_PATCH,), b""),
        Attack("a PUT of a part", "PUT <task>", INVALID, (_JSON,), _NEW),
        Attack("a PUT of nothing", "PUT <task>", INVALID, (_JSON,), b""),
        Attack(
            "a PUT of another user's task",
            "PUT <tasks>/<foreign>",
            NO_SUCH_TASK,
            (_JSON,),
            b'{"title": "x", "description": null, "is_completed": false, "priority": "none",'
            b' "due_date": null, "due_at": null, "tags": []}',
        ),
        Attack("a DELETE with a body", "DELETE <task>", INVALID, (_JSON,), b"{}"),
        Attack("a DELETE of another user's task", "DELETE <tasks>/<foreign>", NO_SUCH_TASK),
        Attack("a DELETE of all", "DELETE <tasks>", NO_METHOD),
        Attack("a DELETE behind an encoded slash", "DELETE <tasks>%2F<id>", NO_ROUTE),
        Attack("a toggle behind an encoded slash", "PATCH <task>%2fcomplete", NO_ROUTE),
    ),
    "completions": (
        *(
            _complete(text.decode(), text, outcome)
            for text, outcome in (
                (b"null", INVALID),
                (b"[]", INVALID),
                (b"{}", INVALID),
                (b'""', INVALID),
                (b"0", INVALID),
                (b"true", INVALID),
                (b" ", BAD_JSON),
                (b'{"is_completed": 1}', INVALID),
                (b'{"is_completed": "true"}', INVALID),
                (b'{"is_completed": null}', INVALID),
                (b'{"is_completed": 1e999}', INVALID),
                (b'{"is_completed": true, "x": 1}', INVALID),
                (b'{"is_completed": true, "is_completed": false}', BAD_JSON),
            )
        ),
    ),
    "moves": (
        *(
            _move(text.decode()[:60] or "nothing", text)
            for text in (
                b"",
                b"null",
                b"[]",
                b"{}",
                b'{"after": null, "before": null}',
                b'{"after": "<id>", "before": null}',
                b'{"after": "<foreign>"}',
                b'{"before": "<foreign>"}',
                b'{"after": "%s"}' % NO_TASK.encode(),
                b'{"after": ""}',
                b'{"after": 1}',
                b'{"after": []}',
                b'{"after": true}',
                b'{"after": %d}' % 10**400,
                rb'{"after": "\u0000"}',
                rb'{"after": "\ud83d"}',
                b'{"after": "<id>\'--"}',
                b'{"position": "1"}',
                b'{"after": null, "x": 1}',
            )
        ),
        _move("to where it is", b'{"after": "<id>"}', OK),
        _move("after NaN", b'{"after": NaN}', BAD_JSON),
        _move("after two", b'{"after": null, "after": "<id>"}', BAD_JSON),
        Attack(
            "another user's task",
            "POST <tasks>/<foreign>/move",
            NO_SUCH_TASK,
            (_JSON,),
            b'{"after": null}',
        ),
    ),
    "batches": (
        *(
            _batch(text.decode()[:60] or "nothing", text)
            for text in (
                b"",
                b"null",
                b"[]",
                b"{}",
                b'{"operations": null}',
                b'{"operations": {}}',
                b'{"operations": "x"}',
                b'{"operations": []}',
                b'{"operations": [[]]}',
                b'{"operations": [null]}',
                b'{"operations": [], "atomic": false}',
            )
        ),
        *(
            _operation(f"operation {operation[:60]}", operation, outcome)
            for operation, outcome in (
                ("{}", INVALID),
                ('{"op": null}', INVALID),
                ('{"op": 1}', INVALID),
                ('{"op": []}', INVALID),
                ('{"op": {}}', INVALID),
                ('{"op": "DROP"}', INVALID),
                ('{"op": "delete"}', INVALID),
                (r'{"op": "\ud83d"}', INVALID),
                (r'{"op": "delete", "id": "\u0000"}', INVALID),
                (f'{{"op": "delete", "id": {10**400}}}', INVALID),
                ('{"op": "delete", "id": "<id>", "if_version": 1e999}', INVALID),
                ('{"op": "delete", "id": "<id>", "if_version": "1"}', INVALID),
                ('{"op": "delete", "id": "<id>", "if_version": 1.5}', INVALID),
                ('{"op": "delete", "id": "<id>", "if_version": true}', INVALID),
                ('{"op": "delete", "id": "<id>", "if_version": 1}', BATCH_FAILED),
                ('{"op": "delete", "id": "<foreign>"}', BATCH_FAILED),
                ('{"op": "create", "task": {"title": ""}}', INVALID),
                ('{"op": "create", "task": {"title": "x", "user_id": "mallory"}}', INVALID),
                (r'{"op": "create", "task": {"title": "\ud83d"}}', INVALID),
                ('{"op": "create", "task": []}', INVALID),
                ('{"op": "update", "id": "<id>", "changes": null}', INVALID),
                ('{"op": "update", "id": "<id>", "changes": {"title": null}}', INVALID),
                ('{"op": "update", "id": "<foreign>", "changes": {"title": "x"}}', BATCH_FAILED),
                ('{"op": "complete", "id": "<id>", "is_completed": 1}', INVALID),
                ('{"op": "complete", "id": "<id>"}', INVALID),
                ('{"op": "move", "id": "<id>"}', INVALID),
                ('{"op": "move", "id": "<id>", "after": null, "before": null}', INVALID),
                ('{"op": "move", "id": "<id>", "after": "<foreign>"}', BATCH_FAILED),
                ('{"op": "delete", "id": "<id>", "op": "delete"}', BAD_JSON),
            )
        ),
        *(
            _operation(
                f"if_version of {name}",
                f'{{"op": "delete", "id": "<id>", "if_version": {digits}}}',
                {"10^5000": BAD_JSON, "-2^63-1": INVALID}.get(name, BATCH_FAILED),
            )
            for name, digits in _INTEGERS.items()
        ),
        _operation("101 operations", ", ".join(['{"op": "delete", "id": "<id>"}'] * 101)),
        _operation("100,000 operations", ", ".join(["{}"] * 100_000)),
        _operation(
            "100 operations that fail",
            ", ".join(['{"op": "delete", "id": "<foreign>"}'] * 100),
            BATCH_FAILED,
        ),
        _operation(
            "one good operation and one bad",
            '{"op": "delete", "id": "<id>"}, {"op": "delete", "id": "<foreign>"}',
            BATCH_FAILED,
        ),
        _operation("98 arrays in each other", "[" * 98 + "]" * 98),
        _operation("99 arrays in each other", "[" * 99 + "]" * 99, BAD_JSON),
        _operation("50,000 arrays in each other", "[" * 50_000 + "]" * 50_000, BAD_JSON),
    ),
    "the end of the request": (
        _framed("CL.TE", BAD, "Content-Length: 6", _CHUNKED, body=b"0\r\n\r\n"),
        _framed("TE.CL", BAD, _CHUNKED, "Content-Length: 4", body=_chunks(_NEW)),
        _framed("two lengths", BAD, "Content-Length: 16", "Content-Length: 0", body=_NEW),
        _framed("two lengths in one line", BAD, "Content-Length: 16, 16", body=_NEW),
        *(
            _framed(f"Content-Length: {length}", BAD, f"Content-Length: {length}", body=_NEW)
            for length in (
                "-16",
                "+16",
                "0x10",
                "16;",
                "1 6",
                "1e1",
                "",
                "9" * 30,
                "16\x00",
                "\xb2",
            )
        ),
        *(
            _framed(
                f"Transfer-Encoding: {coding}",
                BAD,
                f"Transfer-Encoding: {coding}",
                body=_chunks(_NEW),
            )
            for coding in (
                "identity",
                "xchunked",
                "chunked, identity",
                "cow",
                "chunked\x0b",
                '"chunked"',
            )
        ),
        _framed("a space before the colon", BAD, "Transfer-Encoding : chunked", body=_chunks(_NEW)),
        _framed("a line that goes on", BAD, "Transfer-Encoding:\r\n chunked", body=_chunks(_NEW)),
        _framed("a bare line feed", BAD, "X: y\nTransfer-Encoding: chunked", body=_chunks(_NEW)),
        _framed(
            "a bare carriage return", BAD, "X: y\rTransfer-Encoding: chunked", body=_chunks(_NEW)
        ),
        *(
            _framed(
                f"a chunk of {size!r}", BAD, _CHUNKED, body=size + b"\r\n" + _NEW + b"\r\n0\r\n\r\n"
            )
            for size in (b"-10", b"+10", b"0x10", b"10 10", b"g", b"", b"f" * 17, b"10\x00", b" 10")
        ),
        _framed("a chunk that is too short", BAD, _CHUNKED, body=b"20\r\n%s\r\n0\r\n\r\n" % _NEW),
        _framed("a chunk that is too long", BAD, _CHUNKED, body=b"2\r\n%s\r\n0\r\n\r\n" % _NEW),
        Attack(
            "a request in the body of a GET",
            "GET <tasks>",
            INVALID,
            body=_DELETE,
        ),
        Attack(
            "a request in the body of an unknown route",
            "POST /nowhere",
            NO_ROUTE,
            (_JSON,),
            _DELETE,
        ),
        Attack("a request in a body that is no JSON", "POST <tasks>", BAD_JSON, (_JSON,), _DELETE),
        Attack("the preface of HTTP/2", "PRI *", BAD, body=b"SM\r\n\r\n", is_framed=True),
        Attack("a version of HTTP that is none", "GET <tasks> HTTP/9.9", BAD),
        Attack("a method of 10,000 letters", "G" * 10_000 + " <tasks>", BAD),
        Attack("a target of 1 MB", "GET <tasks>?q=" + "a" * 1_000_000, BAD),
    ),
    "large bodies": (
        *(
            Attack(f"50 MB to {line}", line, outcome, (_JSON,), b" " * 1000, _HUGE // 1000)
            for line, outcome in (
                ("POST <tasks>", TOO_LARGE),
                ("POST <tasks>/batch", TOO_LARGE),
                ("PUT <task>", TOO_LARGE),
                ("PATCH <task>", TOO_LARGE),
                ("PATCH <task>/complete", TOO_LARGE),
                ("POST <task>/move", TOO_LARGE),
                ("DELETE <task>", INVALID),
                ("GET <tasks>", INVALID),
                ("POST /nowhere", NO_ROUTE),
                ("TRACE <tasks>", NO_METHOD),
            )
        ),
        Attack(
            "50 MB in chunks",
            "POST <tasks>",
            TOO_LARGE,
            (_JSON, _CHUNKED),
            b"2710\r\n" + b" " * 10_000 + b"\r\n",
            _HUGE // 10_000,
            is_framed=True,
        ),
        Attack(
            "a million chunks of one byte",
            "POST <tasks>",
            TOO_LARGE,
            (_JSON, _CHUNKED),
            b"1\r\n \r\n",
            1_000_000,
            is_framed=True,
        ),
        Attack(
            "a batch of 4 MiB without sense",
            "POST <tasks>/batch",
            INVALID,
            (_JSON,),
            b'{"operations": [%s]}' % b",".join([b'{"op":"x"}'] * 380_000),
        ),
        Attack(
            "a batch over 4 MiB", "POST <tasks>/batch", TOO_LARGE, (_JSON,), b" ", 4 * 1024**2 + 1
        ),
        Attack("a body over 256 KiB", "POST <tasks>", TOO_LARGE, (_JSON,), b" ", 256 * 1024 + 1),
    ),
}

ATTACKS: Final = tuple(
    (f"{group}: {attack.name[:80]}", attack)
    for group, attacks in GROUPS.items()
    for attack in attacks
)
