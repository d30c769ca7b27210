"""The statements that write, and the one that reads a single task. Each is built once.

A write is one statement. Its first part takes the next number of the user's counter, and every
other part reads from it, for two reasons: the counter's row stays locked until the commit, so
versions follow the order of the commits; and a part that touched a task without waiting for the
counter would deadlock with another writer.

A write whose task does not exist takes no number, so it writes nothing at all. The task is looked
up without a lock: if it changes in between, PostgreSQL checks it again when the write gets to it
(READ COMMITTED), and then a number is lost. Versions only have to grow.
"""

from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    FromClause,
    Insert,
    Integer,
    LargeBinary,
    Row,
    Select,
    Table,
    Text,
    Uuid,
    all_,
    any_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    extract,
    false,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import BIGINT
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.types import NullType

from src.models.limits import POSITION_MAX_LENGTH, POSITION_WHOLE_DIGITS
from src.models.task import (
    INSTANT,
    USER_ID,
    Task,
    TaskList,
    TaskRow,
    TaskTombstone,
    Tombstone,
)
from src.schemas.task import TaskReplace

tasks: Final = Task.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
task_lists: Final = TaskList.__table__  # type: ignore[attr-defined]  # the same
task_tombstones: Final = TaskTombstone.__table__  # type: ignore[attr-defined]  # the same

# In an UPDATE, no parameter is named like a column: SQLAlchemy would take it for a value to set.
USER: Final = bindparam("the_user", type_=USER_ID)
TASK: Final = bindparam("the_task", type_=Uuid())
LIMIT: Final = bindparam("limit", type_=Integer())
SEEN: Final = bindparam("versions", type_=ARRAY(BIGINT))
"""The versions that the client names, in `If-Match` or `If-None-Match`."""
list_version: Final = func.coalesce(
    select(task_lists.c.version).where(task_lists.c.user_id == USER).scalar_subquery(), 0
)
"""The version of the user's latest change; 0 if there was none."""
IS_UNSEEN: Final = list_version != all_(SEEN)
"""Match nothing if the list has one of these versions."""
# PostgreSQL takes an untyped parameter for text.
_FINGERPRINT: Final = cast(bindparam("the_fingerprint", type_=LargeBinary()), LargeBinary())


_WIDTH: Final = len(TaskRow._fields)


def columns_of(task: FromClause) -> list[ColumnElement[Any]]:
    """Select the columns of a `TaskRow`, to be returned.

    SQLAlchemy's Enum and ARRAY look at each value once more; the driver reads text and arrays well
    by itself. In binary, it does not know an enum.
    """
    as_the_driver_reads_it: dict[str, ColumnElement[Any]] = {
        "priority": cast(task.c.priority, Text).label("priority"),
        "tags": type_coerce(task.c.tags, NullType()).label("tags"),
    }
    return [as_the_driver_reads_it.get(name, task.c[name]) for name in TaskRow._fields]


def task_of(row: Row[Any]) -> TaskRow:
    """Return the task of a row whose first columns are those of `columns_of`."""
    return TaskRow._make(row[:_WIDTH])


def tombstone_of(row: Row[Any]) -> Tombstone:
    """Return the tombstone of a row that has its columns."""
    return Tombstone(row.id, row.version, row.deleted_at)


def columns_like_task(row: FromClause) -> list[ColumnElement[Any]]:
    """Select the columns of a `TaskRow`. A column that the row lacks is null."""
    return [
        row.c[name] if name in row.c else cast(null(), tasks.c[name].type).label(name)
        for name in TaskRow._fields
    ]


def with_list(page: FromClause, *more: ColumnElement[Any]) -> Select[Any]:
    """Select a page. Each row also has the version of the list, and the columns in `more`.

    An empty page is one row without an id. The driver reads long pages faster in binary.
    """
    head = select(list_version.label("list_version"), *more).subquery("head")
    beside_the_task = [column for column in page.c if column.name not in TaskRow._fields]
    return (
        select(*columns_of(page), *beside_the_task, head)
        .select_from(head.outerjoin(page, true()))
        .execution_options(binary=True)
    )


def _new_value(field: str) -> ColumnElement[Any]:
    """Take what the client sent for this field."""
    return bindparam(f"new_{field}", type_=tasks.c[field].type)


