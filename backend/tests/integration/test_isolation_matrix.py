"""Whatever of another user a request refers to, the answer is as if it had never existed.

The requests are made from the OpenAPI document: each operation, with each body that it takes and
each combination of references: ids, neighbours, versions, tags, positions, cursors, tokens and
keys. A reference is filled in with what another user has, with what that user has deleted, and
with what never was, and the answers are compared byte for byte. A name in the document that is
known neither as a reference nor as a plain value fails the tests, and so does a reference that is
part of no valid request.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain, combinations, product
from typing import Any, Final, NamedTuple
from uuid import uuid4

import httpx
import pytest

from tests.builders import create, path_of, rows_of, tag_of, tasks_of
from tests.contract.generated import openapi

pytestmark = pytest.mark.anyio

DOCUMENT: Final = openapi()

REFERENCES: Final = {
    *("task_id", "id", "after", "before", "position"),
    *("if_version", "If-Match", "If-None-Match"),
    *("cursor", "since", "Idempotency-Key"),
}
"""The names of values that can refer to what a user has."""

PLAIN: Final = {
    *("title", "description", "is_completed", "priority", "due_date", "due_at", "tags", "op"),
    *("tz", "limit", "include_total", "sort", "tag", "q", "due", "due_before", "due_after"),
    *("created_before", "created_after", "updated_after"),
    "user_id",  # without authentication, it says who asks
}
"""The names of values that refer to nothing."""

_MADE: Final = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|\d{16}(?:\.\d+)?"
)
"""The ids, times, versions and positions that a successful request makes."""


class Reference(NamedTuple):
    """A place in a request that can refer to what a user has."""

    place: str
    """Path, query, header or body."""
    keys: tuple[str | int, ...]
    """Its name, or the way to it in the body."""
    only: str | None = None
    """The only value that it can have."""

    @property
    def name(self) -> str:
        return str(self.keys[-1])


class Request(NamedTuple):
    """An operation with the smallest form of one of its bodies, and all that can refer."""

    name: str
    method: str
    path: str
    body: Any
    media_type: str | None
    references: tuple[Reference, ...]


class Owner(NamedTuple):
    """What somebody has, by the name that a request has for it."""

    user: str
    values: Mapping[str, Any]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        referred = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        schema = {**referred, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def reference(place: str, keys: tuple[str | int, ...], schema: dict[str, Any]) -> list[Reference]:
    """Give the reference that this value is, if it is one."""
    name = next(key for key in reversed(keys) if isinstance(key, str))
    assert (name in REFERENCES) != (name in PLAIN), f"{name}: is it a reference?"
    assert name in REFERENCES or "uuid" not in str(schema), f"{name}: is it no reference?"
    (only,) = schema["enum"] if schema.get("enum") == ["*"] else (None,)
    return [Reference(place, keys, only)] if name in REFERENCES else []


def bodies(
    schema: dict[str, Any], keys: tuple[str | int, ...] = ()
) -> Iterator[tuple[Any, list[Reference]]]:
    """Give the smallest body of each alternative, and the references that it can have."""
    schema = resolved(schema)
    items = resolved(schema.get("items", {}))
    if "oneOf" in schema:
        for alternative in schema["oneOf"]:
            yield from bodies(alternative, keys)
    elif "oneOf" in items or "properties" in items:
        yield from (([item], found) for item, found in bodies(items, (*keys, 0)))
    elif "properties" in schema:
        members = {
            name: [*bodies(member, (*keys, name))] for name, member in schema["properties"].items()
        }
        for chosen in product(*members.values()):
            body = {
                name: value
                for name, (value, _) in zip(members, chosen, strict=True)
                if name in schema.get("required", ())
            }
            yield body, [one for _, found in chosen for one in found]
    else:
        is_nullable = {"type": "null"} in schema.get("anyOf", ())
        example = schema.get("const", schema.get("examples", [None])[0])
        yield None if is_nullable else example, reference("body", keys, schema)


def requests() -> Iterator[Request]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            outside = [
                found
                for parameter in operation.get("parameters", ())
                for found in reference(parameter["in"], (parameter["name"],), parameter["schema"])
            ]
            contents = operation.get("requestBody", {}).get("content", {"": {"schema": {}}})
            media_type, content = next(iter(contents.items()))
            for body, inside in bodies(content["schema"]) if media_type else [(None, [])]:
                op = f" {body['operations'][0]['op']}" if "operations" in (body or {}) else ""
                name = operation["operationId"] + op
                yield Request(name, method.upper(), path, body, media_type, (*outside, *inside))


REQUESTS: Final = [request for request in requests() if "{user_id}" in request.path]


async def owner(client: httpx.AsyncClient, user: str, *, is_gone: bool = False) -> Owner:
    """Make somebody with three tasks, and perhaps delete what the references are to."""
    key = {"Idempotency-Key": f"key-{uuid4()}"}
    keyed = await client.post(tasks_of(user), json={"title": "Wash up"}, headers=key)
    neighbour, task = [await create(client, user) for _ in range(2)]
    page = (await client.get(tasks_of(user), params={"limit": 1})).json()
    changes = (await client.get(f"{tasks_of(user)}/changes")).json()
    for gone in (task, neighbour, keyed.json()) if is_gone else ():
        await client.delete(path_of(gone))
    return Owner(
        user,
        {
            "task_id": task["id"],
            "id": task["id"],
            "after": neighbour["id"],
            "before": neighbour["id"],
            "position": neighbour["position"],
            "if_version": task["version"],
            "If-Match": tag_of(task),
            "If-None-Match": f"{tag_of(task)}, W/{tag_of(task)}",
            "cursor": page["next_cursor"],
            "since": changes["next"],
            **key,
        },
    )


def nobody() -> Owner:
    """Make up what never was."""
    return Owner(
        "",
        {
            **dict.fromkeys(("task_id", "id", "after", "before"), str(uuid4())),
            "position": "1700000000000000",
            "if_version": 1700000000000000,
            **dict.fromkeys(("If-Match", "If-None-Match"), '"1700000000000000"'),
            **dict.fromkeys(("cursor", "since"), "bm90aGluZw"),
            "Idempotency-Key": f"key-{uuid4()}",
        },
    )


async def send(
    client: httpx.AsyncClient,
    request: Request,
    own: Owner,
    foreign: Owner,
    chosen: tuple[Reference, ...],
) -> httpx.Response:
    """Send a request as one user. The chosen references are to what another one has."""
    parts: dict[str, Any] = {
        "path": {"user_id": own.user, "task_id": None},
        "query": {},
        "header": {"X-Request-ID": "the-same"},
        "body": copy.deepcopy(request.body),
    }
    for reference in request.references:
        part = parts[reference.place]
        for key in reference.keys[:-1]:
            part = part[key]
        if reference in chosen or reference.keys[-1] in part:  # which it is if it is required
            owner = foreign if reference in chosen else own
            part[reference.keys[-1]] = reference.only or owner.values[reference.name]
    content: dict[str, Any] = {}
    if request.media_type:
        parts["header"]["Content-Type"] = request.media_type
        content["content"] = json.dumps(parts["body"])
    return await client.request(
        request.method,
        request.path.format_map(parts["path"]),
        params=parts["query"],
        headers=parts["header"],
        **content,
    )


def seen(answer: httpx.Response) -> object:
    """Give all that a client sees, without the names of what a success has made."""
    found = f"{sorted(answer.headers.items())}\n{answer.text}"
    return answer.status_code, _MADE.sub("…", found) if answer.is_success else found


class TestAReference:
    @pytest.mark.requirement("FR-013", "FR-132")
    @pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.name)
    async def test_to_what_is_foreign_is_one_to_what_never_was(
        self,
        client: httpx.AsyncClient,
        user: str,
        other_user: str,
        shared_database_url: str,
        request_: Request,
    ) -> None:
        theirs = await owner(client, other_user)
        deleted = await owner(client, f"{other_user}-2", is_gone=True)
        before = [rows_of(shared_database_url, each.user) for each in (theirs, deleted)]
        tried: set[Reference] = set()

        for number, chosen in enumerate(choices(request_.references)):
            own, control = [await owner(client, f"{user}-{number}-{n}") for n in range(2)]
            own_rows = rows_of(shared_database_url, own.user)
            absent, *answers = [
                await send(client, request_, own, of, chosen) for of in (nobody(), theirs, deleted)
            ]
            valid = await send(client, request_, control, control, chosen)

            names = [reference.name for reference in chosen]
            for answer in answers:
                assert seen(answer) == seen(absent), names
                assert answer.is_success or rows_of(shared_database_url, own.user) == own_rows
            if absent.is_success or not valid.is_error:
                tried.update(chosen)

        assert [rows_of(shared_database_url, each.user) for each in (theirs, deleted)] == before
        assert tried == {*request_.references}, "no valid request has this reference"


def choices(references: tuple[Reference, ...]) -> Iterator[tuple[Reference, ...]]:
    sizes = range(1, len(references) + 1)
    return chain.from_iterable(combinations(references, size) for size in sizes)
