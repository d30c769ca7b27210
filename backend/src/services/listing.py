"""Lists of a user's tasks: filters, sorts, pages and totals; and the summary.

The statement of a list depends on which filters, sort keys and options are asked for, never on
their values. So there is one statement for each combination, built when it is first asked for.

A filter is a field of `TaskListQuery` and an entry of `_FILTERS`; a sort is a name in `SORT_FIELDS`
and an entry of `_SORTS`.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple
from unicodedata import normalize

from pydantic import TypeAdapter
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Date,
    FromClause,
    Row,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import BIGINT, INTERVAL, TIMESTAMP

from src.exceptions import CursorMismatch
from src.models.limits import Priority
from src.models.task import INSTANT, TASK_PRIORITY, TaskRow
from src.schemas.fields import Position, Title, parse_instant, parse_uuid
from src.schemas.query import SortKey, TaskListQuery
from src.services.cursors import decode_cursor, encode_cursor
from src.services.statements import (
    IS_UNSEEN,
    LIMIT,
    USER,
    columns_like_task,
    task_of,
    tasks,
    with_list,
)

_MAX_STATEMENTS: Final = 256
"""How many statements are kept: enough for real clients, and a bound against all others."""


class Page(NamedTuple):
    """One page of a list.

    `version` is the number of the user's latest change, or None if the page also depends on the
    present time.
    """

    version: int | None
    tasks: list[TaskRow]
    next_cursor: str | None
    total: int | None


# Days. Which day it is, and on which day an instant falls, depends on the time zone of the query.
# PostgreSQL computes it. A civil day is never converted.

_NOW: Final = bindparam("the_time", type_=INSTANT)
_ZONE: Final = bindparam("the_zone", type_=Text())
_MICROSECOND: Final = bindparam("a_microsecond", timedelta(microseconds=1), INTERVAL())

# PostgreSQL takes the names of these zones for abbreviations, and so for fixed offsets. These are
# the zones that IANA's database links them to.
_LINKS: Final = {
    "CET": "Europe/Brussels",
    "EET": "Europe/Athens",
    "EST": "America/Panama",
    "HST": "Pacific/Honolulu",
    "MET": "Europe/Brussels",
    "MST": "America/Phoenix",
    "WET": "Europe/Lisbon",
}


def time_parameters(now: datetime, tz: str) -> dict[str, Any]:
    """Return the parameters of a statement that depends on days."""
    return {"the_time": now, "the_zone": _LINKS.get(tz, tz)}


def _day_of(at: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(func.timezone(_ZONE, at, type_=TIMESTAMP()), Date)


def _once(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Wrap a value in a subquery, so that PostgreSQL computes it once, not for each row."""
    return select(value).scalar_subquery()


