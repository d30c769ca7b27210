"""The operations on a user's tasks. Each returns the result or raises. Most run one SQL statement.

They know no HTTP. Every failure is one of `src.exceptions`. A task that belongs to someone else,
was deleted or never existed is `TaskNotFound`, always the same.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple, NoReturn, cast
from uuid import UUID

from psycopg.errors import InvalidParameterValue
from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError
from sqlmodel.ext.asyncio.session import AsyncSession
from uuid6 import uuid7

from src.database import Effect, Outcome, run, transaction
from src.exceptions import (
    BatchFailed,
    DatabaseUnavailable,
    IdempotencyKeyReused,
    OutcomeUnknown,
    TaskDeleted,
    TaskExists,
    TaskNotFound,
    UnknownNeighbour,
    UnknownTimeZone,
    VersionMismatch,
)
from src.models.task import TaskRow
from src.schemas.batch import MoveOperation, Operation, is_conditional
from src.schemas.changes import ChangesQuery
from src.schemas.query import TaskListQuery
from src.schemas.task import Place, TaskCreate, TaskReplace, TaskSummary, TaskUpdate
from src.services import batch, listing, order, statements
from src.services.batch import Result
from src.services.changes import LIST_CHANGES, START, Changes, changes_of, read_token
from src.services.idempotency import fingerprint_of, task_id_of
from src.services.listing import Page
from src.services.order import NoRoom


class SavedTask(NamedTuple):
    """A task after a request to create it, and whether this request created it."""

    task: TaskRow
    is_new: bool


async def create_task(
    session: AsyncSession, user_id: str, task: TaskCreate, *, key: str | None
) -> SavedTask:
    """Create a task: under a new id, a UUIDv7 (RFC 9562), or under the id that the `key` gives.

    With a key the request can be sent again: once its task exists, it is returned as it is now.

    Raises:
        TaskDeleted: the key's task was deleted.
        IdempotencyKeyReused: the key was used with another body.
    """
    if key is not None:
        return await _create_by_key(session, user_id, task, key)
    # The id is fixed before the statement is first sent. That is what makes it idempotent.
    parameters = _parameters(user_id, uuid7(), task.model_dump())
    created = await run(session, statements.CREATE_TASK, parameters, Effect.IDEMPOTENT)
    return SavedTask(_task(created), is_new=True)


async def list_tasks(
    session: AsyncSession,
    user_id: str,
    query: TaskListQuery,
    *,
    now: datetime,
    seen: frozenset[int] = frozenset(),
) -> Page:
    """Read one page of the user's tasks, by keyset pagination: a task that is not changed
    meanwhile is seen exactly once.

    If the list is at one of the versions in `seen`, the page has no tasks.

    Raises:
        CursorMismatch: the cursor is damaged, or belongs to another user, filter or sort.
        UnknownTimeZone: the database does not know the time zone.
    """
    statement, parameters = listing.list_tasks(user_id, query, now=now, seen=seen)
    outcome = await _run_with_zone(session, statement, parameters)
    return listing.page_of(outcome.rows, user_id, query)


async def list_changes(
    session: AsyncSession,
    user_id: str,
    query: ChangesQuery,
    *,
    seen: frozenset[int],
) -> Changes:
    """Read the next changes and deletions since a token: each task once, as it is now.

    If the list is at one of the versions in `seen`, there are none.

    Raises:
        TokenMismatch: the token is damaged, or belongs to another user.
        ListRestarted: the token is of a list that was lost, or replaced by an older copy.
    """
    since = START if query.since is None else read_token(query.since, user_id)
    parameters = {
        "the_user": user_id,
        "since": since.version,
        "limit": query.limit,
        "versions": list(seen),
    }
    outcome = await run(session, LIST_CHANGES, parameters, Effect.READ)
    return changes_of(outcome.rows, user_id, since=since, limit=query.limit)


async def apply_batch(
    session: AsyncSession, user_id: str, operations: Sequence[Operation]
) -> list[Result]:
    """Carry out all operations in their order, or none of them.

    If the list changes between reading and writing, or there is no room for a task that is moved,
    the batch is worked out again, in a transaction that holds the list's lock.

    Raises:
        BatchFailed: some of the operations cannot be carried out.
    """
    operations = batch.with_ids(operations)
    may_have_run = False
    with suppress(NoRoom):
        results, may_have_run = await _try_batch(session, user_id, operations)
        if results is not None:
            return results
    with _outcome_unknown_on_failure(may_have_run=may_have_run):
        return await _apply_locked(session, user_id, operations)


async def get_summary(
    session: AsyncSession, user_id: str, *, tz: str, now: datetime
) -> TaskSummary:
    """Count the user's tasks, including those due today in the time zone.

    Raises:
        UnknownTimeZone: the database does not know the time zone.
    """
    parameters = {"the_user": user_id, **listing.time_parameters(now, tz)}
    counts = await _run_with_zone(session, listing.GET_SUMMARY, parameters)
    (row,) = counts.rows
    return TaskSummary.model_validate(row._mapping)  # noqa: SLF001 — its documented name


async def get_task(session: AsyncSession, user_id: str, task_id: UUID) -> TaskRow:
    """Read one task.

    Raises:
        TaskNotFound: the user has no such task.
    """
    found = await run(session, statements.GET_TASK, _parameters(user_id, task_id), Effect.READ)
    if not found.rows:
        raise TaskNotFound
    return _task(found)


async def replace_task(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    task: TaskReplace,
    *,
    if_match: frozenset[int] | None,
    must_be_new: bool,
    must_exist: bool,
) -> SavedTask:
    """Set every writable field. If it `must_be_new`, create the task under this id instead.

    A deleted task can be created again, and then counts as never deleted. With both `must_be_new`
    and `must_exist`, the error tells which of them is not met.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: the task is at none of the versions in `if_match`.
        TaskExists: it had to be new.
    """
    if must_be_new and must_exist:
        # In the order of RFC 9110, section 13.2.2.
        raise TaskExists(await _keep_task(session, user_id, task_id, if_match))
    if must_be_new:
        return await _create_by_id(session, user_id, task_id, task)
    # Without a position, the task keeps its place.
    values = task.model_dump(exclude_unset=True)
    replaced = await _set_fields(session, user_id, task_id, values, if_match)
    return SavedTask(replaced, is_new=False)


async def update_task(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    changes: TaskUpdate,
    *,
    if_match: frozenset[int] | None,
) -> TaskRow:
    """Merge `changes` into the task (RFC 7396). An empty patch writes nothing.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: the task is at none of the versions in `if_match`.
    """
    values = changes.to_values()
    if not values:
        return await _keep_task(session, user_id, task_id, if_match)
    return await _set_fields(session, user_id, task_id, values, if_match)


async def complete_task(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    *,
    is_completed: bool | None,
    if_match: frozenset[int] | None,
) -> TaskRow:
    """Complete the task, or reopen it; with None, toggle it atomically.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: the task is at none of the versions in `if_match`.
    """
    if is_completed is not None:
        values = {"is_completed": is_completed}
        return await _set_fields(session, user_id, task_id, values, if_match)
    parameters = _parameters(user_id, task_id)
    return await _change_task(
        session, statements.TOGGLE_TASK, parameters, if_match, Effect.NOT_REPEATABLE
    )


async def move_task(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    place: Place,
    *,
    if_match: frozenset[int] | None,
) -> TaskRow:
    """Move the task to another place in the user's order, unless it is already there.

    If the list changes while the statement waits, or there is no room at the place, the task is
    moved in a transaction that holds the list's lock.

    Raises:
        TaskNotFound: the user has no such task.
        UnknownNeighbour: the user has no such task to move it next to.
        VersionMismatch: the task is at none of the versions in `if_match`.
    """
    if place.neighbour == task_id:
        return await _keep_task(session, user_id, task_id, if_match)
    statement = order.move_task(place.side, has_neighbour=place.neighbour is not None)
    parameters = _parameters(user_id, task_id) | {"the_neighbour": place.neighbour}
    moved = await _write(session, statement, parameters, if_match, Effect.IDEMPOTENT)
    if not moved.rows:
        await _raise_if_uncertain(session, parameters, moved)
        raise TaskNotFound
    (row,) = moved.rows
    task = _task(moved)
    if not row.is_found:
        await _raise_if_uncertain(session, parameters | {"the_task": place.neighbour}, moved)
        raise UnknownNeighbour(place.side)
    if not row.is_current:
        raise VersionMismatch(task)
    if row.is_moved or row.is_there:
        return task
    fields: dict[str, Any] = {"op": "move", "id": task_id, place.side: place.neighbour}
    if if_match is not None:
        fields["if_version"] = task.version
    operation = MoveOperation.model_construct(**fields)
    try:
        with _outcome_unknown_on_failure(may_have_run=moved.may_have_run_before):
            (result,) = await _apply_locked(session, user_id, [operation])
    except BatchFailed as failed:
        raise failed.failures[0] from None
    return cast("TaskRow", result.task)


async def delete_task(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    *,
    if_match: frozenset[int] | None,
) -> None:
    """Delete the task for good. Its id, the time and a version remain, as a tombstone.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: the task is at none of the versions in `if_match`.
    """
    parameters = _parameters(user_id, task_id)
    deleted = await _write(session, statements.DELETE_TASK, parameters, if_match, Effect.IDEMPOTENT)
    if deleted.rows or await _may_have_deleted(session, parameters, deleted):
        return
    await _raise_no_match(session, parameters, if_match)


@contextmanager
def _outcome_unknown_on_failure(*, may_have_run: bool) -> Iterator[None]:
    """If an earlier attempt may have changed something, let no error claim the opposite."""
    try:
        yield
    except (BatchFailed, DatabaseUnavailable) as error:
        if may_have_run:
            raise OutcomeUnknown(str(error)) from error
        raise


async def _try_batch(
    session: AsyncSession,
    user_id: str,
    operations: Sequence[Operation],
    around: Collection[UUID] = (),
) -> tuple[list[Result] | None, bool]:
    """Read, work out and write a batch. There are no results if the list has changed in between.

    Then the second value tells whether an attempt may have written the batch all the same.

    Raises:
        BatchFailed: some of the operations cannot be carried out.
        NoRoom: there is no room for a task, unless more tasks around are moved.
    """
    parameters = batch.read_parameters(user_id, operations, around)
    read = await run(session, batch.READ_BATCH, parameters, Effect.READ)
    plan = batch.Plan(read.rows)
    results = plan.run(user_id, operations)
    if plan.is_empty:
        return results, False
    written = await run(
        session,
        batch.WRITE_BATCH,
        {"the_user": user_id, **plan.parameters()},
        # Sent again, an operation on a version would conflict with its first attempt.
        Effect.NOT_REPEATABLE if any(map(is_conditional, operations)) else Effect.IDEMPOTENT,
    )
    if written.rows or not written.may_have_run_before:
        return results if written.rows else None, False
    with _outcome_unknown_on_failure(may_have_run=True):
        read = await run(session, batch.READ_BATCH, parameters, Effect.READ)
    return (results, False) if plan.is_found_in(read.rows) else (None, True)


async def _apply_locked(
    session: AsyncSession, user_id: str, operations: Sequence[Operation]
) -> list[Result]:
    """Carry out a batch while nobody else can change the list.

    As often as there is no room for a task, more of the tasks around are read, to be moved, too.
    """
    around: set[UUID] = set()
    limit = order.TASKS_AROUND
    async with transaction(session):
        await run(session, batch.LOCK_LIST, {"the_user": user_id}, Effect.READ)
        while True:
            try:
                results, _ = await _try_batch(session, user_id, operations, around)
                break
            except NoRoom as error:
                parameters = {"the_user": user_id, "near": error.near, "limit": limit}
            near = await run(session, order.TASKS_NEAR, parameters, Effect.READ)
            around.update(row.id for row in near.rows)
            limit *= 8
    if results is None:  # pragma: no cover — nobody else can change a list that is locked
        raise AssertionError
    return results


async def _create_by_key(
    session: AsyncSession, user_id: str, task: TaskCreate, key: str
) -> SavedTask:
    """Create the task of this key, or return it as it is now.

    A task that a lost attempt of this very request may have created counts as new. It may have
    existed before, but that cannot be determined any more, and the client has not seen the answer.
    """
    parameters = _parameters(user_id, task_id_of(user_id, key), task.model_dump())
    parameters["the_fingerprint"] = fingerprint_of(task)
    found = await run(session, statements.CREATE_TASK_BY_KEY, parameters, Effect.IDEMPOTENT)
    if not found.rows:
        raise TaskDeleted
    (row,) = found.rows
    if not row.is_same:
        raise IdempotencyKeyReused
    return SavedTask(_task(found), is_new=row.is_new or found.may_have_run_before)


async def _create_by_id(
    session: AsyncSession, user_id: str, task_id: UUID, task: TaskReplace
) -> SavedTask:
    """Create the task under the client's id, which a deleted task may have had."""
    parameters = _parameters(user_id, task_id, task.model_dump())
    parameters["the_fingerprint"] = None
    # A second attempt could not tell its own task from another one.
    found = await run(session, statements.CREATE_TASK_BY_ID, parameters, Effect.NOT_REPEATABLE)
    (row,) = found.rows
    if not row.is_new:
        raise TaskExists(_task(found))
    return SavedTask(_task(found), is_new=True)


