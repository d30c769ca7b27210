"""The operations on a user's tasks. Each runs one SQL statement and returns the thing, or raises.

They know no HTTP. Every failure is one of `src.exceptions`. A task that is someone else's,
was deleted or never existed is `TaskNotFound`, always the same.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.errors import InvalidParameterValue
from sqlalchemy import Select
from sqlmodel.ext.asyncio.session import AsyncSession
from uuid6 import uuid7

from src.database import fetch_one, fetch_optional
from src.exceptions import TaskNotFound, UnknownTimeZone, VersionMismatch
from src.schemas.query import TaskListQuery
from src.schemas.task import TaskCreate, TaskReplace, TaskUpdate
from src.services import statements
from src.services.cursors import encode_cursor
from src.services.pages import plan_page, time_and_zone


class TaskDocument(NamedTuple):
    """A task as the wire has it: `body` is its JSON object in UTF-8."""

    id: UUID
    version: int
    body: bytes


class TaskPage(NamedTuple):
    """One page of a list: `items` is a JSON array of tasks in UTF-8.

    `version` is the number of the user's latest change, or None if the page also depends on
    the present time. A page of a version that the caller already has holds no items.
    """

    version: int | None
    items: bytes
    next_cursor: str | None
    total: int | None


async def create_task(session: AsyncSession, user_id: str, task: TaskCreate) -> TaskDocument:
    """Create a task under a new id, a UUIDv7 (RFC 9562).

    The id is made here, so that the statement can be sent again after a lost answer and
    still create one task.
    """
    task_id = uuid7()
    parameters = _of(user_id, task_id) | _new(task.model_dump())
    row = await fetch_one(session, statements.CREATE_TASK, parameters)
    return TaskDocument(task_id, *row)


async def list_tasks(
    session: AsyncSession,
    user_id: str,
    query: TaskListQuery,
    *,
    now: datetime,
    seen: frozenset[int] = frozenset(),
) -> TaskPage:
    """Read one page of the user's tasks, by keyset: a row that is left alone is seen exactly
    once, whatever else is written meanwhile.

    Raises:
        CursorMismatch: the cursor was not made for this user, these filters and this sort.
        UnknownTimeZone: the database does not know the zone.
    """
    shape, parameters = plan_page(user_id, query, now)
    # What the present time decides is not what the list's version tells: it is always read.
    parameters["versions"] = [] if query.depends_on_time else list(seen)
    row = await _fetch_zoned(session, statements.list_tasks(shape), parameters)
    version, items, keys, total = row
    next_cursor = keys and encode_cursor(keys, user_id=user_id, query=query.identity)
    return TaskPage(None if query.depends_on_time else version, items, next_cursor, total)


async def get_summary(session: AsyncSession, user_id: str, *, tz: str, now: datetime) -> bytes:
    """Count the user's tasks, those due today in the zone included. Gives the wire's JSON.

    Raises:
        UnknownTimeZone: the database does not know the zone.
    """
    parameters = {"the_user": user_id, **time_and_zone(now, tz)}
    (counts,) = await _fetch_zoned(session, statements.GET_SUMMARY, parameters)
    return bytes(counts)


async def get_task(session: AsyncSession, user_id: str, task_id: UUID) -> TaskDocument:
    """Read one task.

    Raises:
        TaskNotFound: the user has no such task.
    """
    row = await fetch_optional(session, statements.GET_TASK, _of(user_id, task_id))
    if row is None:
        raise TaskNotFound
    return TaskDocument(task_id, *row)


async def replace_task(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    task: TaskReplace,
    *,
    if_match: frozenset[int] | None = None,
) -> TaskDocument:
    """Set every writable field.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: it is at none of the versions in `if_match`.
    """
    return await _set_fields(session, user_id, task_id, task.model_dump(), if_match)


async def update_task(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    changes: TaskUpdate,
    *,
    if_match: frozenset[int] | None = None,
) -> TaskDocument:
    """Merge `changes` into the task (RFC 7396): what is absent stays, null clears.

    A task is due on a day or at an instant, so setting one clears the other.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: it is at none of the versions in `if_match`.
    """
    values = changes.model_dump(exclude_unset=True)
    for due, other in (("due_date", "due_at"), ("due_at", "due_date")):
        if values.get(due) is not None:
            values[other] = None
    return await _set_fields(session, user_id, task_id, values, if_match)


async def complete_task(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    *,
    is_completed: bool | None,
    if_match: frozenset[int] | None = None,
) -> TaskDocument:
    """Complete the task, or reopen it; with None, whichever it is not yet, atomically.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: it is at none of the versions in `if_match`.
    """
    if is_completed is not None:
        values = {"is_completed": is_completed}
        return await _set_fields(session, user_id, task_id, values, if_match)
    statement = statements.TOGGLE_TASK[if_match is not None]
    row = await _write(session, statement, _of(user_id, task_id), if_match)
    return TaskDocument(task_id, *row)


async def delete_task(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    *,
    if_match: frozenset[int] | None = None,
) -> None:
    """Delete the task for good. Its id and the time remain, as a tombstone.

    Raises:
        TaskNotFound: the user has no such task (any more).
        VersionMismatch: it is at none of the versions in `if_match`.
    """
    statement = statements.DELETE_TASK[if_match is not None]
    await _write(session, statement, _of(user_id, task_id), if_match)


async def _set_fields(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    values: Mapping[str, Any],
    if_match: frozenset[int] | None,
) -> TaskDocument:
    statement = statements.update_task(frozenset(values), conditional=if_match is not None)
    parameters = _of(user_id, task_id) | _new(values)
    row = await _write(session, statement, parameters, if_match)
    return TaskDocument(task_id, *row)


async def _write(
    session: AsyncSession,
    statement: Select[*tuple[Any, ...]],
    parameters: dict[str, Any],
    if_match: frozenset[int] | None,
) -> tuple[Any, ...]:
    """Run a write on one task. Only a failed one looks again, to tell why it failed."""
    if if_match is not None:
        parameters = parameters | {"versions": list(if_match)}
    row = await fetch_optional(session, statement, parameters)
    if row is None and if_match is not None:
        current = await get_task(session, parameters["the_user"], parameters["the_task"])
        raise VersionMismatch(current.version, current.body)
    if row is None:
        raise TaskNotFound
    return row


def _of(user_id: str, task_id: UUID) -> dict[str, Any]:
    return {"the_user": user_id, "the_task": task_id}


def _new(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"new_{field}": value for field, value in values.items()}


async def _fetch_zoned(
    session: AsyncSession, statement: Select[*tuple[Any, ...]], parameters: dict[str, Any]
) -> tuple[Any, ...]:
    """Run a statement that names a zone. The database may have an older list of them."""
    try:
        return await fetch_one(session, statement, parameters)
    except InvalidParameterValue:
        raise UnknownTimeZone from None
