"""From a list's query to its statement: the shape of it, and the values of its parameters."""

from datetime import date, datetime
from typing import Any, Final

from src.exceptions import CursorMismatch
from src.schemas.query import TaskListQuery
from src.services import statements
from src.services.cursors import decode_cursor
from src.services.statements import ListShape

# The zones whose name PostgreSQL takes for an abbreviation, and so for a fixed offset: here
# by the name of the zone that each is a link to, in IANA's database.
_LINKS: Final = {
    "CET": "Europe/Brussels",
    "EET": "Europe/Athens",
    "EST": "America/Panama",
    "HST": "Pacific/Honolulu",
    "MET": "Europe/Brussels",
    "MST": "America/Phoenix",
    "WET": "Europe/Lisbon",
}


def time_and_zone(now: datetime, tz: str) -> dict[str, Any]:
    """Give the parameters of all that depends on a day."""
    return {"the_time": now, "the_zone": _LINKS.get(tz, tz)}


def plan_page(
    user_id: str, query: TaskListQuery, now: datetime
) -> tuple[ListShape, dict[str, Any]]:
    """Give the shape of the statement for a page, and its parameters.

    Raises:
        CursorMismatch: the cursor was not made for this user, these filters and this sort.
    """
    filters = _filters(query)
    parameters = {
        "the_user": user_id,
        "limit": query.limit,
        **time_and_zone(now, query.tz),
        **{name: value for values in filters.values() for name, value in values.items()},
    }
    after = None
    if query.cursor is not None:
        keys = _read_cursor(query.cursor, user_id, query)
        parameters |= {f"after_{position}": key for position, key in enumerate(keys)}
        after = tuple(key is None for key in keys)
    return ListShape(query.sort_keys, frozenset(filters), after, query.include_total), parameters


def _filters(query: TaskListQuery) -> dict[str, dict[str, Any]]:
    """Name the filters that are asked for, each with its parameters."""
    asked: dict[str, dict[str, Any]] = {
        "is_completed": {"only_completed": query.is_completed},
        "priority": {"priorities": query.priority},
        "tag": {"all_tags": query.tag},
        "created_before": {"created_before": query.created_before},
        "created_after": {"created_after": query.created_after},
        "updated_after": {"updated_after": query.updated_after},
        "q": {"q": query.q},
        **_due_range("before", query.due_before),
        **_due_range("after", query.due_after),
    }
    given = {name: values for name, values in asked.items() if None not in values.values()}
    return given | {query.due: {}} if query.due else given


def _due_range(side: str, value: date | datetime | None) -> dict[str, dict[str, Any]]:
    name = f"due_{'instant' if isinstance(value, datetime) else 'day'}_{side}"
    return {name: {name: value}}


def _read_cursor(cursor: str, user_id: str, query: TaskListQuery) -> list[Any]:
    """Give the sort keys in a cursor, which anybody may have made."""
    keys = decode_cursor(cursor, user_id=user_id, query=query.identity)
    columns = statements.sort_columns(query.sort_keys)
    try:
        return [
            None if key is None and column.is_nullable else column.parse(key)
            for key, column in zip(keys, columns, strict=True)
        ]
    except ValueError:
        raise CursorMismatch from None
