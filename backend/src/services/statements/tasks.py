"""The statements on a task that is there. A write is one statement.

Its first part takes the next number of the user's counter and every other part reads from
it, for two reasons: the counter's row stays locked until the commit, so versions follow
the order of the commits; and a part that touched a task without waiting for the counter
would deadlock with another writer.

A write whose target is not there takes no number, so a miss writes nothing at all. The
target is looked up without a lock: a task that changes in between is checked again by
PostgreSQL when the write gets to it (READ COMMITTED), and then a number is lost. Versions
only have to grow.
"""

from functools import cache, partial
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    any_,
    bindparam,
    case,
    delete,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import BIGINT
from sqlalchemy.dialects.postgresql import insert as upsert

from src.database import Statement
from src.services.statements.counter import new_value, next_version, task_of
from src.services.statements.parts import TASK, USER, document, task_tombstones, tasks

_VERSIONS: Final = bindparam("versions", type_=ARRAY(BIGINT))


def _target(*, conditional: bool) -> list[ColumnElement[bool]]:
    """Match the one task that is meant, `conditional` on its being at one of the versions."""
    is_task = [tasks.c.user_id == USER, tasks.c.id == TASK]
    return [*is_task, tasks.c.version == any_(_VERSIONS)] if conditional else is_task


def _get_task() -> Select[tuple[int, bytes]]:
    return select(tasks.c.version, document(tasks)).where(*_target(conditional=False))


@cache
def update_task(fields: frozenset[str], *, conditional: bool) -> Statement:
    """Set `fields`: for PUT all of them, for PATCH those that the client sent.

    Gives the task's version and the task, or no row.
    """
    return Statement(partial(_update_task, fields, conditional=conditional))


def _update_task(fields: frozenset[str], *, conditional: bool) -> Select[tuple[int, bytes]]:
    return _change_task({field: new_value(field) for field in fields}, conditional=conditional)


def _change_task(
    values: dict[str, ColumnElement[Any]], *, conditional: bool
) -> Select[tuple[int, bytes]]:
    target = _target(conditional=conditional)
    change = next_version(exists().where(*target))
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
    return task_of(changed)


def _toggle_task(*, conditional: bool) -> Select[tuple[int, bytes]]:
    return _change_task({"is_completed": ~tasks.c.is_completed}, conditional=conditional)


def _delete_task(*, conditional: bool) -> Select[tuple[int]]:
    target = _target(conditional=conditional)
    change = next_version(exists().where(*target))
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


GET_TASK: Final = Statement(_get_task)
TOGGLE_TASK: Final = {
    conditional: Statement(partial(_toggle_task, conditional=conditional))
    for conditional in (False, True)
}
DELETE_TASK: Final = {
    conditional: Statement(partial(_delete_task, conditional=conditional))
    for conditional in (False, True)
}
