"""The routes of a user's tasks: parse, call, answer."""

from typing import Annotated, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import WithJsonSchema

from src.api.deps import IdempotencyKey, Now, SessionDep, TaskId, UserId
from src.api.etags import (
    IfMatch,
    IfNoneMatch,
    IfNoneMatchAny,
    changes_response,
    created_response,
    list_response,
    summary_response,
    task_response,
    versions_in,
)
from src.api.openapi import (
    BODY,
    CHANGES_LISTED,
    SUMMARY_READ,
    TASK_CREATED,
    TASK_PUT,
    TASK_READ,
    TASK_WRITTEN,
    TASKS_LISTED,
    merge_patch_also_as_json,
)
from src.api.problems import Kind, problems
from src.api.strict import MERGE_PATCH, StrictRoute
from src.schemas.changes import ChangesQuery, TaskChanges
from src.schemas.query import TaskListQuery, TaskSummaryQuery
from src.schemas.task import (
    Task,
    TaskCompletion,
    TaskCreate,
    TaskMove,
    TaskPage,
    TaskReplace,
    TaskSummary,
    TaskUpdate,
)
from src.services import todo_service

_ON_CHANGE: Final = (
    Kind.TASK_NOT_FOUND,
    Kind.VERSION_MISMATCH,
    Kind.DATABASE_UNAVAILABLE,
    Kind.OUTCOME_UNKNOWN,
)

router: Final = APIRouter(
    prefix="/api/v1/{user_id}/tasks",
    tags=["tasks"],
    route_class=StrictRoute,
)

# The body may be left out, but it is never null: OpenAPI must not offer that.
_NEVER_NULL: Final = WithJsonSchema({"$ref": "#/components/schemas/TaskCompletion"})