def _last_day_begun_before(at: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the day of the moment before an instant.

    Converting midnights instead is ambiguous where the clocks change at midnight: that midnight
    occurs twice or not at all.
    """
    return _once(_day_of(at - _MICROSECOND))


today: Final = _once(_day_of(_NOW))
due_day: Final = func.coalesce(tasks.c.due_date, _day_of(tasks.c.due_at))
is_overdue: Final = and_(
    not_(tasks.c.is_completed),
    # A day is over only when it has ended in the time zone.
    or_(tasks.c.due_at < _NOW, tasks.c.due_date < today),
)


# Filters. All must hold. A range is half-open: after is inclusive, before is exclusive. A null
# matches no range.


def _forms_of(text: str) -> list[str]:
    """Return the text as it was sent, composed (NFC) and decomposed (NFD): each form once.

    `é` is stored as one code point or two, as it was typed. To normalize each task instead would
    make a search about ten times slower.
    """
    return list(dict.fromkeys((text, normalize("NFC", text), normalize("NFD", text))))


def _contains(count: int) -> ColumnElement[bool]:
    """Match the tasks that contain one of so many forms of a text."""
    # Not LIKE: in a plain search for a substring, % and _ mean themselves.
    forms = [_once(func.lower(bindparam(f"q_{form}", type_=Text()))) for form in range(count)]
    texts = (func.lower(tasks.c.title), func.lower(tasks.c.description))
    return or_(*(func.strpos(text, form) > 0 for text in texts for form in forms))


_FILTERS: Final[dict[str, ColumnElement[bool]]] = {
    "is_completed": tasks.c.is_completed == bindparam("is_completed"),
    "priority": tasks.c.priority
    == any_(cast(bindparam("priority", type_=ARRAY(Text)), ARRAY(TASK_PRIORITY))),
    "tag": tasks.c.tags.op("@>", is_comparison=True)(bindparam("tag")),
    "q=1": _contains(1),
    "q=2": _contains(2),
    "q=3": _contains(3),
    "due=overdue": is_overdue,
    "due=today": due_day == today,
    "due=upcoming": due_day > today,
    "due=none": and_(tasks.c.due_date.is_(None), tasks.c.due_at.is_(None)),
    "due_before=date": due_day < bindparam("due_before"),
    "due_after=date": due_day >= bindparam("due_after"),
    "due_before=datetime": or_(
        tasks.c.due_at < bindparam("due_before"),
        tasks.c.due_date <= _last_day_begun_before(bindparam("due_before", type_=INSTANT)),
    ),
    "due_after=datetime": or_(
        tasks.c.due_at >= bindparam("due_after"),
        tasks.c.due_date > _last_day_begun_before(bindparam("due_after", type_=INSTANT)),
    ),
    "created_before": tasks.c.created_at < bindparam("created_before"),
    "created_after": tasks.c.created_at >= bindparam("created_after"),
    "updated_after": tasks.c.updated_at >= bindparam("updated_after"),
}
"""The condition of each filter, by the name of its field. If it depends on the value, the key is
`name=value` for `due`, `name=type` for a day or an instant, and `name=number of forms` for `q`.
Parameters are named like their fields."""
_FILTER_FIELDS: Final = tuple(dict.fromkeys(key.partition("=")[0] for key in _FILTERS))


def _filters_of(query: TaskListQuery) -> tuple[frozenset[str], dict[str, Any]]:
    """Return the keys in `_FILTERS` of the filters that the query has, and their parameters."""
    keys: list[str] = []
    parameters: dict[str, Any] = {}
    for name in _FILTER_FIELDS:
        value = getattr(query, name)
        if value is None:
            continue
        if name == "q":
            forms = _forms_of(value)
            keys.append(f"q={len(forms)}")
            parameters |= {f"q_{form}": text for form, text in enumerate(forms)}
        elif name == "due":
            keys.append(f"due={value}")
        elif name in ("due_before", "due_after"):
            keys.append(f"{name}={type(value).__name__}")
            parameters[name] = value
        else:
            keys.append(name)
            parameters[name] = value
    return frozenset(keys), parameters


# Sorts. Nulls come last in both directions. The id breaks ties in the direction of the last key.


class _SortColumn(NamedTuple):
    """A column of the ORDER BY, under its name in the rows, and how to read it in a cursor.

    A cursor may be made by anybody, so it is read as strictly as any field. `nulls` are the
    values that stand in for null: in an ascending sort, and in a descending one.
    """

    name: str
    parse: Callable[[object], object]
    value: ColumnElement[Any]
    nulls: tuple[ColumnElement[Any], ColumnElement[Any]] | None = None
    is_descending: bool = False

    def key(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return what is compared for this value, which is never null."""
        return func.coalesce(value, self.nulls[self.is_descending]) if self.nulls else value

    def order(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the term of the ORDER BY for this value."""
        return self.key(value).desc() if self.is_descending else self.key(value).asc()


_DAY: Final = TypeAdapter(date, config={"strict": True})
_FIRST: Final[ColumnElement[Any]] = literal_column("'-infinity'")
_LAST: Final[ColumnElement[Any]] = literal_column("'infinity'")
_SORTS: Final = {
    "created_at": [_SortColumn("created_at", parse_instant, tasks.c.created_at)],
    "updated_at": [_SortColumn("updated_at", parse_instant, tasks.c.updated_at)],
    "due": [
        # Any day: in some zone, an instant falls just outside the years that a task can have.
        _SortColumn("due_day", _DAY.validate_strings, due_day, (_LAST, _FIRST)),
        # What is due on the whole day comes before what is due at some time of it.
        _SortColumn("due_at", parse_instant, tasks.c.due_at, (_FIRST, _FIRST)),
    ],
    "priority": [_SortColumn("priority", TypeAdapter(Priority).validate_python, tasks.c.priority)],
    # By code point: the same on every server, whatever its locale.
    "title": [_SortColumn("title", TypeAdapter(Title).validate_python, tasks.c.title.collate("C"))],
    "position": [_SortColumn("position", TypeAdapter(Position).validate_python, tasks.c.position)],
}
_ID: Final = _SortColumn("id", parse_uuid, tasks.c.id)


@lru_cache(maxsize=_MAX_STATEMENTS)
def sort_columns(sort: tuple[SortKey, ...]) -> tuple[_SortColumn, ...]:
    """Return the columns that a list is sorted by, the id last: the keys of its cursors."""
    columns = (
        column._replace(is_descending=is_descending)
        for field, is_descending in sort
        for column in _SORTS[field]
    )
    return (*columns, _ID._replace(is_descending=sort[-1].is_descending))


def _follows(columns: Sequence[_SortColumn]) -> ColumnElement[bool]:
    """Match the rows after the one whose sort keys are the parameters `after_0`, `after_1`, ..."""
    here = [column.key(column.value) for column in columns]
    there = [
        column.key(bindparam(f"after_{position}", type_=column.value.type))
        for position, column in enumerate(columns)
    ]
    if len({column.is_descending for column in columns}) == 1:
        # An index scan can start from the comparison of whole rows.
        rows, last = tuple_(*here), tuple_(*there)
        return rows < last if columns[0].is_descending else rows > last
    alternatives = []
    equal: list[ColumnElement[bool]] = []
    for column, value, key in zip(columns, here, there, strict=True):
        alternatives.append(and_(*equal, value < key if column.is_descending else value > key))
        equal.append(value == key)
    return or_(*alternatives)


# Pages


def list_tasks(
    user_id: str, query: TaskListQuery, *, now: datetime, seen: frozenset[int]
) -> tuple[Select[Any], dict[str, Any]]:
    """Return the statement for a page, and its parameters.

    Raises:
        CursorMismatch: the cursor is damaged, or belongs to another user, filter or sort.
    """
    filters, filter_parameters = _filters_of(query)
    keys = None if query.cursor is None else _read_cursor(query.cursor, user_id, query)
    # A page that depends on the present time is always read: no version tells whether it holds.
    versions = [] if query.depends_on_time else list(seen)
    statement = _list_tasks(
        query.sort_keys,
        filters,
        is_first=keys is None,
        include_total=query.include_total,
        is_conditional=bool(versions),
    )
    parameters = {
        "the_user": user_id,
        "limit": query.limit,
        "versions": versions,
        **time_parameters(now, query.tz),
        **filter_parameters,
        **{f"after_{position}": key for position, key in enumerate(keys or ())},
    }
    return statement, parameters


def page_of(rows: Sequence[Row[Any]], user_id: str, query: TaskListQuery) -> Page:
    """Make a page of the rows of the statement: at least one; if there is a next page, one more."""
    version, total = rows[0].list_version, rows[0].total
    shown = rows[: query.limit] if rows[0].id is not None else []
    next_cursor = None
    if len(rows) > query.limit:
        keys = [getattr(shown[-1], column.name) for column in sort_columns(query.sort_keys)]
        next_cursor = encode_cursor(keys, user_id=user_id, query=query.identity)
    return Page(
        None if query.depends_on_time else version,
        [task_of(row) for row in shown],
        next_cursor,
        total,
    )


@lru_cache(maxsize=_MAX_STATEMENTS)
def _list_tasks(
    sort: tuple[SortKey, ...],
    filters: frozenset[str],
    *,
    is_first: bool,
    include_total: bool,
    is_conditional: bool,
) -> Select[Any]:
    """Read a page, from the start or after the row of a cursor.

    Each row has the list's version, the total if asked for, and a task; an empty page is one row
    without a task. If it `is_conditional`, a client that has seen this version gets no task: none
    is read, because that condition is known before the scan starts.
    """
    columns = sort_columns(sort)
    matching = [
        tasks.c.user_id == USER,
        *([IS_UNSEEN] if is_conditional else []),
        *(_FILTERS[key] for key in sorted(filters)),
    ]
    of_page = [] if is_first else [_follows(columns)]
    shown = columns_like_task(tasks)
    if any(column.name == "due_day" for column in columns):
        shown.append(due_day.label("due_day"))
    page = (
        select(*shown)
        .where(*matching, *of_page)
        .order_by(*(column.order(column.value) for column in columns))
        .limit(LIMIT + 1)  # one more than is shown tells whether there is a next page
        .subquery("page")
    )
    total = (
        select(func.count()).select_from(tasks).where(*matching).scalar_subquery()
        if include_total
        else literal_column("NULL::bigint", BIGINT)
    )
    return with_list(page, total.label("total")).order_by(
        *(column.order(_in(page, column)) for column in columns)
    )


def _in(page: FromClause, column: _SortColumn) -> ColumnElement[Any]:
    value = page.c[column.name]
    return value.collate("C") if column.name == "title" else value


def _read_cursor(cursor: str, user_id: str, query: TaskListQuery) -> list[Any]:
    keys = decode_cursor(cursor, user_id=user_id, query=query.identity)
    columns = sort_columns(query.sort_keys)
    try:
        return [
            None if key is None and column.nulls else column.parse(key)
            for key, column in zip(keys, columns, strict=True)
        ]
    except ValueError:
        raise CursorMismatch from None


# The summary

is_open: Final = not_(tasks.c.is_completed)

GET_SUMMARY: Final = select(
    func.count().label("total"),
    func.count().filter(is_open).label("open"),
    func.count().filter(tasks.c.is_completed).label("completed"),
    func.count().filter(is_overdue).label("overdue"),
    func.count().filter(and_(is_open, due_day == today)).label("due_today"),
).where(tasks.c.user_id == USER)
"""Count the user's tasks, and of the open ones those overdue and those due today."""