async def _set_fields(
    session: AsyncSession,
    user_id: str,
    task_id: UUID,
    values: Mapping[str, Any],
    if_match: frozenset[int] | None,
) -> TaskRow:
    statement = statements.update_task(frozenset(values))
    parameters = _parameters(user_id, task_id, values)
    return await _change_task(session, statement, parameters, if_match, Effect.IDEMPOTENT)


async def _keep_task(
    session: AsyncSession, user_id: str, task_id: UUID, if_match: frozenset[int] | None
) -> TaskRow:
    """Read a task that is not to be changed, but should be at one of these versions."""
    task = await get_task(session, user_id, task_id)
    if if_match is not None and task.version not in if_match:
        raise VersionMismatch(task)
    return task


async def _change_task(
    session: AsyncSession,
    statement: Executable,
    parameters: dict[str, Any],
    if_match: frozenset[int] | None,
    effect: Effect,
) -> TaskRow:
    changed = await _write(session, statement, parameters, if_match, effect)
    if not changed.rows:
        await _raise_if_uncertain(session, parameters, changed)
        await _raise_no_match(session, parameters, if_match)
    return _task(changed)


async def _write(
    session: AsyncSession,
    statement: Executable,
    parameters: dict[str, Any],
    if_match: frozenset[int] | None,
    effect: Effect,
) -> Outcome:
    """Run a write on one task. With `if_match`, a second attempt would conflict with the first."""
    if if_match is not None:
        effect = Effect.NOT_REPEATABLE
    versions = None if if_match is None else list(if_match)
    return await run(session, statement, parameters | {"versions": versions}, effect)


