"""The operations that are measured: the request of each, and the answer that is expected."""

import http.client
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.data import task_id
from benchmarks.servers import OURS, SERVERS, RunningServer

TASKS: Final = "/api/v1/{user}/tasks"
TASK: Final = "/api/v1/{user}/tasks/{task}"
LONG_LIST: Final = "/api/v1/bench/tasks"
"""The list of the user who has 1,000 tasks."""

FIELDS: Final = {
    "id",
    "user_id",
    "title",
    "description",
    "is_completed",
    "completed_at",
    "priority",
    "due_date",
    "due_at",
    "tags",
    "position",
    "version",
    "created_at",
    "updated_at",
}


def is_task(answer: Any, **expected: object) -> bool:
    """Return whether this is a complete task with the expected values.

    The first build knows no positions.
    """
    return answer.keys() | {"position"} == FIELDS and all(
        answer[name] == expected[name] for name in expected
    )


def is_list_of(count: int, *, user_id: str) -> Callable[[Any], bool]:
    """Return a check for a list of this many tasks of the user, newest first."""

    def check(answer: Any) -> bool:
        tasks = answer["items"]
        ids = [task["id"] for task in tasks]
        return (
            len(tasks) == count
            and all(is_task(task, user_id=user_id) for task in tasks)
            and ids == sorted(ids, reverse=True)
        )

    return check


@dataclass(frozen=True)
class Operation:
    """A request. wrk.lua replaces `{user}` and `{task}` by those of a random task."""

    label: str
    method: str
    path: str
    is_right: Callable[[Any], bool]
    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    offered_by: Collection[str] = tuple(SERVERS)

    def request(self) -> str:
        """Give the whole request as it is sent."""
        headers = {"Host": "127.0.0.1", **self.headers}
        content = ""
        if self.body is not None:
            content = json.dumps(self.body)
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([f"{self.method} {self.path} HTTP/1.1", *lines, "", content])

    def verify(self, server: RunningServer) -> None:
        """Send the request once, for task number 1, and check the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        content = None if self.body is None else json.dumps(self.body)
        path = self.path.format(user="u00001", task=task_id(1))
        headers = {**self.headers, "Content-Type": "application/json"}
        connection.request(self.method, path, content, headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status != self.status or not self.is_right(answer and json.loads(answer)):
            raise SystemExit(
                f"{server.name}, {self.label}: {response.status} {answer[:1000].decode()}"
            )


OPERATIONS: Final = {
    "get": Operation(
        "get",
        "GET",
        TASK,
        lambda task: is_task(task, id=task_id(1), user_id="u00001"),
    ),
    "list-50": Operation(
        "list of 50", "GET", LONG_LIST + "?limit=50", is_list_of(50, user_id="bench")
    ),
    "list-1000": Operation(
        "list of 1,000", "GET", LONG_LIST + "?limit=1000", is_list_of(1000, user_id="bench")
    ),
    "create": Operation(
        "create",
        "POST",
        TASKS,
        lambda task: is_task(
            task, user_id="u00001", title="Buy milk", description="Two litres", is_completed=False
        ),
        body={"title": "Buy milk", "description": "Two litres"},
        status=201,
    ),
    "complete": Operation(
        "complete",
        "PATCH",
        TASK + "/complete",
        lambda task: is_task(task, id=task_id(1), is_completed=True) and task["completed_at"],
        body={"is_completed": True},
    ),
    "update": Operation(
        "update",
        "PATCH",
        TASK,
        lambda task: is_task(task, id=task_id(1), title="Buy more milk"),
        body={"title": "Buy more milk"},
    ),
    "move": Operation(
        "move",
        "POST",
        TASK + "/move",
        lambda task: is_task(task, id=task_id(1)),
        body={"after": None},
        offered_by=[OURS],
    ),
    "position-50": Operation(
        "by position",
        "GET",
        LONG_LIST + "?sort=position&limit=50",
        lambda answer: len(answer["items"]) == 50,
        offered_by=[OURS],
    ),
}
