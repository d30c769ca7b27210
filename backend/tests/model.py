"""What a list must be, in plain Python: a list of dicts, filtered, sorted and counted.

It shares nothing with the code under test: days come from `zoneinfo`, not from PostgreSQL.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from unicodedata import normalize
from zoneinfo import ZoneInfo

import psycopg

Row = dict[str, Any]

PRIORITIES: Final = ["none", "low", "medium", "high"]
_TICK: Final = timedelta(microseconds=1)
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_COLUMNS: Final = (
    "id",
    "title",
    "description",
    "is_completed",
    "completed_at",
    "priority",
    "due_date",
    "due_at",
    "tags",
    "position",
    "version",
    "created_at",
    "updated_at",
)


def insert(database_url: str, user: str, rows: list[Row]) -> None:
    """Give the user these tasks, all at once."""
    placeholders = ", ".join(
        f"%s::{'task_priority' if name == 'priority' else 'text[]' if name == 'tags' else 'text'}"
        if name in ("priority", "tags")
        else "%s"
        for name in _COLUMNS
    )
    insert = f"INSERT INTO tasks (user_id, {', '.join(_COLUMNS)}) VALUES (%s, {placeholders})"  # noqa: S608 — the names are ours
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO task_lists VALUES (%s, %s)", [user, len(rows) or 1])
        with connection.cursor() as cursor:
            cursor.executemany(
                insert.encode(), [[user, *(row[name] for name in _COLUMNS)] for row in rows]
            )


def row(version: int, **fields: object) -> Row:
    """A task as it is stored, with the given fields."""
    created_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=version)
    made: Row = {
        "title": f"Task {version}",
        "description": None,
        "is_completed": False,
        "priority": "none",
        "due_date": None,
        "due_at": None,
        "tags": [],
        "position": f"{version:016}",
        "version": version,
        "created_at": created_at,
        "updated_at": created_at,
        **fields,
    }
    return {**made, "completed_at": made["updated_at"] if made["is_completed"] else None}


def day_in(zone: str, at: datetime) -> date:
    return at.astimezone(ZoneInfo(zone)).date()


def due_day(task: Row, zone: str) -> date | None:
    if task["due_at"] is not None:
        return day_in(zone, task["due_at"])
    day: date | None = task["due_date"]
    return day


def is_due(task: Row, state: str, zone: str, now: datetime) -> bool:
    day, today = due_day(task, zone), day_in(zone, now)
    if day is None or state == "none":
        return day is None and state == "none"
    if state == "overdue":
        has_passed = day < today if task["due_at"] is None else task["due_at"] < now
        return has_passed and not task["is_completed"]
    return day == today if state == "today" else day > today


def is_due_before(task: Row, end: date | datetime, zone: str) -> bool | None:
    """Whether it is due before a day or an instant; None if it is not due at all."""
    day = due_day(task, zone)
    if day is None:
        return None
    if not isinstance(end, datetime):
        return day < end
    if task["due_at"] is not None:
        return bool(task["due_at"] < end)
    return day <= day_in(zone, end - _TICK)  # has the day begun before that instant?


def matches(task: Row, query: dict[str, Any], now: datetime) -> bool:
    """Whether a task matches all filters. The query has Python's values, not the wire's."""
    zone = query.get("tz", "UTC")
    tests: dict[str, Callable[[Any], bool]] = {
        "is_completed": lambda value: task["is_completed"] == value,
        "priority": lambda values: task["priority"] in values,
        "tag": lambda values: set(values) <= set(task["tags"]),
        "q": lambda text: any(
            form.lower() in (task[field] or "").lower()
            for form in (text, normalize("NFC", text), normalize("NFD", text))
            for field in ("title", "description")
        ),
        "due": lambda state: is_due(task, state, zone, now),
        "due_before": lambda end: is_due_before(task, end, zone) is True,
        "due_after": lambda start: is_due_before(task, start, zone) is False,
        "created_before": lambda end: task["created_at"] < end,
        "created_after": lambda start: task["created_at"] >= start,
        "updated_after": lambda start: task["updated_at"] >= start,
    }
    return all(test(query[name]) for name, test in tests.items() if name in query)


def _keys(field: str, zone: str) -> Callable[[Row], Any]:
    if field == "due":
        return lambda task: (due_day(task, zone), task["due_at"] or _BEGINNING)
    if field == "priority":
        return lambda task: PRIORITIES.index(task["priority"])
    return lambda task: task[field]


def in_order(tasks: Iterable[Row], sort: str, zone: str) -> list[Row]:
    """Sort by each key, the least one first: Python's sort is stable, also in reverse."""
    keys = [(name.lstrip("-"), name.startswith("-")) for name in sort.split(",")]
    found = list(tasks)
    for field, descending in [("id", keys[-1][1]), *reversed(keys)]:
        last = [task for task in found if field == "due" and due_day(task, zone) is None]
        first = [task for task in found if task not in last]
        found = sorted(first, key=_keys(field, zone), reverse=descending) + last
    return found


def listed(tasks: list[Row], query: dict[str, Any], now: datetime) -> list[Row]:
    """The whole list that the query asks for."""
    found = [task for task in tasks if matches(task, query, now)]
    return in_order(found, query.get("sort", "-created_at"), query.get("tz", "UTC"))


def summary(tasks: list[Row], zone: str, now: datetime) -> dict[str, int]:
    is_open = [task for task in tasks if not task["is_completed"]]
    return {
        "total": len(tasks),
        "open": len(is_open),
        "completed": len(tasks) - len(is_open),
        "overdue": sum(is_due(task, "overdue", zone, now) for task in is_open),
        "due_today": sum(is_due(task, "today", zone, now) for task in is_open),
    }


def on_the_wire(query: dict[str, Any]) -> dict[str, str]:
    """The query as the parameters of a request."""

    def written(value: object) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, list):
            return ",".join(value)
        return value.isoformat() if isinstance(value, date) else str(value)

    return {name: written(value) for name, value in query.items()}
