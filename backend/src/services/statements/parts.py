"""What the statements are made of: the tables, the parameters, and the JSON of the wire."""

from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)

from src.models.task import USER_ID, Task, TaskList, TaskTombstone

tasks: Final = Task.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
task_lists: Final = TaskList.__table__  # type: ignore[attr-defined]  # the same
task_tombstones: Final = TaskTombstone.__table__  # type: ignore[attr-defined]  # the same

# No parameter is named like a column: SQLAlchemy would take it for a value to be set.
USER: Final = bindparam("the_user", type_=USER_ID)
TASK: Final = bindparam("the_task", type_=Uuid())

_RFC_3339: Final = literal_column('\'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\'', Text())
_UTC: Final = literal_column("'UTC'", Text())


def instant(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Write an instant as the wire has it: in UTC, with `Z` and all six digits."""
    return func.to_char(func.timezone(_UTC, column), _RFC_3339)


def document(task: FromClause) -> ColumnElement[bytes]:
    """Render one row of `task` as the JSON object of the wire, its keys in the order here."""
    c = task.c
    wire = select(
        c.id,
        c.user_id,
        c.title,
        c.description,
        c.is_completed,
        instant(c.completed_at).label("completed_at"),
        c.priority,
        c.due_date,
        instant(c.due_at).label("due_at"),
        c.tags,
        c.version,
        instant(c.created_at).label("created_at"),
        instant(c.updated_at).label("updated_at"),
    ).correlate(task)
    row = wire.subquery("wire")
    rendered = cast(func.row_to_json(row.table_valued()), Text)
    return select(rendered).correlate(task).scalar_subquery()