def constant(value: str | int) -> ColumnElement[Any]:
    """Write a value into the statement. As a parameter, it would be sent each time."""
    return literal_column(f"'{value}'" if isinstance(value, str) else str(value))


def clock_at(time: ColumnElement[Any]) -> ColumnElement[int]:
    """Return a time in microseconds since 1970: what versions are made of."""
    return cast(extract("epoch", time) * 1_000_000, BIGINT)


def next_version(*conditions: ColumnElement[bool], is_list_unchanged: bool = False) -> CTE:
    """Take the user's next version, and the time, if the conditions hold.

    With `is_list_unchanged`, also only if the list has not changed since the statement started. It
    may have, while the statement waited for the counter.

    A version is the time in microseconds, or one more than the last version if that is not less
    (ADR 0019). The time of the change is read once the counter is locked, so the times of a user's
    changes are in the order of their versions.
    """
    clock = select(clock_at(func.clock_timestamp()).label("time"))  # volatile, so never inlined
    first = clock.subquery("clock").c.time
    insertion = upsert(task_lists).from_select(
        ["user_id", "version", "first_version"], select(USER, first, first).where(*conditions)
    )
    return (
        insertion.on_conflict_do_update(
            index_elements=["user_id"],
            set_={"version": func.greatest(task_lists.c.version + 1, insertion.excluded.version)},
            where=task_lists.c.version == list_version if is_list_unchanged else None,
        )
        .returning(
            task_lists.c.user_id,
            task_lists.c.version,
            func.clock_timestamp(type_=INSTANT).label("at"),
        )
        .cte("change")
    )


def put_rows(table: Table, rows: FromClause, source: FromClause) -> Insert:
    """Insert rows of the user, or put them in the place of those that have their ids.

    The `source` has the rows, and makes them wait for the counter.
    """
    names = [column.name for column in rows.c]
    insertion = upsert(table).from_select(
        ["user_id", *names], select(USER, *rows.c).select_from(source)
    )
    return insertion.on_conflict_do_update(
        index_elements=["user_id", "id"],
        set_={name: insertion.excluded[name] for name in names if name != "id"},
    )


IS_TASK: Final = (tasks.c.user_id == USER, tasks.c.id == TASK)
IS_CURRENT: Final = or_(SEEN.is_(None), tasks.c.version == any_(SEEN))
"""Match a task that has one of these versions. Null stands for any version."""
_IS_TOMBSTONE: Final = (task_tombstones.c.user_id == USER, task_tombstones.c.id == TASK)


# Reading and changing a task

GET_TASK: Final = select(*columns_of(tasks)).where(*IS_TASK)


@cache
def update_task(fields: frozenset[str]) -> Select[Any]:
    """Set `fields`: all of them for PUT, those that the client sent for PATCH."""
    return _change_task({field: _new_value(field) for field in fields})


def _change_task(values: dict[str, ColumnElement[Any]]) -> Select[Any]:
    change = next_version(exists().where(*IS_TASK, IS_CURRENT))
    if "is_completed" in values:
        values["completed_at"] = case(
            (values["is_completed"], func.coalesce(tasks.c.completed_at, change.c.at))
        )
    changed = (
        update(tasks)
        .where(*IS_TASK, IS_CURRENT, tasks.c.user_id == change.c.user_id)
        .values(**values, version=change.c.version, updated_at=change.c.at)
        .returning(tasks)
        .cte("changed")
    )
    return select(*columns_of(changed))


TOGGLE_TASK: Final = _change_task({"is_completed": ~tasks.c.is_completed})


def _delete_task() -> Select[Any]:
    """Delete the task and leave a tombstone. Returns one row if there was such a task."""
    change = next_version(exists().where(*IS_TASK, IS_CURRENT))
    deleted = (
        delete(tasks)
        # Naming the counter here is what makes the deletion wait for it.
        .where(*IS_TASK, IS_CURRENT, tasks.c.user_id == change.c.user_id)
        .returning(tasks.c.id, change.c.version, change.c.at.label("deleted_at"))
        .cte("deleted")
    )
    tombstone = put_rows(task_tombstones, deleted, deleted).returning(task_tombstones.c.version)
    return select(tombstone.cte("tombstone").c.version)