async def _may_have_deleted(
    session: AsyncSession, parameters: dict[str, Any], failed: Outcome
) -> bool:
    """Tell whether an uncertain write was followed by a deletion: the task has a tombstone."""
    if not failed.may_have_run_before:
        return False
    with _outcome_unknown_on_failure(may_have_run=True):
        tombstone = await run(session, statements.GET_TOMBSTONE, parameters, Effect.READ)
    return bool(tombstone.rows)


async def _raise_if_uncertain(
    session: AsyncSession, parameters: dict[str, Any], failed: Outcome
) -> None:
    """Raise OutcomeUnknown if a change may have been made before its task was deleted."""
    if await _may_have_deleted(session, parameters, failed):
        raise OutcomeUnknown("the task was deleted after an attempt that may have been executed")


async def _raise_no_match(
    session: AsyncSession, parameters: dict[str, Any], if_match: frozenset[int] | None
) -> NoReturn:
    """Raise the reason why a write matched no task. Only a failed write reads the task again."""
    if if_match is None:
        raise TaskNotFound
    raise VersionMismatch(await get_task(session, parameters["the_user"], parameters["the_task"]))


async def _run_with_zone(
    session: AsyncSession, statement: Executable, parameters: dict[str, Any]
) -> Outcome:
    """Run a statement that names a time zone. The database may have an older list of them."""
    try:
        return await run(session, statement, parameters, Effect.READ)
    except DBAPIError as error:
        if isinstance(error.orig, InvalidParameterValue):
            raise UnknownTimeZone from None
        raise


def _parameters(
    user_id: str, task_id: UUID, values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Name the task, and the new values of its fields."""
    new = {f"new_{field}": value for field, value in (values or {}).items()}
    return {"the_user": user_id, "the_task": task_id, **new}


def _task(outcome: Outcome) -> TaskRow:
    (row,) = outcome.rows
    return statements.task_of(row)
