"""The routes of a user's tasks: parse, call, answer."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import WithJsonSchema

from src.api.conditional import (
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    IfNoneMatchAny,
    created_response,
    list_response,
    summary_response,
    task_response,
    versions_in,
)
from src.api.deps import Now, SessionDep, TaskId, UserId
from src.api.documentation import merge_patch_also_as_json, operation_id
from src.api.kinds import (
    DATABASE_UNAVAILABLE,
    KEY_SPENT,
    OUTCOME_UNKNOWN,
    TASK_EXISTS,
    TASK_NOT_FOUND,
    VERSION_MISMATCH,
)
from src.api.responses import (
    BODY,
    SUMMARY_READ,
    TASK_CREATED,
    TASK_DELETED,
    TASK_PUT,
    TASK_READ,
    TASK_WRITTEN,
    TASKS_LISTED,
    problems,
)
from src.api.routing import MERGE_PATCH, StrictRoute
from src.schemas.query import TaskListQuery, TaskSummaryQuery
from src.schemas.task import (
    Task,
    TaskCompletion,
    TaskCreate,
    TaskPage,
    TaskReplace,
    TaskSummary,
    TaskUpdate,
)
from src.services import todo_service

_OF_A_CHANGE: Final = (TASK_NOT_FOUND, VERSION_MISMATCH, DATABASE_UNAVAILABLE, OUTCOME_UNKNOWN)

router: Final = APIRouter(
    prefix="/api/v1/{user_id}/tasks",
    tags=["tasks"],
    route_class=StrictRoute,
    generate_unique_id_function=operation_id,
)

# The body may be left out, but null is none: OpenAPI must not offer it.
_NEVER_NULL: Final = WithJsonSchema({"$ref": "#/components/schemas/TaskCompletion"})


@router.post(
    "",
    status_code=201,
    response_model=Task,
    responses=TASK_CREATED | problems(*BODY, KEY_SPENT, DATABASE_UNAVAILABLE),
)
async def create_task(
    request: Request,
    session: SessionDep,
    user_id: UserId,
    task: TaskCreate,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a task. The server gives it an id, and `Location` says where it is.

    With an `Idempotency-Key` this may be sent again as often as you like, and at the same
    time: one task is made. Again with the same body the answer is 200 with the task as it
    is now, with another body 422, and 410 after the task was deleted.
    """
    created = await todo_service.create_task(session, user_id, task, key=idempotency_key)
    return created_response(created, f"{_path(request)}/{created.id}")


@router.get("", response_model=TaskPage, responses=TASKS_LISTED | problems(DATABASE_UNAVAILABLE))
async def list_tasks(
    request: Request,
    session: SessionDep,
    user_id: UserId,
    query: Annotated[TaskListQuery, Query()],
    now: Now,
    if_none_match: IfNoneMatch,
) -> Response:
    """List the user's tasks: those that match all filters, in any order, in pages.

    Follow `next_cursor`, or the `Link` header, to the end: every task that is left alone
    meanwhile is seen exactly once. Ranges are half-open (after is inclusive, before is not),
    and a task that lacks the time in question matches none.
    """
    seen = versions_in(if_none_match)
    page = await todo_service.list_tasks(session, user_id, query, now=now, seen=seen)
    return list_response(page, seen=if_none_match, next_page=_next_page(request, page.next_cursor))


@router.get(
    "/summary",
    response_model=TaskSummary,
    responses=SUMMARY_READ | problems(DATABASE_UNAVAILABLE),
)
async def get_summary(
    session: SessionDep,
    user_id: UserId,
    query: Annotated[TaskSummaryQuery, Query()],
    now: Now,
    if_none_match: IfNoneMatch,
) -> Response:
    """Count the user's tasks, and of the open ones those overdue and those due today."""
    summary = await todo_service.get_summary(session, user_id, tz=query.tz, now=now)
    return summary_response(summary, seen=if_none_match)


@router.get(
    "/{task_id:task_id}",
    response_model=Task,
    responses=TASK_READ | problems(TASK_NOT_FOUND, DATABASE_UNAVAILABLE),
)
async def get_task(
    session: SessionDep,
    user_id: UserId,
    task_id: TaskId,
    if_none_match: IfNoneMatch,
) -> Response:
    """Read one task."""
    task = await todo_service.get_task(session, user_id, task_id)
    return task_response(task, seen=if_none_match)


@router.put(
    "/{task_id:task_id}",
    response_model=Task,
    responses=TASK_PUT
    | problems(
        *BODY, TASK_NOT_FOUND, VERSION_MISMATCH, TASK_EXISTS, DATABASE_UNAVAILABLE, OUTCOME_UNKNOWN
    ),
)
async def replace_task(
    request: Request,
    session: SessionDep,
    user_id: UserId,
    task_id: TaskId,
    task: TaskReplace,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatchAny = None,
) -> Response:
    """Replace a task: every writable field must be there.

    Send back what GET gave, changed: the read-only fields in it are accepted and ignored.
    With `If-None-Match: *` the task is created instead, under the id of your choice; this
    also undoes a deletion.
    """
    written = await todo_service.replace_task(
        session,
        user_id,
        task_id,
        task,
        if_match=if_match,
        must_be_new=if_none_match is not None,
        must_exist="if-match" in request.headers,
    )
    return created_response(written, _path(request)) if written.is_new else task_response(written)


@router.patch(
    "/{task_id:task_id}",
    response_model=Task,
    responses=TASK_WRITTEN | problems(*BODY, *_OF_A_CHANGE),
    openapi_extra=merge_patch_also_as_json("TaskUpdate"),
)
async def update_task(
    session: SessionDep,
    user_id: UserId,
    task_id: TaskId,
    changes: Annotated[TaskUpdate, Body(media_type=MERGE_PATCH)],
    if_match: IfMatch = None,
) -> Response:
    """Change some fields, by JSON merge patch (RFC 7396): absent keeps, null clears."""
    updated = await todo_service.update_task(session, user_id, task_id, changes, if_match=if_match)
    return task_response(updated)


@router.patch(
    "/{task_id:task_id}/complete",
    response_model=Task,
    responses=TASK_WRITTEN | problems(*BODY, *_OF_A_CHANGE),
)
async def complete_task(
    session: SessionDep,
    user_id: UserId,
    task_id: TaskId,
    completion: Annotated[TaskCompletion | None, Body(), _NEVER_NULL] = None,
    if_match: IfMatch = None,
) -> Response:
    """Complete a task, or reopen it.

    With a body, the state is set: this may be sent again without harm. Without a body it is
    toggled, atomically; a toggle that is sent again toggles back, so prefer the body wherever
    an answer can get lost.
    """
    is_completed = completion.is_completed if completion else None
    task = await todo_service.complete_task(
        session, user_id, task_id, is_completed=is_completed, if_match=if_match
    )
    return task_response(task)


@router.delete(
    "/{task_id:task_id}",
    status_code=204,
    responses=TASK_DELETED | problems(*_OF_A_CHANGE),
)
async def delete_task(
    session: SessionDep, user_id: UserId, task_id: TaskId, if_match: IfMatch = None
) -> Response:
    """Delete a task for good. Only its id and the time remain, as a tombstone."""
    await todo_service.delete_task(session, user_id, task_id, if_match=if_match)
    return Response(status_code=204)


def _path(request: Request) -> str:
    """The path as the client wrote it, percent-encoded."""
    path: bytes = request.scope["raw_path"]
    return path.decode("ascii")


def _next_page(request: Request, cursor: str | None) -> str:
    """The same request with another cursor."""
    return f"{_path(request)}?{urlencode({**request.query_params, 'cursor': cursor})}"
