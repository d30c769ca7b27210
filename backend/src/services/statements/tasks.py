"""The statements on one task. A write is one statement.

Its first part takes the next number of the user's counter and every other part reads from
it, for two reasons: the counter's row stays locked until the commit, so versions follow
the order of the commits; and a part that touched a task without waiting for the counter
would deadlock with another writer.

A write whose target is not there takes no number, so a miss writes nothing at all. The
target is looked up without a lock: a task that changes in between is checked again by
PostgreSQL when the write gets to it (READ COMMITTED), and then a number is lost. Versions
only have to grow.
"""

from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Select,
    any_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import BIGINT
from sqlalchemy.dialects.postgresql import insert as upsert

from src.models.task import INSTANT, TASK_PRIORITY
from src.services.statements.parts import TASK, USER, document, task_lists, task_tombstones, tasks

WRITABLE: Final = (
    "title",
    "description",
    "is_completed",
    "priority",
    "due_date",
    "due_at",
    "tags",
)
"""The fields that a client decides."""

_VERSIONS: Final = bindparam("versions", type_=ARRAY(BIGINT))


def _value(field: str) -> ColumnElement[Any]:
    value = bindparam(f"new_{field}", type_=tasks.c[field].type)
    # PostgreSQL takes an untyped parameter for text, which an enum column refuses.
    return cast(value, TASK_PRIORITY) if field == "priority" else value


def _next_version(*conditions: ColumnElement[bool]) -> CTE:
    """Take the user's next number, and the time it was taken at, if the conditions hold.

    The time is read once the counter is locked, so the times of a user's changes are in
    the order of their versions.
    """
    first = select(USER, literal_column("1", BIGINT)).where(*conditions)
    return (
        upsert(task_lists)
        .from_select(["user_id", "version"], first)
        .on_conflict_do_update(
            index_elements=["user_id"], set_={"version": task_lists.c.version + 1}
        )
        .returning(
            task_lists.c.user_id,
            task_lists.c.version,
            func.clock_timestamp(type_=INSTANT).label("at"),
        )
        .cte("change")
    )


def _target(*, conditional: bool) -> list[ColumnElement[bool]]:
    """Match the one task that is meant, `conditional` on its being at one of the versions."""
    is_task = [tasks.c.user_id == USER, tasks.c.id == TASK]
    return [*is_task, tasks.c.version == any_(_VERSIONS)] if conditional else is_task


def _task_of(cte: CTE) -> Select[tuple[int, bytes]]:
    return select(cte.c.version, document(cte))


def _create_task() -> Select[tuple[int, bytes]]:
    change = _next_version()
    values: dict[str, ColumnElement[Any]] = {
        "user_id": USER,
        "id": TASK,
        **{field: _value(field) for field in WRITABLE},
        "completed_at": case((_value("is_completed"), change.c.at)),
        "version": change.c.version,
        "created_at": change.c.at,
        "updated_at": change.c.at,
    }
    insertion = upsert(tasks).from_select(
        list(values), select(*list(values.values())).select_from(change)
    )
    created = (
        # The id is new, unless this is our own second try after a lost answer: then the row
        # is there, and setting its id to itself is what makes RETURNING show it.
        insertion.on_conflict_do_update(
            index_elements=["user_id", "id"], set_={"id": insertion.excluded.id}
        )
        .returning(tasks)
        .cte("created")
    )
    return _task_of(created)


def _get_task() -> Select[tuple[int, bytes]]:
    return select(tasks.c.version, document(tasks)).where(*_target(conditional=False))


@cache
def update_task(fields: frozenset[str], *, conditional: bool) -> Select[tuple[int, bytes]]:
    """Set `fields`: for PUT all of them, for PATCH those that the client sent."""
    return _change_task({field: _value(field) for field in fields}, conditional=conditional)


def _change_task(
    values: dict[str, ColumnElement[Any]], *, conditional: bool
) -> Select[tuple[int, bytes]]:
    target = _target(conditional=conditional)
    change = _next_version(exists().where(*target))
    if "is_completed" in values:
        values["completed_at"] = case(
            (values["is_completed"], func.coalesce(tasks.c.completed_at, change.c.at))
        )
    changed = (
        update(tasks)
        .where(*target, tasks.c.user_id == change.c.user_id)
        .values(**values, version=change.c.version, updated_at=change.c.at)
        .returning(tasks)
        .cte("changed")
    )
    return _task_of(changed)


def _toggle_task(*, conditional: bool) -> Select[tuple[int, bytes]]:
    return _change_task({"is_completed": ~tasks.c.is_completed}, conditional=conditional)


def _delete_task(*, conditional: bool) -> Select[tuple[int]]:
    target = _target(conditional=conditional)
    change = _next_version(exists().where(*target))
    gone = (
        delete(tasks)
        # Naming the counter here is what makes the deletion wait for it.
        .where(*target, tasks.c.user_id == change.c.user_id)
        .returning(tasks.c.id, change.c.version, change.c.at)
        .cte("gone")
    )
    remains = upsert(task_tombstones).from_select(
        ["user_id", "id", "version", "deleted_at"],
        select(USER, gone.c.id, gone.c.version, gone.c.at),
    )
    tombstone = (
        remains.on_conflict_do_update(
            index_elements=["user_id", "id"],
            set_={"version": remains.excluded.version, "deleted_at": remains.excluded.deleted_at},
        )
        .returning(task_tombstones.c.version)
        .cte("tombstone")
    )
    return select(tombstone.c.version)


CREATE_TASK: Final = _create_task()
GET_TASK: Final = _get_task()
TOGGLE_TASK: Final = {
    conditional: _toggle_task(conditional=conditional) for conditional in (False, True)
}
DELETE_TASK: Final = {
    conditional: _delete_task(conditional=conditional) for conditional in (False, True)
}
