"""The statements on a user's whole list: pages in any order and filter, and the summary.

A statement's shape depends on which filters, sort keys and options are asked for, never on
their values. So there is one statement a shape, built when it is first asked for.
"""

from functools import lru_cache, partial
from typing import Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    Integer,
    Select,
    Text,
    all_,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    not_,
    select,
)
from sqlalchemy.dialects.postgresql import BIGINT, JSON, aggregate_order_by

from src.database import Statement
from src.schemas.parameters import SortKey
from src.services.statements.due import due_day, is_overdue, today
from src.services.statements.filters import FILTERS
from src.services.statements.parts import USER, document, task_lists, tasks
from src.services.statements.sorts import as_key, is_after, sort_columns

_SHAPES: Final = 256
"""How many shapes are kept: clients use few, and an attacker must not fill the memory."""

_SEEN: Final = bindparam("versions", type_=ARRAY(BIGINT))
_LIMIT: Final = bindparam("limit", type_=Integer())


class ListShape(NamedTuple):
    """All that a list's statement depends on.

    `after` is None for a first page. Otherwise it says of each sort column whether the row
    that the cursor names has a null there.
    """

    sort: tuple[SortKey, ...]
    filters: frozenset[str] = frozenset()
    after: tuple[bool, ...] | None = None
    include_total: bool = False


@lru_cache(maxsize=_SHAPES)
def list_tasks(shape: ListShape) -> Statement:
    """Read a page, from the start or after the row that a cursor names.

    Gives the list's version, the tasks as one JSON array, the sort keys of the last one if
    more follow, and the number of all that match if that was asked for. A client that has
    seen this version of the list (`versions`) gets an empty page, for which no task is read:
    the condition is known before the scan starts.
    """
    return Statement(partial(_list_tasks, shape))


def _list_tasks(shape: ListShape) -> Select[tuple[int, bytes, bytes | None, int | None]]:
    columns = sort_columns(shape.sort)
    version = func.coalesce(
        select(task_lists.c.version).where(task_lists.c.user_id == USER).scalar_subquery(), 0
    )
    matching = [
        tasks.c.user_id == USER,
        version != all_(_SEEN),
        *(FILTERS[name] for name in sorted(shape.filters)),
    ]
    of_page = [] if shape.after is None else [is_after(columns, shape.after)]
    keys = [column.value.label(f"key_{position}") for position, column in enumerate(columns)]
    rows = (
        select(document(tasks).label("task"), *keys)
        .where(*matching, *of_page)
        .order_by(*(column.order() for column in columns))
        .limit(_LIMIT + 1)  # one more than is shown tells whether more follow
        .subquery("rows")
    )
    page = select(rows, func.row_number().over().label("position")).subquery("page")
    # Joined as text: `json_agg` would copy each task once more, and take a third longer.
    documents = func.string_agg(
        page.c.task, aggregate_order_by(literal_column("','", Text), page.c.position)
    ).filter(page.c.position <= _LIMIT)
    last = (
        # Written here, for the few rows of the page: above, it would be for all that are sorted.
        func.json_agg(func.json_build_array(*(as_key(page.c[key.name]) for key in keys)))
        .filter(page.c.position == _LIMIT)
        .op("->", return_type=JSON())(literal_column("0"))
    )
    total = select(func.count()).select_from(tasks).where(*matching).scalar_subquery()
    return select(
        version,
        func.concat("[", documents, "]", type_=Text),
        case((func.count() > _LIMIT, last)),
        total if shape.include_total else literal_column("NULL::bigint", BIGINT),
    ).select_from(page)


def _get_summary() -> Select[tuple[bytes]]:
    """Count the user's tasks, and of the open ones those overdue and those due today."""
    is_open = not_(tasks.c.is_completed)
    counts = (
        select(
            func.count().label("total"),
            func.count().filter(is_open).label("open"),
            func.count().filter(tasks.c.is_completed).label("completed"),
            func.count().filter(is_overdue).label("overdue"),
            func.count().filter(and_(is_open, due_day == today)).label("due_today"),
        )
        .where(tasks.c.user_id == USER)
        .subquery("counts")
    )
    return select(func.row_to_json(counts.table_valued(), type_=JSON)).select_from(counts)


GET_SUMMARY: Final = Statement(_get_summary)
