"""The statements on a user's whole list."""

from functools import cache
from typing import Final

from sqlalchemy import (
    ARRAY,
    Integer,
    Select,
    Uuid,
    all_,
    bindparam,
    case,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import BIGINT, JSON, aggregate_order_by

from src.models.task import INSTANT
from src.services.statements.parts import USER, document, instant, task_lists, tasks

_SEEN: Final = bindparam("versions", type_=ARRAY(BIGINT))
_LIMIT: Final = bindparam("limit", type_=Integer())


@cache
def list_tasks(*, after: bool) -> Select[tuple[int, bytes, bytes | None]]:
    """Read a page, newest first, from the start or `after` the row that a cursor names.

    Gives the list's version, the tasks as one JSON array and, if more follow, the sort keys
    of the last one. A client that has seen this version of the list (`versions`) gets an
    empty page, for which no task is read: the condition is known before the scan starts.
    """
    version = func.coalesce(
        select(task_lists.c.version).where(task_lists.c.user_id == USER).scalar_subquery(), 0
    )
    keys = (tasks.c.created_at, tasks.c.id)
    scope = [tasks.c.user_id == USER, version != all_(_SEEN)]
    if after:
        scope.append(
            tuple_(*keys)
            < tuple_(
                bindparam("after_created_at", type_=INSTANT), bindparam("after_id", type_=Uuid())
            )
        )
    rows = (
        select(document(tasks).label("task"), *keys)
        .where(*scope)
        .order_by(*(key.desc() for key in keys))
        .limit(_LIMIT + 1)  # one more than is shown tells whether more follow
        .subquery("rows")
    )
    page = select(rows, func.row_number().over().label("position")).subquery("page")
    is_shown = page.c.position <= _LIMIT
    documents = func.json_agg(aggregate_order_by(page.c.task, page.c.position), type_=JSON)
    last = (
        func.json_agg(func.json_build_array(instant(page.c.created_at), page.c.id))
        .filter(page.c.position == _LIMIT)
        .op("->", return_type=JSON())(literal_column("0"))
    )
    return select(
        version,
        func.coalesce(documents.filter(is_shown), literal_column("'[]'::json", JSON)),
        case((func.count() > _LIMIT, last)),
    ).select_from(page)
