"""The operations on a user's tasks. Each runs one SQL statement and returns the thing, or raises.

They know no HTTP. Every failure is one of `src.exceptions`. A task that is someone else's,
was deleted or never existed is `TaskNotFound`, always the same.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from psycopg.errors import InvalidParameterValue
from sqlmodel.ext.asyncio.session import AsyncSession

from src.database import Fetched, Statement, fetch, fetch_one, fetch_optional
from src.exceptions import TaskExists, TaskNotFound, UnknownTimeZone, VersionMismatch
from src.schemas.query import TaskListQuery
from src.schemas.task import TaskCreate, TaskReplace, TaskUpdate
from src.services import creation, statements
from src.services.creation import task_parameters
from src.services.cursors import encode_cursor
from src.services.documents import TaskDocument, TaskPage
from src.services.pages import plan_page, time_and_zone


async def create_task(
    session: AsyncSession, user_id: str, task: TaskCreate, *, key: str | None = None
) -> TaskDocument:
    """Create a task: under a new id, a UUIDv7 (RFC 9562), or under the id of the `key`.

    With a key the request can be sent again: once its task is there, it is given as it is now.

    Raises:
        TaskDeleted: the key's task was deleted.
        IdempotencyKeyReused: the key has made a task from another body.
    """
    if key is None:
        return await creation.create_new(session, user_id, task)
    return await creation.create_by_key(session, user_id, task, key)


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
    parameters = task_parameters(user_id, task_id, {})
    row = await fetch_optional(session, statements.GET_TASK, parameters, is_repeatable=True)
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
    must_be_new: bool = False,
    must_exist: bool = False,
) -> TaskDocument:
    """Set every writable field. If it `must_be_new`, create the task under this id instead.

    A task that was deleted can be created again, and then was never deleted. Whoever asks
    for both, that it is new and that it exists, is told which of the two does not hold.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: it is at none of the versions in `if_match`.
        TaskExists: it had to be new.
    """
    if must_be_new and must_exist:
        current = await get_task(session, user_id, task_id)
        # In the order of RFC 9110, section 13.2.2.
        is_outdated = if_match is not None and current.version not in if_match
        raise (VersionMismatch if is_outdated else TaskExists)(current.version, current.body)
    if must_be_new:
        return await creation.create_by_id(session, user_id, task_id, task)
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
    parameters = task_parameters(user_id, task_id, {})
    return await _change_task(session, statement, parameters, if_match, is_absolute=False)


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
    parameters = task_parameters(user_id, task_id, {})
    row, is_repeated = await _write(session, statement, parameters, if_match)
    # If an earlier try may have deleted it, to find nothing is to have succeeded.
    if row is None and not is_repeated:
        await _refuse(session, parameters, if_match)


async def _set_fields(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    values: Mapping[str, Any],
    if_match: frozenset[int] | None,
) -> TaskDocument:
    statement = statements.update_task(frozenset(values), conditional=if_match is not None)
    parameters = task_parameters(user_id, task_id, values)
    return await _change_task(session, statement, parameters, if_match)


async def _change_task(
    session: AsyncSession,
    statement: Statement,
    parameters: dict[str, Any],
    if_match: frozenset[int] | None,
    *,
    is_absolute: bool = True,
) -> TaskDocument:
    row, _ = await _write(session, statement, parameters, if_match, is_absolute=is_absolute)
    if row is None:
        await _refuse(session, parameters, if_match)
    return TaskDocument(parameters["the_task"], *row)


async def _write(
    session: AsyncSession,
    statement: Statement,
    parameters: dict[str, Any],
    if_match: frozenset[int] | None,
    *,
    is_absolute: bool = True,
) -> Fetched:
    """Run a write on one task. It may be repeated if it depends on nothing but itself."""
    if if_match is None:
        return await fetch(session, statement, parameters, is_repeatable=is_absolute)
    return await fetch(session, statement, parameters | {"versions": list(if_match)})


async def _refuse(
    session: AsyncSession, parameters: dict[str, Any], if_match: frozenset[int] | None
) -> NoReturn:
    """Tell why a write found nothing to write. Only a failed one looks again."""
    if if_match is None:
        raise TaskNotFound
    current = await get_task(session, parameters["the_user"], parameters["the_task"])
    raise VersionMismatch(current.version, current.body)


async def _fetch_zoned(
    session: AsyncSession, statement: Statement, parameters: dict[str, Any]
) -> tuple[Any, ...]:
    """Run a statement that names a zone. The database may have an older list of them."""
    try:
        return await fetch_one(session, statement, parameters, is_repeatable=True)
    except InvalidParameterValue:
        raise UnknownTimeZone from None
