"""What many tests use: tasks, their paths, the operations on them, pages, problems and rows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import event
from sqlalchemy.engine import Engine, ExecutionContext

from src.api.problems import Kind
from src.services.batch import WRITE_BATCH

REPLACEMENT: Final = {
    "title": "Buy oat milk",
    "description": "Two litres",
    "is_completed": False,
    "priority": "high",
    "due_date": "2026-12-24",
    "due_at": None,
    "tags": ["shopping"],
}
"""A whole task, as PUT wants it."""

NEW: Final = {"If-None-Match": "*"}
"""What makes a PUT create, under the id in its path."""

NO_TASK: Final = "01981f6e-3c00-7a3b-8a00-000000000001"
"""An id that no task has."""

CURSOR_MISMATCH: Final = {
    "parameter": "cursor",
    "code": "cursor_mismatch",
    "detail": "does not belong to this list; start again without a cursor",
}
"""The violation of a cursor that was not made for this list."""

KEY_REUSED: Final = {
    "header": "Idempotency-Key",
    "code": "idempotency_key_reused",
    "detail": "was used for a different request; use a new key for a new request",
}
"""The violation of a key that was used with another body."""

INVALID_TASK_ID: Final = {
    "parameter": "task_id",
    "code": "invalid_uuid",
    "detail": "must be a UUID such as 01981f6e-3c00-7a3b-8a00-000000000001",
}
"""The violation of a path with something else in place of a task's id."""

NO_ROWS: Final[dict[str, list[dict[str, Any]]]] = {
    "task_lists": [],
    "tasks": [],
    "task_tombstones": [],
}
"""The `rows_of` a user who has never written."""

AHEAD: Final = 2**52
"""A version that the clock reaches in the year 2112."""


@dataclass(frozen=True)
class After:
    """Equals each version that is later than this one."""

    version: int

    def __eq__(self, other: object) -> bool:
        return type(other) is int and other > self.version

    def __hash__(self) -> int:
        raise TypeError("it equals many versions")


class Operation(NamedTuple):
    """A request to a user's tasks, and the status that it should have.

    Names in braces in its path and headers are filled in, such as `{id}`. No body is sent if it is
    None.
    """

    method: str
    path: str = "/{id}"
    body: object = None
    headers: Mapping[str, str] = {}
    status: int = 200


READ_ONE_TASK: Final = {
    "get_task": Operation("GET"),
    "update_nothing": Operation("PATCH", body={}),
}
CHANGE_ONE_TASK: Final = {
    "replace_task": Operation("PUT", body=REPLACEMENT),
    "update_task": Operation("PATCH", body={"title": "Buy oat milk"}),
    "complete_task": Operation("PATCH", "/{id}/complete", {"is_completed": True}),
    "toggle_task": Operation("PATCH", "/{id}/complete"),
}
DELETE_ONE_TASK: Final = {"delete_task": Operation("DELETE")}
WRITE_ONE_TASK: Final = CHANGE_ONE_TASK | DELETE_ONE_TASK
MOVE_ONE_TASK: Final = {"move_task": Operation("POST", "/{id}/move", {"after": None})}
"""It changes nothing if the task is the first one already."""
ON_ONE_TASK: Final = READ_ONE_TASK | WRITE_ONE_TASK | MOVE_ONE_TASK


def each(operations: Mapping[str, object]) -> pytest.MarkDecorator:
    """Run a test with each of these as its `operation`."""
    return pytest.mark.parametrize("operation", operations.values(), ids=operations.keys())


def tasks_of(user: str) -> str:
    return f"/api/v1/{user}/tasks"


def path_of(task: dict[str, Any]) -> str:
    return f"{tasks_of(task['user_id'])}/{task['id']}"


def tag_of(task: dict[str, Any]) -> str:
    return f'"{task["version"]}"'


def list_tag_of(task: dict[str, Any]) -> str:
    """The tag of the list whose latest change made this task."""
    return f"W/{tag_of(task)}"


def version_in(answer: httpx.Response) -> int:
    """The version in the tag of a list."""
    return int(answer.headers["etag"].removeprefix('W/"').removesuffix('"'))


