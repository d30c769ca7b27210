"""What every answer must be, whichever test asked for it."""

from http import HTTPStatus
from typing import Final

import httpx

from src.schemas.batch import TaskBatchResult
from src.schemas.changes import TaskChanges
from src.schemas.problem import PROBLEM_MEDIA_TYPE, Problem
from src.schemas.task import Task, TaskPage, TaskSummary

# The pages of /docs and /redoc have a policy of their own.
SECURITY_HEADERS: Final = {
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


async def check_answer(answer: httpx.Response) -> None:
    """Hold an answer against the promises that all answers make."""
    await answer.aread()
    assert answer.headers["x-request-id"]
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
    if answer.status_code >= HTTPStatus.BAD_REQUEST:
        check_problem(answer)
    elif answer.status_code == HTTPStatus.NOT_MODIFIED or answer.request.method == "HEAD":
        assert answer.content == b""
    elif "/tasks" in answer.request.url.path and answer.status_code != HTTPStatus.NO_CONTENT:
        check_tasks(answer)


def check_problem(answer: httpx.Response) -> Problem:
    assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE
    problem = Problem.model_validate_json(answer.content)
    assert answer.headers["cache-control"] == "no-store"
    assert problem.status == answer.status_code
    assert problem.request_id == answer.headers["x-request-id"]
    assert problem.type.endswith(problem.code)
    for violation in problem.errors or ():
        named = (violation.pointer, violation.parameter, violation.header)
        assert len([place for place in named if place is not None]) == 1
    return problem


def check_tasks(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "private, no-cache"
    if answer.request.url.path.endswith("/summary"):
        TaskSummary.model_validate_json(answer.content)
        assert answer.headers["etag"].startswith('W/"')
    elif answer.request.url.path.endswith("/changes"):
        TaskChanges.model_validate_json(answer.content)
        assert answer.headers["etag"].startswith('W/"')
    elif answer.request.url.path.endswith("/batch"):
        TaskBatchResult.model_validate_json(answer.content)
        assert "etag" not in answer.headers
    elif "items" in answer.json():
        page = TaskPage.model_validate_json(answer.content)
        assert answer.headers["etag"].startswith('W/"')
        assert ("link" in answer.headers) == (page.next_cursor is not None)
    else:
        task = Task.model_validate_json(answer.content)
        assert answer.headers["etag"] == f'"{task.version}"'
