"""Every SQL statement of the service, each scoped by `user_id`.

They are built once, with bind parameters. Tasks leave the database as the JSON of the wire,
rendered by PostgreSQL: nothing is built, checked or serialised again on the way out (ADR 0009).

A write is one statement. Its first part takes the next number of the user's counter and
every other part reads from it, for two reasons: the counter's row stays locked until the
commit, so versions follow the order of the commits; and a part that touched a task without
waiting for the counter would deadlock with another writer.

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
    FromClause,
    Integer,
    Select,
    Text,
    Uuid,
    all_,
    any_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import BIGINT, JSON, aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert

from src.models.task import INSTANT, TASK_PRIORITY, USER_ID, Task, TaskList, TaskTombstone

tasks: Final = Task.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
task_lists: Final = TaskList.__table__  # type: ignore[attr-defined]  # the same
task_tombstones: Final = TaskTombstone.__table__  # type: ignore[attr-defined]  # the same

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

# No parameter is named like a column: SQLAlchemy would take it for a value to be set.
_USER: Final = bindparam("the_user", type_=USER_ID)
_TASK: Final = bindparam("the_task", type_=Uuid())
_VERSIONS: Final = bindparam("versions", type_=ARRAY(BIGINT))
_LIMIT: Final = bindparam("limit", type_=Integer())
_RFC_3339: Final = literal_column('\'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\'', Text())
_UTC: Final = literal_column("'UTC'", Text())


def _value(field: str) -> ColumnElement[Any]:
    value = bindparam(f"new_{field}", type_=tasks.c[field].type)
    # PostgreSQL takes an untyped parameter for text, which an enum column refuses.
    return cast(value, TASK_PRIORITY) if field == "priority" else value


def _instant(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Write an instant as the wire has it: in UTC, with `Z` and all six digits."""
    return func.to_char(func.timezone(_UTC, column), _RFC_3339)


def _document(task: FromClause) -> ColumnElement[bytes]:
    """Render one row of `task` as the JSON object of the wire, its keys in the order here."""
    c = task.c
    wire = select(
        c.id,
        c.user_id,
        c.title,
        c.description,
        c.is_completed,
        _instant(c.completed_at).label("completed_at"),
        c.priority,
        c.due_date,
        _instant(c.due_at).label("due_at"),
        c.tags,
        c.version,
        _instant(c.created_at).label("created_at"),
        _instant(c.updated_at).label("updated_at"),
    ).correlate(task)
    row = wire.subquery("wire")
    return (
        select(func.row_to_json(row.table_valued(), type_=JSON)).correlate(task).scalar_subquery()
    )


def _next_version(*conditions: ColumnElement[bool]) -> CTE:
    """Take the user's next number, and the time it was taken at, if the conditions hold.

    The time is read once the counter is locked, so the times of a user's changes are in
    the order of their versions.
    """
    first = select(_USER, literal_column("1", BIGINT)).where(*conditions)
    return (
        upsert(TaskList)
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
    is_task = [tasks.c.user_id == _USER, tasks.c.id == _TASK]
    return [*is_task, tasks.c.version == any_(_VERSIONS)] if conditional else is_task


def _task_of(cte: CTE) -> Select[tuple[int, bytes]]:
    return select(cte.c.version, _document(cte))


def _create_task() -> Select[tuple[int, bytes]]:
    change = _next_version()
    values: dict[str, ColumnElement[Any]] = {
        "user_id": _USER,
        "id": _TASK,
        **{field: _value(field) for field in WRITABLE},
        "completed_at": case((_value("is_completed"), change.c.at)),
        "version": change.c.version,
        "created_at": change.c.at,
        "updated_at": change.c.at,
    }
    insertion = upsert(Task).from_select(
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
    return select(tasks.c.version, _document(tasks)).where(*_target(conditional=False))


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
        update(Task)
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
        delete(Task)
        # Naming the counter here is what makes the deletion wait for it.
        .where(*target, tasks.c.user_id == change.c.user_id)
        .returning(tasks.c.id, change.c.version, change.c.at)
        .cte("gone")
    )
    remains = upsert(TaskTombstone).from_select(
        ["user_id", "id", "version", "deleted_at"],
        select(_USER, gone.c.id, gone.c.version, gone.c.at),
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


@cache
def list_tasks(*, after: bool) -> Select[tuple[int, bytes, bytes | None]]:
    """Read a page, newest first, from the start or `after` the row that a cursor names.

    Gives the list's version, the tasks as one JSON array and, if more follow, the sort keys
    of the last one. A client that has seen this version of the list (`versions`) gets an
    empty page, for which no task is read: the condition is known before the scan starts.
    """
    version = func.coalesce(
        select(task_lists.c.version).where(task_lists.c.user_id == _USER).scalar_subquery(), 0
    )
    keys = (tasks.c.created_at, tasks.c.id)
    scope = [tasks.c.user_id == _USER, version != all_(_VERSIONS)]
    if after:
        scope.append(
            tuple_(*keys)
            < tuple_(
                bindparam("after_created_at", type_=INSTANT), bindparam("after_id", type_=Uuid())
            )
        )
    rows = (
        select(_document(tasks).label("task"), *keys)
        .where(*scope)
        .order_by(*(key.desc() for key in keys))
        .limit(_LIMIT + 1)  # one more than is shown tells whether more follow
        .subquery("rows")
    )
    page = select(rows, func.row_number().over().label("position")).subquery("page")
    is_shown = page.c.position <= _LIMIT
    documents = func.json_agg(aggregate_order_by(page.c.task, page.c.position), type_=JSON)
    last = (
        func.json_agg(func.json_build_array(_instant(page.c.created_at), page.c.id))
        .filter(page.c.position == _LIMIT)
        .op("->", return_type=JSON())(literal_column("0"))
    )
    return select(
        version,
        func.coalesce(documents.filter(is_shown), literal_column("'[]'::json", JSON)),
        case((func.count() > _LIMIT, last)),
    ).select_from(page)


CREATE_TASK: Final = _create_task()
GET_TASK: Final = _get_task()
TOGGLE_TASK: Final = {
    conditional: _toggle_task(conditional=conditional) for conditional in (False, True)
}
DELETE_TASK: Final = {
    conditional: _delete_task(conditional=conditional) for conditional in (False, True)
}