async def create(client: httpx.AsyncClient, user: str, **fields: object) -> dict[str, Any]:
    """Create a task, with a title unless the fields bring one; give it as it was answered."""
    answer = await client.post(tasks_of(user), json={"title": "Buy milk", **fields})
    assert answer.status_code == 201, answer.text
    task: dict[str, Any] = answer.json()
    return task


async def send(
    client: httpx.AsyncClient,
    operation: Operation,
    user: str,
    task_id: object,
    headers: Mapping[str, str] | None = None,
    **known: object,
) -> httpx.Response:
    """Send an operation to this user's tasks, filled in with a task's id and what else is known."""
    known = {"id": task_id, **known}
    filled = {name: value.format_map(known) for name, value in operation.headers.items()}
    return await client.request(
        operation.method,
        tasks_of(user) + operation.path.format_map(known),
        json=operation.body,
        headers={**filled, **(headers or {})},
    )


async def follow_links(
    client: httpx.AsyncClient, user: str, **parameters: str
) -> list[httpx.Response]:
    """Read a list to its end by its Link headers; give the answers, page by page."""
    answers: dict[str, httpx.Response] = {}
    link: str | None = f"{tasks_of(user)}?{urlencode(parameters)}"
    while link is not None:
        assert link not in answers, "the pages lead in a circle"
        answers[link] = answer = await client.get(link)
        assert answer.status_code == 200, answer.text
        link = answer.links.get("next", {}).get("url")
    return [*answers.values()]


class HasHeaders(Protocol):
    """An answer of any client."""

    @property
    def headers(self) -> Mapping[str, str]: ...


def problem(answer: HasHeaders, kind: Kind, **members: object) -> dict[str, object]:
    """The whole problem document of this kind, with the answer's own request id."""
    request_id = answer.headers["x-request-id"]
    return {
        "type": f"urn:task-api:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
        "instance": f"urn:task-api:request:{request_id}",
        "code": kind.code,
        "request_id": request_id,
        **members,
    }


def rows_of(database_url: str, user: str) -> dict[str, list[dict[str, Any]]]:
    """All that the database holds of a user, table by table."""
    with psycopg.connect(database_url, row_factory=psycopg.rows.dict_row) as connection:
        return {
            table: connection.execute(
                SQL("SELECT * FROM {} WHERE user_id = %s ORDER BY version").format(
                    Identifier(table)
                ),
                [user],
            ).fetchall()
            for table in ("task_lists", "tasks", "task_tombstones")
        }


def stop_clock(database_url: str, user: str) -> None:
    """Put the user's list at the version `AHEAD`, as if the clock had gone back since.

    From there on each change takes the next number, so that a test can count them.
    """
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO task_lists (user_id, version) VALUES (%s, %s)"
            " ON CONFLICT (user_id) DO UPDATE SET version = excluded.version",
            [user, AHEAD],
        )


@contextmanager
def changed_before_the_write(
    database_url: str,
    user: str,
    change: str = "UPDATE tasks SET title = 'theirs'",
    *,
    attempt: int = 1,
) -> Iterator[None]:
    """Let somebody change all tasks of the user once, when a batch has been read, before it writes.

    `change` is what they do, up to its WHERE; `attempt` is the attempt to write that comes after.
    """
    attempts = 0

    def interfere(
        _connection: object,
        _cursor: object,
        _text: str,
        _parameters: object,
        context: ExecutionContext,
        _many: object,
    ) -> None:
        nonlocal attempts
        attempts += context.invoked_statement is WRITE_BATCH
        if context.invoked_statement is WRITE_BATCH and attempts == attempt:
            with psycopg.connect(database_url) as connection:
                for statement in (
                    "UPDATE task_lists SET version = version + 1 WHERE user_id = %(user)s",
                    f"{change} WHERE user_id = %(user)s",
                    "UPDATE tasks SET version = task_lists.version FROM task_lists"
                    " WHERE tasks.user_id = %(user)s AND task_lists.user_id = tasks.user_id",
                ):
                    connection.execute(statement.encode(), {"user": user})

    event.listen(Engine, "before_cursor_execute", interfere)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", interfere)
    assert attempts >= attempt, "no batch has been written"
