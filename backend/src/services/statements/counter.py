"""Where every write begins: the user's counter, and the values that a client decides."""

from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, Select, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import BIGINT
from sqlalchemy.dialects.postgresql import insert as upsert

from src.models.task import INSTANT, TASK_PRIORITY
from src.services.statements.parts import USER, document, task_lists, tasks

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


def new_value(field: str) -> ColumnElement[Any]:
    """Take what the client decides for this field."""
    value = bindparam(f"new_{field}", type_=tasks.c[field].type)
    # PostgreSQL takes an untyped parameter for text, which an enum column refuses.
    return cast(value, TASK_PRIORITY) if field == "priority" else value


def next_version(*conditions: ColumnElement[bool]) -> CTE:
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


def task_of(cte: CTE) -> Select[tuple[int, bytes]]:
    """Give the task that a part of the statement wrote."""
    return select(cte.c.version, document(cte))
