"""Every answer outside 2xx and 304 is a problem document, whatever was wrong."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from src.api.deps import get_now
from src.api.problems import RULES, Kind
from src.exceptions import TaskError
from src.services.changes import TOKENS
from src.services.cursors import encode_cursor
from tests.builders import (
    ON_ONE_TASK,
    REPLACEMENT,
    create,
    path_of,
    problem,
    send,
    tag_of,
    tasks_of,
)
from tests.conftest import BASE_URL
from tests.processes import serving

pytestmark = pytest.mark.anyio

AS_JSON: Final = {"Content-Type": "application/json"}
REQUEST_ID: Final = {"X-Request-ID": "r1"}
SECRET: Final = "hunter2"  # noqa: S105 — it must not come back
NO_TASK: Final = "01981f6e-3c00-7a3b-8a00-000000000001"
MAX_BYTES: Final = 256 * 1024
WHY_NOT_JSON: Final = re.compile(
    r"The body is not (valid JSON at line \d+ column|UTF-8 at byte) \d+\."
    r"|The body is nested more than 100 levels deep\.|A number in the body has too many digits\."
    r"|-?(NaN|Infinity) is not JSON\."
    r"|The body begins with a byte order mark\. Leave it out\."
)


@pytest.fixture
def bodies() -> list[bytes]:
    """What the app sent as bodies to the `plain_client`, which itself drops those of HEAD."""
    return []


@pytest.fixture
async def plain_client(app: FastAPI, bodies: list[bytes]) -> AsyncIterator[httpx.AsyncClient]:
    """A client that does not look for a problem in the body, which an answer to HEAD has not."""

    async def overheard(scope: Scope, receive: Receive, send: Send) -> None:
        async def overhear(message: Message) -> None:
            bodies.append(message.get("body", b""))
            await send(message)

        await app(scope, receive, overhear)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(overheard), base_url=BASE_URL
    ) as client:
        yield client


async def fail() -> None:
    raise RuntimeError(SECRET)


def unknown(similar: str | None = None, **place: str) -> dict[str, str]:
    what = "field" if "pointer" in place else "parameter"
    hint = f"; did you mean {similar}?" if similar else ""
    return {**place, "code": "unknown", "detail": f"unknown {what}{hint}"}


def unsupported(name: str) -> dict[str, str]:
    return {
        "header": name,
        "code": "unknown",
        "detail": "is not supported by this operation; leave it out",
    }


def repeated(name: str) -> dict[str, str]:
    return {"parameter": name, "code": "repeated", "detail": "must not be repeated"}


def required(pointer: str) -> dict[str, str]:
    return {"pointer": pointer, "code": "required", "detail": "is required"}


class Provoked(NamedTuple):
    """An answer that should be a problem, and the members that it has beyond those of all."""

    answer: httpx.Response
    members: Mapping[str, object] = {}


class Stage(NamedTuple):
    """What a problem is provoked with. Every request has the id r1."""

    client: httpx.AsyncClient
    user: str
    postgres_url: str

    async def send(self, method: str, path: str = "", **request: Any) -> httpx.Response:
        headers = REQUEST_ID | request.pop("headers", {})
        url = path if path.startswith("/") else f"{tasks_of(self.user)}{path and '/'}{path}"
        return await self.client.request(method, url, headers=headers, **request)

    async def task_exists(self) -> Provoked:
        task = await create(self.client, self.user)
        answer = await self.send("PUT", task["id"], json=task, headers={"If-None-Match": "*"})
        return Provoked(answer, {"current": task})

    async def version_mismatch(self) -> Provoked:
        task = await create(self.client, self.user)
        answer = await self.send("DELETE", task["id"], headers={"If-Match": '"7"'})
        return Provoked(answer, {"current": task})

    async def task_deleted(self) -> Provoked:
        key, body = {"Idempotency-Key": "k"}, {"title": "Buy milk"}
        created = await self.send("POST", json=body, headers=key)
        await self.client.delete(created.headers["location"])
        return Provoked(await self.send("POST", json=body, headers=key))

    async def list_restarted(self) -> Provoked:
        await create(self.client, self.user)
        since = encode_cursor([1, 1], user_id=self.user, query=TOKENS)
        return Provoked(await self.send("GET", f"changes?since={since}"))

    async def batch_failed(self) -> Provoked:
        operations = {"operations": [{"op": "delete", "id": NO_TASK}]}
        kind = Kind.TASK_NOT_FOUND
        error = {"code": kind.code, "detail": kind.detail, "status": kind.status}
        return Provoked(
            await self.send("POST", "batch", json=operations),
            {"errors": [{"pointer": "/operations/0", **error}]},
        )

    async def invalid_request(self) -> Provoked:
        errors = [{"pointer": "/title", "code": "required", "detail": "is required"}]
        return Provoked(await self.send("POST", json={}), {"errors": errors})

    async def invalid_json(self) -> Provoked:
        return Provoked(await self.send("POST", content=b"{", headers=AS_JSON))

    async def invalid_host(self) -> Provoked:
        return Provoked(await self.send("GET", headers={"Host": "evil.example"}))

    async def upgrade_not_supported(self) -> Provoked:
        h2c = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": ""}
        return Provoked(await self.send("POST", json={"title": "Buy milk"}, headers=h2c))

    async def route_not_found(self) -> Provoked:
        return Provoked(await self.send("GET", "/api/v2"))

    async def task_not_found(self) -> Provoked:
        return Provoked(await self.send("GET", NO_TASK))

    async def method_not_allowed(self) -> Provoked:
        return Provoked(await self.send("PUT"))

    async def body_too_large(self) -> Provoked:
        return Provoked(await self.send("POST", content=b" " * 262145, headers=AS_JSON))

    async def unsupported_media_type(self) -> Provoked:
        return Provoked(await self.send("POST", data={"title": "Buy milk"}))

    async def internal_error(self) -> Provoked:
        """A mistake in the code: the document says nothing of it."""
        async with serving(self.postgres_url) as (app, client):
            app.dependency_overrides[get_now] = fail
            return Provoked(await client.get(tasks_of(self.user), headers=REQUEST_ID))

    async def database_unavailable(self) -> Provoked:
        """A database that does not exist."""
        async with serving(f"{self.postgres_url}_of_nobody") as (_, client):
            return Provoked(await client.get(tasks_of(self.user), headers=REQUEST_ID))


class TestEveryKind:
    """One whole document of each kind: these are the promises, word by word."""

    DOCUMENTS: Final = {
        "invalid_json": (400, "Invalid JSON", "The body is not valid JSON at line 1 column 2."),
        "invalid_host": (
            400,
            "Invalid Host header",
            "Send exactly one Host header, and it must name this server. To accept names other"
            " than localhost, add them to the setting ALLOWED_HOSTS.",
        ),
        "upgrade_not_supported": (
            400,
            "Upgrade not supported",
            "Requests with a body cannot ask for a protocol upgrade. Use plain HTTP/1.1: for"
            " example HttpClient.Version.HTTP_1_1 in Java, or curl without --http2.",
        ),
        "route_not_found": (
            404,
            "Route not found",
            "See /docs for the routes of this API. None of them ends with a slash.",
        ),
        "task_not_found": (404, "Task not found", "This user has no task with this id."),
        "method_not_allowed": (
            405,
            "Method not allowed",
            "This path supports GET, HEAD, POST.",
        ),
        "task_deleted": (
            410,
            "Task deleted",
            "The task was deleted. To create another one, use a new Idempotency-Key or a new id.",
        ),
        "list_restarted": (
            410,
            "List restarted",
            "The tasks were lost or restored from a backup after this token was made. Discard your"
            " copy and start again without `since`.",
        ),
        "batch_failed": (
            409,
            "Batch failed",
            "Nothing was changed. `errors` lists every operation that failed.",
        ),
        "version_mismatch": (
            412,
            "Version mismatch",
            "The task is not at the version that you sent. `current` is the task as it is now: if"
            " your change still applies, send it again with this version.",
        ),
        "task_exists": (
            412,
            "Task already exists",
            "A task with this id already exists: `current` is that task as it is now. To create"
            " another one, use a new id.",
        ),
        "body_too_large": (
            413,
            "Body too large",
            "The body may be at most 262144 bytes long, and that of a batch 4194304.",
        ),
        "unsupported_media_type": (
            415,
            "Unsupported media type",
            "Send exactly one Content-Type header: application/json (or"
            " application/merge-patch+json for PATCH). If you add a charset, it must be utf-8.",
        ),
        "invalid_request": (422, "Invalid request", "`errors` lists what to correct."),
        "internal_error": (500, "Internal error", "Quote request_id when you report it."),
        "database_unavailable": (
            503,
            "Database unavailable",
            "Nothing was changed. Wait for the seconds in Retry-After, then send the request"
            " again.",
        ),
    }
    HEADERS: Final = {
        "upgrade_not_supported": {"connection": "close"},
        "body_too_large": {"connection": "close"},
        "method_not_allowed": {"allow": "GET, HEAD, POST"},
        "database_unavailable": {"retry-after": "1"},
        "version_mismatch": {"etag": '"{current[version]}"'},
        "task_exists": {"etag": '"{current[version]}"'},
    }

    @pytest.mark.requirement("FR-013", "FR-018", "FR-022", "FR-025", "FR-026", "FR-029", "FR-053")
    @pytest.mark.parametrize("code", DOCUMENTS)
    async def test_has_its_document(
        self, client: httpx.AsyncClient, user: str, postgres_url: str, code: str
    ) -> None:
        answer, members = await getattr(Stage(client, user, postgres_url), code)()

        status, title, detail = self.DOCUMENTS[code]
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == "r1"
        for name, value in self.HEADERS.get(code, {}).items():
            assert answer.headers[name] == value.format_map(members)
        assert answer.json() == {
            "type": f"urn:task-api:problem:{code}",
            "title": title,
            "status": status,
            "detail": detail,
            "instance": "urn:task-api:request:r1",
            "code": code,
            "request_id": "r1",
            **members,
        }

    @pytest.mark.requirement("FR-022")
    def test_is_in_the_table(self) -> None:
        elsewhere = {
            "outcome_unknown",  # test_faults.py
            "origin_not_allowed",  # test_cors.py
            "preflight_refused",
            "request_timeout",  # test_bodies.py
        }
        assert {kind.code for kind in Kind} - elsewhere == set(self.DOCUMENTS)


@pytest.mark.requirement("FR-022")
def test_every_failure_of_the_domain_has_its_answer() -> None:
    def kinds_of(failure: type[TaskError]) -> set[type[TaskError]]:
        return {failure}.union(*map(kinds_of, failure.__subclasses__()))

    for failure in kinds_of(TaskError) - {TaskError}:
        assert (failure in RULES) != (failure.code.upper() in Kind.__members__), failure


class TestViolations:
    @pytest.mark.requirement("FR-023")
    async def test_all_of_a_body_are_named_at_once(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        body = {
            "title": " ",
            "description": "x" * 2001,
            "priority": "urgent",
            "due_date": "2026-02-30",
            "due_at": "2026-03-01T09:30:00",
            "tags": ["", "x" * 51, None, "a\0b", "fine"],
            "a/b~c": 1,
        }

        answer = await client.post(tasks_of(user), json=body)

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {"pointer": "/title", "code": "too_short", "detail": "must not be empty"},
                {
                    "pointer": "/description",
                    "code": "too_long",
                    "detail": "must be at most 2000 characters long",
                },
                {
                    "pointer": "/priority",
                    "code": "not_allowed",
                    "detail": "must be one of 'none', 'low', 'medium' or 'high'",
                },
                {
                    "pointer": "/due_date",
                    "code": "invalid_date",
                    "detail": "must be a date such as 2026-03-01, from 1900-01-01 to 2999-12-31",
                },
                {
                    "pointer": "/due_at",
                    "code": "invalid_instant",
                    "detail": "must be a time with an offset, such as 2026-03-01T09:30:00Z or"
                    " 2026-03-01T10:30+01:00, in the years 1900 to 2999 (UTC)",
                },
                {"pointer": "/tags/0", "code": "too_short", "detail": "must not be empty"},
                {
                    "pointer": "/tags/1",
                    "code": "too_long",
                    "detail": "must be at most 50 characters long",
                },
                {"pointer": "/tags/2", "code": "wrong_type", "detail": "must be a string"},
                {
                    "pointer": "/tags/3",
                    "code": "nul_character",
                    "detail": "must not contain the character NUL",
                },
                unknown(pointer="/a~1b~0c"),
            ],
        )

    @pytest.mark.requirement("FR-023")
    async def test_those_of_path_header_and_body_are_named_together(
        self, client: httpx.AsyncClient
    ) -> None:
        answer = await client.patch(
            f"{tasks_of('.me')}/1", json={"title": 1}, headers={"If-Match": "7"}
        )

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {
                    "parameter": "user_id",
                    "code": "invalid_format",
                    "detail": "must be 1 to 128 characters: ASCII letters, digits, and"
                    " . ~ @ | : + - _; must not begin with . @ | : or +",
                },
                {
                    "parameter": "task_id",
                    "code": "invalid_uuid",
                    "detail": "must be a UUID such as 01981f6e-3c00-7a3b-8a00-000000000001",
                },
                {
                    "header": "If-Match",
                    "code": "invalid_entity_tag",
                    "detail": 'must be * or entity tags such as "7"',
                },
                {"pointer": "/title", "code": "wrong_type", "detail": "must be a string"},
            ],
        )

    @pytest.mark.requirement("FR-023")
    async def test_those_of_the_form_are_named_before_those_of_the_values(
        self, client: httpx.AsyncClient
    ) -> None:
        """All of the first stage at once, although the second would find more."""
        answer = await client.delete(
            f"{tasks_of('.me')}/1?colour=red&colour=red",
            headers={"If-Match": "7", "If-None-Match": "*", "Idempotency-Key": "k"},
        )

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                unsupported("If-None-Match"),
                unsupported("Idempotency-Key"),
                unknown(parameter="colour"),
                repeated("colour"),
            ],
        )

    @pytest.mark.requirement("FR-012", "FR-023")
    async def test_two_due_fields_are_named_together_with_the_others(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        body = {"title": 1, "due_date": "2026-12-24", "due_at": "2026-12-24T18:00:00Z"}

        answer = await client.post(tasks_of(user), json=body)

        codes = {violation["code"] for violation in answer.json()["errors"]}
        assert codes == {"wrong_type", "two_due_fields"}

    @pytest.mark.requirement("FR-161")
    @pytest.mark.parametrize(
        ("body", "pointer", "similar"),
        [
            ({"title": "x", "prio": "high"}, "/prio", "priority"),
            ({"title": "x", "dueAt": None}, "/dueAt", "due_at"),
            ({"title": "x", "Tags": []}, "/Tags", "tags"),
        ],
    )
    async def test_a_misspelt_field_is_named_with_the_one_that_was_meant(
        self, client: httpx.AsyncClient, user: str, body: Any, pointer: str, similar: str
    ) -> None:
        create = {"op": "create", "task": body}

        alone = await client.post(tasks_of(user), json=body)
        batch = await client.post(f"{tasks_of(user)}/batch", json={"operations": [create]})

        assert alone.json()["errors"] == [unknown(similar, pointer=pointer)]
        assert batch.json()["errors"] == [unknown(similar, pointer=f"/operations/0/task{pointer}")]

    @pytest.mark.requirement("FR-161")
    async def test_a_misspelt_parameter_is_named_with_the_one_that_was_meant(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        meant = {
            "dueBefore": "due_before",
            "isCompleted": "is_completed",
            "TZ": "tz",
            "tags": "tag",
            "page": None,
            "updated_before": None,  # there is none, and `created_before` is something else
            "created": None,  # before or after
        }

        answer = await client.get(tasks_of(user), params=dict.fromkeys(meant, "1"))

        assert answer.json()["errors"] == [
            unknown(similar, parameter=name) for name, similar in meant.items()
        ]

    @pytest.mark.requirement("FR-161")
    @pytest.mark.parametrize(
        ("operation", "name", "similar"),
        [
            ({"op": "create", "task": {"title": "x"}}, "title", "task.title"),
            ({"op": "create", "task": {"title": "x"}}, "prio", "task.priority"),
            ({"op": "create", "task": {"title": "x"}}, "if_version", None),
            ({"op": "update", "changes": {}, "id": NO_TASK}, "priority", "changes.priority"),
            ({"op": "update", "changes": {}, "id": NO_TASK}, "task", None),
            ({"op": "update", "changes": {}, "id": NO_TASK}, "version", "if_version"),
            ({"op": "delete", "id": NO_TASK}, "title", None),
        ],
    )
    async def test_a_field_is_named_where_its_operation_has_it(
        self,
        client: httpx.AsyncClient,
        user: str,
        operation: dict[str, Any],
        name: str,
        similar: str | None,
    ) -> None:
        body = {"operations": [{**operation, name: 1}]}

        answer = await client.post(f"{tasks_of(user)}/batch", json=body)

        assert answer.json()["errors"] == [unknown(similar, pointer=f"/operations/0/{name}")]

    @pytest.mark.requirement("FR-161")
    async def test_what_surrounds_operations_has_no_field_of_theirs(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        body = {"op": "create", "task": {"title": "x"}, "opera": 1}

        answer = await client.post(f"{tasks_of(user)}/batch", json=body)

        assert answer.json()["errors"] == [
            required("/operations"),
            unknown(pointer="/op"),
            unknown(pointer="/task"),
            unknown("operations", pointer="/opera"),
        ]

    @pytest.mark.requirement("FR-161")
    @pytest.mark.parametrize("name", ["status", "state", "task", "pr", "name", "due", "_title_of_"])
    async def test_a_name_that_means_something_else_gets_no_advice(
        self, client: httpx.AsyncClient, user: str, name: str
    ) -> None:
        answer = await client.post(tasks_of(user), json={"title": "x", name: 1})

        assert answer.json()["errors"] == [unknown(pointer=f"/{name}")]

    @pytest.mark.requirement("FR-023")
    async def test_twenty_are_enough(self, client: httpx.AsyncClient, user: str) -> None:
        answer = await client.post(tasks_of(user), json={f"field{n}": n for n in range(30)})

        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[required("/title"), *(unknown(pointer=f"/field{n}") for n in range(19))],
        )

    @pytest.mark.requirement("FR-023")
    async def test_a_name_that_is_long_comes_from_the_request_and_is_not_repeated(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        for name, named in (("x" * 100, "x" * 100), ("x" * 101, "")):
            body = await client.post(tasks_of(user), json={"title": "x", name: 1})
            query = await client.get(tasks_of(user), params={name: 1})

            assert body.json()["errors"] == [unknown(pointer=named and f"/{named}")]
            assert query.json()["errors"] == [unknown(parameter=named)]

    @pytest.mark.requirement("FR-004", "FR-025")
    @pytest.mark.parametrize("body", [b"null", b"[]", b"5", b'"x"', b"true", b"[[]]"])
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    async def test_a_body_that_is_no_object_is_named_as_a_whole(
        self, client: httpx.AsyncClient, user: str, method: str, body: bytes
    ) -> None:
        path = tasks_of(user) if method == "POST" else f"{tasks_of(user)}/{NO_TASK}"

        answer = await client.request(method, path, content=body, headers=AS_JSON)

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[{"pointer": "", "code": "wrong_type", "detail": "must be an object"}],
        )

    @pytest.mark.requirement("FR-023")
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    async def test_a_body_that_is_not_there_is_named_too(
        self, client: httpx.AsyncClient, user: str, method: str
    ) -> None:
        path = tasks_of(user) if method == "POST" else f"{tasks_of(user)}/{NO_TASK}"

        answer = await client.request(method, path, content=b"", headers=AS_JSON)

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[{"pointer": "", "code": "required", "detail": "must be a JSON object"}],
        )


class TestNoProblemHoldsTheInput:
    @pytest.mark.requirement("FR-023")
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    async def test_of_a_body(self, client: httpx.AsyncClient, user: str, method: str) -> None:
        path = tasks_of(user) if method == "POST" else f"{tasks_of(user)}/{NO_TASK}"
        body = {
            "title": SECRET * 40,
            "description": [SECRET],
            "is_completed": SECRET,
            "priority": SECRET,
            "due_date": SECRET,
            "due_at": {SECRET: SECRET},
            "tags": [SECRET * 10, {SECRET: 1}, f"{SECRET}\0"],
            SECRET * 20: SECRET,
        }

        answer = await client.request(method, path, json=body)

        assert answer.status_code == 422
        assert len(answer.json()["errors"]) == 10
        assert SECRET not in answer.text

    @pytest.mark.requirement("FR-023", "FR-025")
    @pytest.mark.parametrize(
        "body",
        [
            f'{{"title":"{SECRET}"',
            f'{{"title":"{SECRET}"}} {SECRET}',
            f"{{'{SECRET}': 1}}",
            f'{{"title":{SECRET}}}',
            f'{{"title":"{SECRET}\\x{SECRET}"}}',
            SECRET,
        ],
    )
    async def test_of_a_body_that_is_not_json(
        self, client: httpx.AsyncClient, user: str, body: str
    ) -> None:
        answer = await client.post(tasks_of(user), content=body, headers=AS_JSON)

        assert answer.status_code == 400
        assert SECRET not in answer.text

    @pytest.mark.requirement("FR-023")
    @pytest.mark.parametrize(
        ("method", "path", "headers", "status"),
        [
            ("GET", f"/{SECRET}", {}, 404),
            ("GET", tasks_of(f"{SECRET}!"), {}, 422),
            ("GET", f"{tasks_of('alice')}/{SECRET}", {}, 422),
            ("GET", f"{tasks_of('alice')}?limit={SECRET}&cursor={SECRET}", {}, 422),
            ("GET", f"{tasks_of('alice')}?cursor={SECRET}", {}, 422),
            ("GET", f"{tasks_of('alice')}/{NO_TASK}", {"If-None-Match": SECRET}, 422),
            ("DELETE", f"{tasks_of(SECRET)}/{NO_TASK}", {"If-Match": SECRET}, 422),
            ("DELETE", f"{tasks_of(SECRET)}/{NO_TASK}", {"X-Request-ID": f"{SECRET}!"}, 404),
            (SECRET, tasks_of(SECRET), {}, 405),
        ],
    )
    async def test_of_path_query_and_headers(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        headers: dict[str, str],
        status: int,
    ) -> None:
        answer = await client.request(method, path, headers=headers)

        assert answer.status_code == status
        assert SECRET not in answer.text.lower()
        assert SECRET not in str(answer.headers).lower()

    @pytest.mark.requirement("FR-023", "FR-025")
    async def test_of_a_media_type(self, client: httpx.AsyncClient, user: str) -> None:
        answer = await client.post(
            tasks_of(user), content=SECRET, headers={"Content-Type": f"text/{SECRET}"}
        )

        assert answer.status_code == 415
        assert SECRET not in answer.text


class TestBodies:
    @pytest.mark.requirement("FR-025")
    @pytest.mark.parametrize(
        "body",
        [
            b" ",
            b"{",
            b'{"title":"x",}',
            b'{"title":"x"}x',
            b"{title:1}",
            b"{'title':'x'}",
            b'{"title":NaN}',
            b'{"title":Infinity}',
            b'{"title":-Infinity}',
            b'{"title":01}',
            b'{"title":"\n"}',
            b'{"title":"\\x41"}',
            b'{"title":"\xff"}',
            b'{"title":"\xed\xa0\x80"}',
            b'{"title":"\xc0\x80"}',
            b'\xef\xbb\xbf{"title":"x"}',
            '{"title":"x"}'.encode("utf-16"),
            '{"title":"x"}'.encode("utf-32-le"),
            b"[" * 100_000,
            b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
            b'{"title":' + b"9" * 10_000 + b"}",
            b"/* no comment */ {}",
        ],
        ids=lambda body: ascii(body[:30]),
    )
    async def test_what_is_not_json_is_400(
        self, client: httpx.AsyncClient, user: str, body: bytes
    ) -> None:
        answer = await client.post(tasks_of(user), content=body, headers=AS_JSON)

        assert answer.status_code == 400
        document = answer.json()
        assert document == problem(answer, Kind.INVALID_JSON, detail=document["detail"])
        assert WHY_NOT_JSON.fullmatch(document["detail"])

    @pytest.mark.requirement("FR-023")
    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            (rb'{"title":"cut \ud83d"}', "/title"),
            (rb'{"title":"x","description":"\udc00\ud83d"}', "/description"),
            (rb'{"title":"x","priority":"\ud83d"}', "/priority"),
            (rb'{"title":"x","tags":["a","\ud83d"]}', "/tags/1"),
            (rb'{"title":"x","\ud83d":1}', ""),
        ],
    )
    async def test_half_a_surrogate_pair_is_the_fault_of_its_field(
        self, client: httpx.AsyncClient, user: str, body: bytes, pointer: str
    ) -> None:
        answer = await client.post(tasks_of(user), content=body, headers=AS_JSON)

        fault = {
            "pointer": pointer,
            "code": "lone_surrogate",
            "detail": "must not contain an unpaired surrogate",
        }
        assert (answer.status_code, answer.json()["errors"]) == (422, [fault])

    @pytest.mark.requirement("FR-056")
    async def test_a_date_as_precondition_of_a_write_is_refused_and_not_ignored(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)

        answer = await client.patch(
            path_of(task),
            json={"title": "New"},
            headers={"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        )

        assert answer.status_code == 422
        assert answer.json()["errors"] == [unsupported("If-Unmodified-Since")]
        assert (await client.get(path_of(task))).json() == task

    @pytest.mark.requirement("FR-023")
    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    @pytest.mark.parametrize("streamed", [False, True], ids=["with length", "streamed"])
    async def test_one_where_none_is_read_is_refused(
        self, client: httpx.AsyncClient, user: str, method: str, *, streamed: bool
    ) -> None:
        task = await create(client, user)
        body = b'{"if_version": 1}'

        async def chunks() -> AsyncIterator[bytes]:
            yield body

        content = chunks() if streamed else body
        answer = await client.request(method, path_of(task), content=content, headers=AS_JSON)

        assert answer.status_code == 422
        fault = {
            "pointer": "",
            "code": "unknown",
            "detail": "must be empty: this operation takes no body",
        }
        assert answer.json()["errors"] == [fault]
        assert (await client.get(path_of(task))).json() == task

    @pytest.mark.requirement("FR-025")
    @pytest.mark.parametrize(
        "body",
        [
            b'{"title":"x","title":"x"}',
            b'{"title":"x","\\u0074itle":"y"}',
            b'{"title":"x","":1,"":2}',
            b'{"title":"x","unknown":[{"deep":{"a":1,"b":2,"a":3}}]}',
        ],
    )
    async def test_a_name_that_stands_twice_in_one_object_is_400(
        self, client: httpx.AsyncClient, user: str, body: bytes
    ) -> None:
        answer = await client.post(tasks_of(user), content=body, headers=AS_JSON)

        assert answer.status_code == 400
        assert answer.json() == problem(
            answer, Kind.INVALID_JSON, detail="An object in the body has the same name twice."
        )

    @pytest.mark.requirement("FR-025")
    async def test_a_name_may_stand_in_several_objects(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        body = b'{"title":"x","unknown":[{"title":1},{"title":1}]}'

        answer = await client.post(tasks_of(user), content=body, headers=AS_JSON)

        assert (answer.status_code, answer.json()["errors"]) == (422, [unknown(pointer="/unknown")])

    @pytest.mark.requirement("FR-009", "FR-025")
    async def test_any_escape_that_json_has_is_understood(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        body = b' {"ti\\u0074le" : "\\ud83e\\udd5b\\/\\t\\u00e9\xc3\xa9"}\r\n'

        answer = await client.post(tasks_of(user), content=body, headers=AS_JSON)

        assert (answer.status_code, answer.json()["title"]) == (201, "\U0001f95b/\t\xe9\xe9")

    @pytest.mark.requirement("FR-025")
    async def test_a_second_type_is_415(self, client: httpx.AsyncClient, user: str) -> None:
        types = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]

        answer = await client.post(tasks_of(user), content=b'{"title":"x"}', headers=types)

        assert answer.status_code == 415
        assert answer.json() == problem(answer, Kind.UNSUPPORTED_MEDIA_TYPE)

    @pytest.mark.requirement("FR-109")
    @pytest.mark.parametrize(
        "codings",
        [
            ["gzip"],
            ["GZIP"],
            ["br"],
            ["x"],
            ["identity, gzip"],
            ["identity", "gzip"],
            ["gzip, gzip"],
        ],
        ids=str,
    )
    async def test_one_that_is_compressed_is_415_whatever_its_type(
        self, client: httpx.AsyncClient, user: str, codings: list[str]
    ) -> None:
        for media_type in ("application/json", "text/plain"):
            headers = [
                ("Content-Type", media_type),
                *(("Content-Encoding", coding) for coding in codings),
            ]
            answer = await client.post(tasks_of(user), content=b"\x1f\x8b\x08", headers=headers)

            assert answer.status_code == 415
            assert answer.headers["accept-encoding"] == "identity"
            assert answer.json() == problem(
                answer,
                Kind.UNSUPPORTED_MEDIA_TYPE,
                detail="Send the body uncompressed, without the header Content-Encoding.",
            )

    @pytest.mark.requirement("FR-109")
    @pytest.mark.parametrize("coding", ["identity", "Identity", "IDENTITY", " identity ", ""])
    async def test_one_that_says_that_it_is_not_compressed_is_read(
        self, client: httpx.AsyncClient, user: str, coding: str
    ) -> None:
        answer = await client.post(
            tasks_of(user),
            content=b'{"title":"x"}',
            headers={**AS_JSON, "Content-Encoding": coding},
        )

        assert answer.status_code == 201

    @pytest.mark.requirement("FR-109")
    @pytest.mark.parametrize(
        ("operation", "status"),
        [("get_task", 200), ("delete_task", 204), ("toggle_task", 200), ("move_task", 422)],
    )
    @pytest.mark.parametrize(
        "headers",
        [{}, {"Content-Length": "0"}, {"Transfer-Encoding": "chunked"}],
        ids=["no body", "of length 0", "without chunks"],
    )
    async def test_an_empty_one_is_none(
        self,
        client: httpx.AsyncClient,
        user: str,
        operation: str,
        status: int,
        headers: dict[str, str],
    ) -> None:
        task = await create(client, user)
        without_body = ON_ONE_TASK[operation]._replace(body=None)

        answer = await send(client, without_body, user, task["id"], headers)

        assert answer.status_code == status

    @pytest.mark.requirement("FR-025")
    @pytest.mark.parametrize("streamed", [False, True], ids=["with length", "streamed"])
    async def test_256_kib_are_enough(
        self, client: httpx.AsyncClient, user: str, *, streamed: bool
    ) -> None:
        async def post(size: int) -> httpx.Response:
            body = b'{"title":"x"}'.ljust(size)

            async def stream() -> AsyncIterator[bytes]:
                for start in range(0, size, 10_000):
                    yield body[start : start + 10_000]

            return await client.post(
                tasks_of(user), content=stream() if streamed else body, headers=AS_JSON
            )

        accepted = await post(MAX_BYTES)
        refused = await post(MAX_BYTES + 1)

        assert ("content-length" in accepted.request.headers) == (not streamed)
        assert accepted.status_code == 201
        assert refused.status_code == 413
        assert refused.json() == problem(refused, Kind.BODY_TOO_LARGE)

    @pytest.mark.requirement("FR-025")
    async def test_an_endless_body_is_not_read_to_its_end(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1000
                yield b" " * 1000

        answer = await client.post(tasks_of(user), content=endless(), headers=AS_JSON)

        assert answer.status_code == 413
        assert sent < 33 * 1024 * 1024

    @pytest.mark.requirement("FR-025")
    @pytest.mark.parametrize(
        ("method", "media_type"),
        [
            ("POST", ""),
            ("POST", "text/plain"),
            ("POST", "application/x-www-form-urlencoded"),
            ("POST", "multipart/form-data; boundary=x"),
            ("POST", "application/jsonp"),
            ("POST", "application/json, text/plain"),
            ("POST", "application/vnd.api+json"),
            ("POST", "application/merge-patch+json"),
            ("PUT", "application/merge-patch+json"),
            ("PATCH", "application/json-patch+json"),
            ("PATCH", "text/json"),
            ("POST", "application/json; charset=utf-16"),
            ("POST", "application/json; charset=latin-1"),
            ("POST", "application/json; charset="),
            ("POST", "application/json; charset=utf-8; charset=utf-16"),
            ("POST", "application/json; charset"),
            ("POST", "application/json; charset=utf-8x"),
            ("POST", "charset=utf-8"),
        ],
    )
    async def test_what_is_not_announced_as_json_is_415(
        self, client: httpx.AsyncClient, user: str, method: str, media_type: str
    ) -> None:
        path = tasks_of(user) if method == "POST" else f"{tasks_of(user)}/{NO_TASK}"

        answer = await client.request(
            method, path, content=b'{"title":"x"}', headers={"Content-Type": media_type}
        )

        assert answer.status_code == 415
        assert answer.json() == problem(answer, Kind.UNSUPPORTED_MEDIA_TYPE)

    @pytest.mark.requirement("FR-025")
    async def test_a_body_of_no_type_is_415(self, client: httpx.AsyncClient, user: str) -> None:
        answer = await client.post(tasks_of(user), content=b'{"title":"x"}')

        assert "content-type" not in answer.request.headers
        assert answer.status_code == 415

    @pytest.mark.requirement("FR-025")
    @pytest.mark.parametrize(
        "media_type",
        [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            'application/json;charset="UTF-8"',
            "application/json; charset=utf8",
            "application/json; Charset=UTF8",
            "application/json;",
            " application/json ; version=1",
        ],
    )
    async def test_json_may_be_announced_in_any_way_that_http_has(
        self, client: httpx.AsyncClient, user: str, media_type: str
    ) -> None:
        answer = await client.post(
            tasks_of(user), content=b'{"title":"x"}', headers={"Content-Type": media_type}
        )

        assert answer.status_code == 201


class TestQueryParameters:
    async def _refused(self, app: FastAPI, client: httpx.AsyncClient, query: str) -> list[Any]:
        """Send the query to every operation there is; give what each has against it."""
        refusals = []
        for path, item in app.openapi()["paths"].items():
            for method in item:
                url = path.format(user_id="alice", task_id=NO_TASK)
                body = (
                    None if method in ("get", "delete") else {**REPLACEMENT, "is_completed": True}
                )
                answer = await client.request(method.upper(), f"{url}?{query}", json=body)
                assert answer.status_code == 422, (method, path)
                errors = answer.json()["errors"]
                assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=errors)
                refusals.append([error for error in errors if "parameter" in error])
        return refusals

    @pytest.mark.requirement("FR-024")
    @pytest.mark.parametrize("query", ["colour=red", "colour=", "colour", "c%6Flour=red"])
    async def test_an_unknown_one_is_refused_on_every_route(
        self, app: FastAPI, client: httpx.AsyncClient, query: str
    ) -> None:
        refusals = await self._refused(app, client, query)

        assert refusals == [[unknown(parameter="colour")]] * len(refusals)
        assert len(refusals) >= 9

    @pytest.mark.requirement("FR-024")
    async def test_an_unknown_one_that_is_repeated_is_both(
        self, app: FastAPI, client: httpx.AsyncClient
    ) -> None:
        refusals = await self._refused(app, client, "colour=red&colour=red")

        for refusal in refusals:
            assert len(refusal) == 2
            assert unknown(parameter="colour") in refusal
            assert repeated("colour") in refusal

    @pytest.mark.requirement("FR-024")
    @pytest.mark.parametrize("name", ["limit", "cursor"])
    async def test_a_known_one_that_is_repeated_is_refused(
        self, client: httpx.AsyncClient, user: str, name: str
    ) -> None:
        answer = await client.get(f"{tasks_of(user)}?{name}=1&{name}=1")

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[repeated(name)])

    @pytest.mark.requirement("FR-024")
    async def test_a_name_in_another_case_is_another_name(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        answer = await client.get(f"{tasks_of(user)}?Limit=1")

        assert answer.json() == problem(
            answer, Kind.INVALID_REQUEST, errors=[unknown("limit", parameter="Limit")]
        )


ALLOWED: Final = {
    "/api/v1/alice/tasks": "GET, HEAD, POST",
    "/api/v1/alice/tasks/summary": "GET, HEAD",
    "/api/v1/alice/tasks/changes": "GET, HEAD",
    "/api/v1/alice/tasks/batch": "POST",
    f"/api/v1/alice/tasks/{NO_TASK}": "DELETE, GET, HEAD, PATCH, PUT",
    f"/api/v1/alice/tasks/{NO_TASK}/complete": "PATCH",
    f"/api/v1/alice/tasks/{NO_TASK}/move": "POST",
    "/health": "GET, HEAD",
    "/health/ready": "GET, HEAD",
    "/openapi.json": "GET, HEAD",
    "/docs": "GET, HEAD",
    "/redoc": "GET, HEAD",
}


class TestMethods:
    @pytest.mark.requirement("FR-022", "FR-026")
    @pytest.mark.parametrize("path", ALLOWED)
    async def test_one_that_a_path_does_not_know_is_405_with_all_that_it_knows(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        methods = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"}

        for method in methods - set(ALLOWED[path].split(", ")):
            answer = await client.request(method, path)

            assert answer.status_code == 405
            assert answer.headers["allow"] == ALLOWED[path]
            assert answer.json() == problem(
                answer, Kind.METHOD_NOT_ALLOWED, detail=f"This path supports {ALLOWED[path]}."
            )

    @pytest.mark.requirement("FR-026", "FR-110")
    @pytest.mark.parametrize("method", ["get", "Get", "post"])
    async def test_one_in_lower_case_is_405_and_named_in_capital_letters(
        self, app: FastAPI, method: str
    ) -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url=BASE_URL
        ) as client:
            request = client.build_request("GET", "/api/v1/alice/tasks")
            request.method = method  # httpx would write it in uppercase

            answer = await client.send(request)

        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
        assert answer.json() == problem(
            answer,
            Kind.METHOD_NOT_ALLOWED,
            detail=f"Methods are case-sensitive: send {method.upper()} in uppercase.",
        )

    @pytest.mark.requirement("FR-026")
    async def test_every_documented_path_is_tried(self, app: FastAPI) -> None:
        documented = {
            path.format(user_id="alice", task_id=NO_TASK) for path in app.openapi()["paths"]
        }

        assert documented <= set(ALLOWED)

    @pytest.mark.requirement("FR-026")
    @pytest.mark.parametrize("path", [path for path in ALLOWED if "HEAD" in ALLOWED[path]])
    async def test_head_answers_what_get_answers_but_for_the_body(
        self, plain_client: httpx.AsyncClient, bodies: list[bytes], path: str
    ) -> None:
        headers = {"X-Request-ID": "the-same"}

        get = await plain_client.get(path, headers=headers)
        assert any(bodies)
        bodies.clear()
        head = await plain_client.head(path, headers=headers)

        assert not any(bodies)
        assert (head.status_code, head.headers) == (get.status_code, get.headers)

    @pytest.mark.requirement("FR-017", "FR-026")
    async def test_head_gives_the_tag_of_a_task_and_takes_it(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        path = path_of(task)

        first = await client.head(path)
        second = await client.head(path, headers={"If-None-Match": first.headers["etag"]})

        assert (first.status_code, first.headers["etag"]) == (200, tag_of(task))
        assert (second.status_code, second.headers["etag"]) == (304, tag_of(task))

    @pytest.mark.requirement("FR-026")
    async def test_of_the_scripts_of_the_documentation_are_listed_too(
        self, client: httpx.AsyncClient
    ) -> None:
        answer = await client.post("/static-offline-docs/favicon.png")

        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")

    @pytest.mark.requirement("FR-026")
    async def test_head_is_405_where_there_is_no_get(
        self, plain_client: httpx.AsyncClient, bodies: list[bytes]
    ) -> None:
        answer = await plain_client.head(f"/api/v1/alice/tasks/{NO_TASK}/complete")

        assert (answer.status_code, answer.headers["allow"]) == (405, "PATCH")
        assert not any(bodies)


class TestPaths:
    @pytest.mark.requirement("FR-022", "FR-026")
    @pytest.mark.parametrize(
        "path",
        [
            *(f"{path}/" for path in ALLOWED),
            "/",
            "/api/v1",
            "/api/v1/alice",
            "/api/v1//tasks",
            "/api/v1/alice//tasks",
            "/API/v1/alice/tasks",
            "/api/v1/al/ice/tasks",
            f"/api/v1/alice/tasks/{NO_TASK}/Complete",
            "/api/v1/alice/tasks%2F",
            *(f"{path}%0A" for path in ALLOWED),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
    async def test_one_that_nothing_is_served_at_is_404_and_never_redirected(
        self, client: httpx.AsyncClient, method: str, path: str
    ) -> None:
        answer = await client.request(method, path)

        assert answer.status_code == 404
        assert answer.json() == problem(answer, Kind.ROUTE_NOT_FOUND)
        assert "location" not in answer.headers


class TestRequestId:
    @pytest.mark.requirement("FR-027")
    @pytest.mark.parametrize("path", ["/health", "/nowhere", tasks_of("alice"), tasks_of(".")])
    @pytest.mark.parametrize("request_id", ["7", "a.b_C-9", "x" * 128])
    async def test_a_sane_one_is_taken_over_on_every_answer(
        self, client: httpx.AsyncClient, path: str, request_id: str
    ) -> None:
        answer = await client.get(path, headers={"X-Request-ID": request_id})

        assert answer.headers.get_list("x-request-id") == [request_id]

    @pytest.mark.requirement("FR-027")
    @pytest.mark.parametrize("path", ["/health", "/nowhere"])
    @pytest.mark.parametrize(
        "request_id",
        [b"", b" ", b"a b", b"x" * 129, b"caf\xc3\xa9", b"a\tb", b'"', b"a\n", b"a;b", b"${jndi}"],
    )
    async def test_any_other_is_replaced_by_one_that_the_server_makes(
        self, client: httpx.AsyncClient, path: str, request_id: bytes
    ) -> None:
        answer = await client.get(path, headers=[(b"X-Request-ID", request_id)])

        (made,) = answer.headers.get_list("x-request-id")
        assert UUID(made).version == 4

    @pytest.mark.requirement("FR-027")
    async def test_two_requests_have_two(self, client: httpx.AsyncClient) -> None:
        first, second = [await client.get("/health") for _ in range(2)]

        assert first.headers["x-request-id"] != second.headers["x-request-id"]
