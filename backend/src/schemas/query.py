"""The query parameters of the list and of the summary. All are optional.

A parameter is read strictly: what it does not accept is 422, never ignored or corrected.
"""

import re
from datetime import date, datetime
from functools import cache, lru_cache
from importlib import resources
from typing import Annotated, Final, Literal, NamedTuple

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
)

from src.models import limits
from src.schemas.examples import CURSOR
from src.schemas.fields import (
    ABSENT,
    BLANK,
    NO_NUL,
    YEAR,
    Tag,
    broken_rule,
    parse_date,
    parse_instant,
    refuse_nul,
)

COMMA_SEPARATED: Final = frozenset({"priority", "sort", "tag"})
"""The parameters that can have several values."""

SORT_FIELDS: Final = ("created_at", "updated_at", "due", "priority", "title", "position")
_INTEGER: Final = re.compile(r"-?\d{1,4000}", re.ASCII)  # Python reads 4,300
_BEGINS_AS_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT", re.ASCII | re.IGNORECASE)
# In a query, a plus sign means a space, so an offset that is not percent-encoded loses its sign.
_LOST_PLUS: Final = re.compile(r"\d{4}-\d\d-\d\dT\S* \d\d(:?\d\d)?", re.ASCII | re.IGNORECASE)


class SortKey(NamedTuple):
    """One key of a sort, ascending unless it says otherwise."""

    field: str
    is_descending: bool