DELETE_TASK: Final = _delete_task()
GET_TOMBSTONE: Final = select(task_tombstones.c.version).where(*_IS_TOMBSTONE)


# Creating a task
#
# CREATE_TASK is for an id that nobody else can have. The others first look for a task with this id,
# and BY_KEY for its tombstone. A statement sees what was there when it started, so several at once
# may each find nothing; they then wait for one another at the counter. So the insertion handles
# what has appeared meanwhile by ON CONFLICT, which sees the newest row, and sets its id to itself:
# that changes nothing and makes RETURNING show the row. Its version tells which statement inserted
# it.


LAST_WHOLE: Final = "9" * POSITION_WHOLE_DIGITS
"""The last position without decimals."""


def _last_position(change: CTE) -> ColumnElement[Any]:
    """Return the position of a new task, as `order.last_position` does."""
    last = (
        select(func.max(tasks.c.position).label("position"))
        .where(tasks.c.user_id == USER)
        .subquery("last")
    )
    digits, end = constant(POSITION_WHOLE_DIGITS), constant(LAST_WHOLE)
    after_last = cast(func.left(last.c.position, digits), BIGINT) + constant(1)
    number = func.least(func.greatest(change.c.version, after_last), constant(int(LAST_WHOLE)))
    more = case((func.length(last.c.position) > digits, constant("5")), else_=constant(".5"))
    position = case(
        (
            last.c.position >= end,
            func.left(last.c.position.concat(more), constant(POSITION_MAX_LENGTH)),
        ),
        else_=func.lpad(cast(number, Text), digits, constant("0")),
    )
    return select(position).select_from(last).correlate(change).scalar_subquery()


def _insert_task(change: CTE, **more: ColumnElement[Any]) -> CTE:
    values: dict[str, ColumnElement[Any]] = {
        "user_id": USER,
        "id": TASK,
        **{field: _new_value(field) for field in TaskReplace.model_fields},
        "position": func.coalesce(_new_value("position"), _last_position(change)),
        "completed_at": case((_new_value("is_completed"), change.c.at)),
        "version": change.c.version,
        "created_at": change.c.at,
        "updated_at": change.c.at,
        **more,
    }
    insertion = upsert(tasks).from_select(
        list(values), select(*list(values.values())).select_from(change)
    )
    return (
        insertion.on_conflict_do_update(
            index_elements=["user_id", "id"], set_={"id": insertion.excluded.id}
        )
        .returning(tasks)
        .cte("created")
    )


def _create_task_once(*, revives: bool) -> Select[Any]:
    """Create the task, unless one has its id: then give that one.

    Returns the task, whether it is new, and whether its fingerprint is the given one. If it
    `revives`, a deleted task is created again and its tombstone removed. If not, an id that was
    deleted writes nothing and returns no row.
    """
    existing = select(tasks).where(*IS_TASK).cte("existing")
    conditions = [~exists().select_from(existing)]
    if not revives:
        conditions.append(~exists().where(*_IS_TOMBSTONE))
    change = next_version(*conditions)
    created = _insert_task(change, request_hash=_FINGERPRINT)
    found = union_all(
        select(created, (created.c.version == change.c.version).label("is_new")).join_from(
            created, change, created.c.user_id == change.c.user_id
        ),
        select(existing, false().label("is_new")),
    ).cte("found")
    statement = select(
        *columns_of(found),
        found.c.is_new,
        found.c.request_hash.is_not_distinct_from(_FINGERPRINT).label("is_same"),
    )
    if not revives:
        return statement
    # Naming the counter is what makes the deletion wait for it.
    forgotten = delete(task_tombstones).where(
        *_IS_TOMBSTONE, task_tombstones.c.user_id == change.c.user_id
    )
    return statement.add_cte(forgotten.cte("forgotten"))


# The id is new, unless this is our own second attempt after a lost answer: that finds its row.
CREATE_TASK: Final = select(*columns_of(_insert_task(next_version())))
CREATE_TASK_BY_KEY: Final = _create_task_once(revives=False)
CREATE_TASK_BY_ID: Final = _create_task_once(revives=True)