@router.post(
    "",
    status_code=201,
    response_model=Task,
    responses=TASK_CREATED
    | problems(*BODY, Kind.TASK_DELETED, Kind.DATABASE_UNAVAILABLE, Kind.OUTCOME_UNKNOWN),
)
async def create_task(
    request: Request,
    session: SessionDep,
    user_id: UserId,
    task: TaskCreate,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a task. The server chooses its id, and `Location` is its path.

    With an `Idempotency-Key`, you can safely send the request again, even concurrently: only one
    task is created. Sent again with the same body, it returns 200 with the task as it is now;
    with another body, 422; after the task was deleted, 410.
    """
    created, is_new = await todo_service.create_task(session, user_id, task, key=idempotency_key)
    return created_response(created, f"{_path(request)}/{created.id}", is_new=is_new)


@router.get(
    "", response_model=TaskPage, responses=TASKS_LISTED | problems(Kind.DATABASE_UNAVAILABLE)
)
async def list_tasks(
    request: Request,
    session: SessionDep,
    user_id: UserId,
    query: Annotated[TaskListQuery, Query()],
    now: Now,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """List the user's tasks that match all filters, page by page.

    To read all pages, follow `next_cursor` until it is null, or the `Link` header until it is
    absent. Each task that does not change in the meantime appears exactly once. Ranges include
    their start (`after`) and exclude their end (`before`). A task without a due date matches no
    range of due dates.
    """
    seen = versions_in(if_none_match)
    page = await todo_service.list_tasks(session, user_id, query, now=now, seen=seen)
    return list_response(page, seen=if_none_match, next_url=_next_url(request, page.next_cursor))


@router.get(
    "/{task_id:task_id}",
    response_model=Task,
    responses=TASK_READ | problems(Kind.TASK_NOT_FOUND, Kind.DATABASE_UNAVAILABLE),
)
async def get_task(
    session: SessionDep,
    user_id: UserId,
    task_id: TaskId,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Read one task."""
    task = await todo_service.get_task(session, user_id, task_id)
    return task_response(task, seen=if_none_match)


@router.patch(
    "/{task_id:task_id}",
    response_model=Task,
    responses=TASK_WRITTEN | problems(*BODY, *_ON_CHANGE),
    openapi_extra=merge_patch_also_as_json("TaskUpdate"),
)
async def update_task(
    session: SessionDep,
    user_id: UserId,
    task_id: TaskId,
    changes: Annotated[TaskUpdate, Body(media_type=MERGE_PATCH)],
    if_match: IfMatch = None,
) -> Response:
    """Change some fields with a JSON merge patch (RFC 7396).

    Absent fields stay as they are; null clears `description`, `due_date` or `due_at`. An empty
    patch changes nothing, not even the version. Read-only fields are accepted and ignored,
    including `version`: so as not to overwrite the changes of others, send `If-Match`.
    """
    updated = await todo_service.update_task(session, user_id, task_id, changes, if_match=if_match)
    return task_response(updated)


@router.patch(
    "/{task_id:task_id}/complete",
    response_model=Task,
    responses=TASK_WRITTEN | problems(*BODY, *_ON_CHANGE),
)
async def complete_task(
    session: SessionDep,
    user_id: UserId,
    task_id: TaskId,
    completion: Annotated[TaskCompletion | None, Body(), _NEVER_NULL] = None,
    if_match: IfMatch = None,
) -> Response:
    """Send `{"is_completed": true}` to complete a task, `{"is_completed": false}` to reopen it.

    With a body you can safely send the request again. Without a body the task is toggled: an open
    task is completed, a completed one is reopened. Repeating a toggle reverses it.
    """
    is_completed = completion.is_completed if completion else None
    task = await todo_service.complete_task(
        session, user_id, task_id, is_completed=is_completed, if_match=if_match
    )
    return task_response(task)


@router.put(
    "/{task_id:task_id}",
    response_model=Task,
    responses=TASK_PUT | problems(*BODY, *_ON_CHANGE, Kind.TASK_EXISTS),
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
    """Replace a task: every writable field is required.

    You can send back what GET returned, with your changes: read-only fields are accepted and
    ignored. With `If-None-Match: *`, the task is created instead, under the id you choose; this
    also undoes a deletion.
    """
    replaced, is_new = await todo_service.replace_task(
        session,
        user_id,
        task_id,
        task,
        if_match=if_match,
        must_be_new=if_none_match is not None,
        must_exist="if-match" in request.headers,
    )
    if is_new:
        collection, _, _ = _path(request).rpartition("/")
        return created_response(replaced, f"{collection}/{replaced.id}", is_new=True)
    return task_response(replaced)


@router.post(
    "/{task_id:task_id}/move",
    response_model=Task,
    responses=TASK_WRITTEN | problems(*BODY, *_ON_CHANGE),
)
async def move_task(
    session: SessionDep,
    user_id: UserId,
    task_id: TaskId,
    move: TaskMove,
    if_match: IfMatch = None,
) -> Response:
    """Move a task to another place in the user's order: directly `after` or `before` another task.

    `{"after": null}` moves it to the top, `{"before": null}` to the end. Moving a task to where it
    is changes nothing, so you can safely send the request again. To list the tasks in this order,
    use `sort=position`. Sometimes tasks near that place get new positions, too; you see them
    in the changes.
    """
    task = await todo_service.move_task(session, user_id, task_id, move.place, if_match=if_match)
    return task_response(task)


@router.delete(
    "/{task_id:task_id}",
    status_code=204,
    response_description="The task was deleted.",
    responses=problems(*_ON_CHANGE),
)
async def delete_task(
    session: SessionDep, user_id: UserId, task_id: TaskId, if_match: IfMatch = None
) -> Response:
    """Delete a task permanently. Only its id, the time and a version remain."""
    await todo_service.delete_task(session, user_id, task_id, if_match=if_match)
    return Response(status_code=204)


@router.get(
    "/summary",
    response_model=TaskSummary,
    responses=SUMMARY_READ | problems(Kind.DATABASE_UNAVAILABLE),
)
async def get_summary(
    session: SessionDep,
    user_id: UserId,
    query: Annotated[TaskSummaryQuery, Query()],
    now: Now,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Count the user's tasks: all, open, completed, overdue and due today."""
    summary = await todo_service.get_summary(session, user_id, tz=query.tz, now=now)
    return summary_response(summary, seen=if_none_match)


@router.get(
    "/changes",
    response_model=TaskChanges,
    responses=CHANGES_LISTED | problems(Kind.LIST_RESTARTED, Kind.DATABASE_UNAVAILABLE),
)
async def list_changes(
    session: SessionDep,
    user_id: UserId,
    query: Annotated[ChangesQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """List the tasks that were created, changed or deleted since you last asked, each once.

    Start without `since`: you get all tasks. Then send the `next` of the last response as `since`:
    at once while `has_more` is true, and later whenever you want to know what has changed. Apply
    each response to your copy: store the tasks in `changed`, remove those in `deleted`. On 410,
    discard your copy and start again without `since`.
    """
    changes = await todo_service.list_changes(
        session, user_id, query, seen=versions_in(if_none_match)
    )
    return changes_response(changes, seen=if_none_match)


def _path(request: Request) -> str:
    """Return the path as the client wrote it, with what a URL cannot have percent-encoded."""
    path: bytes = request.scope["raw_path"]
    return quote(path, safe="/%:@+")


def _next_url(request: Request, cursor: str | None) -> str:
    """Return the URL of this request with another cursor."""
    return f"{_path(request)}?{urlencode({**request.query_params, 'cursor': cursor})}"