def parse_integer(value: object) -> object:
    """Accept plain digits only: pydantic would also accept `1_0` and `5.0`."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise broken_rule("wrong_type", "must be an integer")
    return value


def _parse_boolean(value: object) -> bool:
    if value not in ("true", "false"):
        raise broken_rule("wrong_type", "must be true or false")
    return value == "true"


def _split(value: object) -> list[str]:
    """Split at commas. FastAPI gives a list with one string: repetition has been refused before."""
    return str(value[0] if isinstance(value, list) else value).split(",")


@lru_cache(maxsize=256)
def sort_keys(sort: str) -> tuple[SortKey, ...]:
    """Parse a valid `sort`, and keep the result. One that is not valid may be of any length."""
    return _parse_sort(sort)


def _parse_sort(sort: str) -> tuple[SortKey, ...]:
    return tuple(
        SortKey(name.removeprefix("-"), is_descending=name.startswith("-"))
        for name in sort.split(",")
    )


def _require_sort(sort: str) -> str:
    fields = [key.field for key in _parse_sort(sort)]
    if not set(fields) <= set(SORT_FIELDS) or len(set(fields)) < len(fields):
        raise broken_rule(
            "not_allowed",
            f"must be one or more of {', '.join(SORT_FIELDS)}, separated by commas, each at most"
            " once, each optionally with - in front",
        )
    return sort


def _parse_instant(value: object) -> datetime:
    if isinstance(value, str) and _LOST_PLUS.fullmatch(value):
        raise broken_rule(
            "invalid_instant",
            "must be a time with an offset, such as 2026-03-01T09:30:00Z; in a URL, write the + of"
            " an offset as %2B",
        )
    return parse_instant(value)


def _parse_day_or_instant(value: object) -> date | datetime:
    if isinstance(value, str) and _BEGINS_AS_INSTANT.match(value):
        return _parse_instant(value)
    try:
        return parse_date(value)
    except ValueError:
        raise broken_rule(
            "invalid_day_or_instant",
            "must be a date such as 2026-03-01, or a time with an offset such as"
            f" 2026-03-01T09:30:00Z, in the years {limits.EARLIEST_DAY.year} to"
            f" {limits.LATEST_DAY.year}",
        ) from None


@cache
def time_zones() -> frozenset[str]:
    """Return the names of all time zones in IANA's list.

    `zoneinfo.available_timezones()` adds what this machine happens to have, such as `localtime`,
    which means something else elsewhere.
    """
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("ascii").split())


def _require_time_zone(value: str) -> str:
    if value not in time_zones():
        raise broken_rule("unknown_time_zone", "must be an IANA time zone such as Europe/Berlin")
    return value


_FIELD: Final = f"({'|'.join(SORT_FIELDS)})"
_SORT: Final = rf"^-?{_FIELD}(,-?{_FIELD})*$"
_PRIORITY: Final = f"({'|'.join(limits.PRIORITIES)})"
_TAG_EDGE: Final = rf"[^\x00,{BLANK}]"
_TAG: Final = (
    rf"[{BLANK}]*{_TAG_EDGE}([^\x00,]{{0,{limits.TAG_MAX_LENGTH - 2}}}{_TAG_EDGE})?[{BLANK}]*"
)

Flag = Annotated[bool, PlainValidator(_parse_boolean, json_schema_input_type=bool)]
Instant = Annotated[
    datetime,
    PlainValidator(_parse_instant, json_schema_input_type=str),
    Field(json_schema_extra={"format": "date-time", "pattern": YEAR}),
]
DayOrInstant = Annotated[
    date | datetime,
    PlainValidator(_parse_day_or_instant, json_schema_input_type=str),
    # Of two formats, generators of clients would make a type without a meaning.
    Field(json_schema_extra={"pattern": YEAR}),
]
TimeZone = Annotated[
    str,
    AfterValidator(_require_time_zone),
    Field(json_schema_extra={"format": "iana-time-zone"}),
]
Sort = Annotated[
    str,
    AfterValidator(_require_sort),
    Field(json_schema_extra={"pattern": _SORT}),
]
Priorities = Annotated[
    list[limits.Priority],
    BeforeValidator(_split, json_schema_input_type=str),
    Field(json_schema_extra={"pattern": f"^{_PRIORITY}(,{_PRIORITY})*$"}),
]
Limit = Annotated[
    int,
    Field(ge=1, le=limits.PAGE_LIMIT_MAX),
    BeforeValidator(parse_integer),
]
AllTags = Annotated[
    list[Tag],
    Field(max_length=limits.TAGS_MAX_COUNT),
    BeforeValidator(_split, json_schema_input_type=str),
    Field(json_schema_extra={"pattern": f"^{_TAG}(,{_TAG}){{0,{limits.TAGS_MAX_COUNT - 1}}}$"}),
]

_PAGING: Final = {"limit", "cursor", "include_total"}
_TIME_DEPENDENT: Final = {"overdue", "today", "upcoming"}
_PLUS: Final = "In a URL, write the `+` of an offset as `%2B`."


class TaskSummaryQuery(BaseModel):
    """The time zone for everything that depends on a day."""

    model_config = ConfigDict(extra="forbid")

    tz: TimeZone = Field(
        "UTC",
        description="The IANA time zone that decides which day it is, and on which day an"
        " instant falls.",
        examples=["Europe/Berlin"],
    )


class TaskListQuery(TaskSummaryQuery):
    """Which tasks, in which order, and which page of them. A task must match all filters."""

    limit: Limit = Field(
        limits.PAGE_LIMIT_DEFAULT,
        description=f"The maximum number of tasks per page: 1 to {limits.PAGE_LIMIT_MAX}.",
        examples=[20],
    )
    cursor: str | None = Field(
        None,
        description="The `next_cursor` of the previous page. Use it with the same user,"
        " filters, `tz` and `sort`; with any others, you get 422.",
        examples=[CURSOR],
    )
    include_total: Flag = Field(
        default=False,
        description="Whether to return, in `total`, how many tasks match the filters. The more"
        " tasks match, the longer this takes.",
        examples=[True],
    )
    sort: Sort = Field(
        "-created_at",
        description=f"One or more of {', '.join(f'`{field}`' for field in SORT_FIELDS)},"
        " separated by commas, each at most once. Each is ascending, or descending with `-` in"
        " front. `due` sorts by the day in `tz`; within a day, tasks with a `due_date` come"
        " first, then those with a `due_at` in order of time. Tasks without a due date come"
        " last in either direction. `title` sorts by code point, `position` in the order that the"
        " user arranged. Ties are broken by the id.",
        examples=["due,-priority"],
    )
    # The type of a filter is no union with None: FastAPI takes unions apart for each request, which
    # was a fifth of the time that it took to read the query.
    is_completed: Flag = Field(
        ABSENT,
        description="`true`: only completed tasks. `false`: only open ones.",
        examples=[False],
    )
    priority: Priorities = Field(
        ABSENT,
        description="Tasks with any of these priorities, separated by commas:"
        f" {', '.join(f'`{name}`' for name in limits.PRIORITIES)}.",
        examples=["medium,high"],
    )
    tag: AllTags = Field(
        ABSENT,
        description="Tasks with all of these tags, separated by commas; at most"
        f" {limits.TAGS_MAX_COUNT}. Tags are compared exactly: `Work` is not `work`. Tags that"
        " contain a comma cannot be used here.",
        examples=["shopping,home"],
    )
    q: Annotated[
        str,
        Field(
            min_length=1,
            max_length=limits.SEARCH_MAX_LENGTH,
            json_schema_extra={"pattern": NO_NUL},
        ),
        AfterValidator(refuse_nul),
    ] = Field(
        ABSENT,
        description="Tasks whose title or description contains this text, ignoring case and"
        " whether accented letters are composed (NFC) or decomposed (NFD). `%` and `_` are"
        " ordinary characters.",
        examples=["milk"],
    )
    due: Literal["overdue", "today", "upcoming", "none"] = Field(
        ABSENT,
        description="`overdue`: open tasks whose due instant has passed or whose due day has"
        " ended in `tz`. `today`: tasks due today in `tz`. `upcoming`: tasks due on a later day"
        " in `tz`. `none`: tasks without a due date.",
        examples=["today"],
    )
    due_before: DayOrInstant = Field(
        ABSENT,
        description="With a day: tasks due on an earlier day in `tz`. With an instant: tasks"
        " due before it; a `due_date` counts as the start of that day in `tz`."
        f" {_PLUS}",
        examples=["2026-12-24"],
    )
    due_after: DayOrInstant = Field(
        ABSENT,
        description="With a day: tasks due on that day or later in `tz`. With an instant: tasks"
        " due at that time or later; a `due_date` counts as the start of that day in `tz`."
        f" {_PLUS}",
        examples=["2026-12-01"],
    )
    created_before: Instant = Field(
        ABSENT,
        description=f"Tasks created before this instant. {_PLUS}",
        examples=["2027-01-01T00:00:00Z"],
    )
    created_after: Instant = Field(
        ABSENT,
        description=f"Tasks created at this instant or later. {_PLUS}",
        examples=["2026-01-01T00:00:00Z"],
    )
    updated_after: Instant = Field(
        ABSENT,
        description=f"Tasks last changed at this instant or later. {_PLUS}",
        examples=["2026-01-01T00:00:00Z"],
    )

    @property
    def sort_keys(self) -> tuple[SortKey, ...]:
        """The keys of the sort, the most important one first."""
        return sort_keys(self.sort)

    @property
    def identity(self) -> str:
        """What a cursor is bound to: everything that decides which tasks come in which order.

        Filters that are not set are left out, so cursors stay valid when a filter is added. The
        order of tags and of priorities does not matter.
        """
        values = {
            name: sorted(value) if isinstance(value, list) else value
            for name, value in self
            if value is not None and name not in _PAGING
        }
        return orjson.dumps(values).decode()

    @property
    def depends_on_time(self) -> bool:
        """Whether the same tasks can make a different list later."""
        return self.due in _TIME_DEPENDENT
