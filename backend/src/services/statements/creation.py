"""The statements that create a task.

`CREATE_TASK` is for an id that nobody else can have. The other two look first: whether a task
has the id, and whether one had. What a statement sees is as old as its start, so of many at the
same time each may find nothing; they then wait for one another at the counter. For that, the
insertion meets what has appeared meanwhile by ON CONFLICT, which sees the newest row, and sets
its id to itself, which changes nothing and makes RETURNING show it. Its version tells whose it is.
"""

from functools import partial
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    LargeBinary,
    Select,
    bindparam,
    case,
    cast,
    delete,
    exists,
    false,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from src.database import Statement
from src.services.statements.counter import WRITABLE, new_value, next_version, task_of
from src.services.statements.parts import TASK, USER, document, task_tombstones, tasks

# PostgreSQL takes an untyped parameter for text.
_FINGERPRINT: Final = cast(bindparam("the_fingerprint", type_=LargeBinary()), LargeBinary())
_HAD_ITS_ID: Final = (task_tombstones.c.user_id == USER, task_tombstones.c.id == TASK)


def _inserted(change: CTE, **more: ColumnElement[Any]) -> CTE:
    values: dict[str, ColumnElement[Any]] = {
        "user_id": USER,
        "id": TASK,
        **{field: new_value(field) for field in WRITABLE},
        "completed_at": case((new_value("is_completed"), change.c.at)),
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


def _create_task() -> Select[tuple[int, bytes]]:
    # The id is new, unless this is our own second try after a lost answer: it finds its row.
    return task_of(_inserted(next_version()))


def _create_task_once(*, revives: bool) -> Select[tuple[int, bytes, bool, bool]]:
    """Create the task, unless one has its id: then give that one.

    Gives the version and the task, whether it is new, and whether its fingerprint is the given
    one. A task that was deleted is created again if this `revives`, and then its tombstone
    goes; otherwise nothing is written, and there is no row.
    """
    known = select(tasks).where(tasks.c.user_id == USER, tasks.c.id == TASK).cte("known")
    conditions = [~exists().select_from(known)]
    if not revives:
        conditions.append(~exists().where(*_HAD_ITS_ID))
    change = next_version(*conditions)
    created = _inserted(change, request_hash=_FINGERPRINT)
    found = union_all(
        select(created, (created.c.version == change.c.version).label("is_new")).join_from(
            created, change, created.c.user_id == change.c.user_id
        ),
        select(known, false().label("is_new")),
    ).cte("found")
    statement = select(
        found.c.version,
        document(found),
        found.c.is_new,
        found.c.request_hash.is_not_distinct_from(_FINGERPRINT),
    )
    if not revives:
        return statement
    # Naming the counter is what makes the deletion wait for it.
    forgotten = delete(task_tombstones).where(
        *_HAD_ITS_ID, task_tombstones.c.user_id == change.c.user_id
    )
    return statement.add_cte(forgotten.cte("forgotten"))


CREATE_TASK: Final = Statement(_create_task)
CREATE_TASK_BY_KEY: Final = Statement(partial(_create_task_once, revives=False))
CREATE_TASK_BY_ID: Final = Statement(partial(_create_task_once, revives=True))
