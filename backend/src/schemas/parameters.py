"""The types of query parameters: each is a text, read strictly or refused."""

import re
from datetime import date, datetime
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from src.models import limits
from src.schemas.fields import (
    BLANK,
    YEAR,
    Priority,
    Tag,
    broken_rule,
    parse_date,
    parse_instant,
)

SORT_FIELDS: Final = ("created_at", "updated_at", "due", "priority", "title")
_INTEGER: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_BEGINS_AS_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT", re.ASCII | re.IGNORECASE)
# In a query a plus stands for a space: who writes the URL by hand loses it in the offset.
_LOST_PLUS: Final = re.compile(r"\d{4}-\d\d-\d\dT\S* \d\d:\d\d", re.ASCII | re.IGNORECASE)


class SortKey(NamedTuple):
    """One key of a sort, ascending unless it says otherwise."""

    field: str
    is_descending: bool


def parse_integer(value: object) -> object:
    """Read plain digits. The lenient parsing of a string would also take `1_0` and `5.0`."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise broken_rule("wrong_type", "must be an integer")
    return value


def _parse_boolean(value: object) -> bool:
    if value not in ("true", "false"):
        raise broken_rule("wrong_type", "must be true or false")
    return value == "true"


def _split(value: object) -> list[str]:
    """Split at commas. The framework gives a list of one text: a second one is refused before."""
    return str(value[0] if isinstance(value, list) else value).split(",")


def sort_keys(sort: str) -> tuple[SortKey, ...]:
    """Take a sort apart."""
    return tuple(
        SortKey(name.removeprefix("-"), is_descending=name.startswith("-"))
        for name in sort.split(",")
    )


def _require_sort(sort: str) -> str:
    fields = [key.field for key in sort_keys(sort)]
    if not set(fields) <= set(SORT_FIELDS) or len(set(fields)) < len(fields):
        raise broken_rule(
            "not_allowed",
            f"must be one or more of {', '.join(SORT_FIELDS)}, each once, each optionally"
            " with - before it",
        )
    return sort


def _parse_instant(value: object) -> datetime:
    if isinstance(value, str) and _LOST_PLUS.fullmatch(value):
        raise broken_rule(
            "invalid_instant",
            "must be a time with an offset such as 2026-03-01T09:30:00Z or"
            " 2026-03-01T09:30:00+01:00: in a URL, + is written %2B",
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
    """Give the names of all zones, as IANA's own list has them.

    `zoneinfo.available_timezones()` would add what this machine happens to have, such as
    `localtime`: a name that means something else elsewhere.
    """
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("ascii").split())


def _require_time_zone(value: str) -> str:
    if value not in time_zones():
        raise broken_rule("unknown_time_zone", "must be an IANA time zone such as Europe/Berlin")
    return value


_FIELD: Final = f"({'|'.join(SORT_FIELDS)})"
_SORT: Final = rf"^(?!.*\b{_FIELD}\b.*\b\1\b)-?{_FIELD}(,-?{_FIELD})*$"
_PRIORITY: Final = f"({'|'.join(limits.PRIORITIES)})"
_TAG_EDGE: Final = rf"[^\u0000,{BLANK}]"
_TAG: Final = (
    rf"[{BLANK}]*{_TAG_EDGE}([^\u0000,]{{0,{limits.TAG_MAX_LENGTH - 2}}}{_TAG_EDGE})?[{BLANK}]*"
)
_DAY_SCHEMA: Final[dict[str, Any]] = {"type": "string", "format": "date", "pattern": YEAR}
_INSTANT_SCHEMA: Final[dict[str, Any]] = {"type": "string", "format": "date-time", "pattern": YEAR}

Flag = Annotated[
    bool,
    PlainValidator(_parse_boolean),
    WithJsonSchema({"type": "boolean", "examples": [True]}),
]
Instant = Annotated[datetime, PlainValidator(_parse_instant), WithJsonSchema(_INSTANT_SCHEMA)]
DayOrInstant = Annotated[
    date | datetime,
    PlainValidator(_parse_day_or_instant),
    WithJsonSchema({"type": "string", "anyOf": [_DAY_SCHEMA, _INSTANT_SCHEMA]}),
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
    list[Priority],
    BeforeValidator(_split),
    WithJsonSchema({"type": "string", "pattern": f"^{_PRIORITY}(,{_PRIORITY})*$"}),
]
AllTags = Annotated[
    list[Tag],
    Field(max_length=limits.TAGS_MAX_COUNT),
    BeforeValidator(_split),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_TAG}(,{_TAG}){{0,{limits.TAGS_MAX_COUNT - 1}}}$"}
    ),
]
