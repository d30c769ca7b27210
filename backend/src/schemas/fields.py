"""The fields of a task as clients send them: one type each, with its rule and its description.

Types are strict: numbers, booleans and strings are never converted into one another.
"""

import re
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from src.models import limits
from src.schemas.examples import TASK_ID

_Day = TypeVar("_Day", date, datetime)

# All engines that read the patterns of the document know `\x00`; Go's and Rust's know no `\u0000`,
# no look-around and no back-references. What differs between them is the meaning of `\s`.
NO_NUL: Final = r"^[^\x00]*$"
BLANK: Final = "".join(
    f"\\x{ord(character):02x}" if character.isascii() else character
    for character in limits.WHITE_SPACE
)
_NOT_BLANK: Final = rf"^[^\x00]*[^\x00{BLANK}][^\x00]*$"
YEAR: Final = r"^(19|2\d)\d\d-"
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HOUR: Final = r"([01]\d|2[0-3])"
_INSTANT: Final = re.compile(
    rf"\d{{4}}-\d\d-\d\d[Tt]{_HOUR}:\d\d(:\d\d(\.\d{{1,9}})?)?([Zz]|[+-]{_HOUR}(:?[0-5]\d)?)",
    re.ASCII,
)


RuleCode = Literal[
    "invalid_date",
    "invalid_day_or_instant",
    "invalid_entity_tag",
    "invalid_instant",
    "invalid_uuid",
    "not_allowed",
    "nul_character",
    "one_neighbour",
    "two_due_fields",
    "unknown_time_zone",
    "wrong_type",
]
"""The codes of the rules that pydantic does not know."""


def broken_rule(code: RuleCode, detail: str) -> PydanticCustomError:
    """Report a broken rule: a stable `code`, and a `detail` that never holds the input."""
    return PydanticCustomError("broken_rule", "{detail}", {"code": code, "detail": detail})


def in_words(value: object) -> str:
    """Format a value for a sentence: in backticks, as JSON, a string without its quotes."""
    return f"`{value if isinstance(value, str) else orjson.dumps(value).decode()}`"


def parse_uuid(value: object) -> UUID:
    """Read the text form of RFC 9562, in upper or lower case."""
    if isinstance(value, str) and _UUID.fullmatch(value):
        return UUID(value)
    raise broken_rule("invalid_uuid", f"must be a UUID such as {TASK_ID}")


def refuse_nul(text: str) -> str:
    """Refuse the one character that PostgreSQL cannot store."""
    if "\0" in text:
        raise broken_rule("nul_character", "must not contain the character NUL")
    return text


def parse_whole_number(value: object) -> object:
    """Read 7.0 as 7: to JSON Schema, both are the same integer, and some libraries write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parse_date(value: object) -> date:
    """Read a civil day. Numbers and times are refused."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        # A day that the calendar does not have is a ValueError.
        with suppress(ValueError):
            return _in_range(date.fromisoformat(value))
    raise broken_rule(
        "invalid_date",
        f"must be a date such as 2026-03-01, from {limits.EARLIEST_DAY} to {limits.LATEST_DAY}",
    )


def parse_instant(value: object) -> datetime:
    """Read a time with its offset, and return it in UTC; digits beyond microseconds are cut off."""
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        # In UTC it may lie before the year 1 or after 9999, which is an OverflowError.
        with suppress(ValueError, OverflowError):
            return _in_range(datetime.fromisoformat(value.upper()).astimezone(UTC))
    raise broken_rule(
        "invalid_instant",
        "must be a time with an offset, such as 2026-03-01T09:30:00Z or 2026-03-01T10:30+01:00,"
        f" in the years {limits.EARLIEST_DAY.year} to {limits.LATEST_DAY.year} (UTC)",
    )


def _in_range(value: _Day) -> _Day:
    if not limits.EARLIEST_DAY.year <= value.year <= limits.LATEST_DAY.year:
        raise ValueError
    return value


def _drop_duplicates(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


Id = Annotated[
    UUID,
    BeforeValidator(parse_uuid),
    Field(examples=[TASK_ID]),
]

Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=limits.TITLE_MAX_LENGTH),
    AfterValidator(refuse_nul),
    Field(
        description=f"What needs to be done: 1 to {limits.TITLE_MAX_LENGTH} characters (code"
        " points) after surrounding white space is trimmed.",
        examples=["Buy milk"],
        json_schema_extra={"pattern": _NOT_BLANK},
    ),
]

Description = Annotated[
    Annotated[
        str,
        StringConstraints(max_length=limits.DESCRIPTION_MAX_LENGTH),
        AfterValidator(refuse_nul),
        Field(json_schema_extra={"pattern": NO_NUL}),
    ]
    | None,
    Field(
        description=f"At most {limits.DESCRIPTION_MAX_LENGTH} characters (code points). `null`"
        " means no description; an empty string is kept as it is.",
        examples=["Two litres"],
    ),
]

ABSENT: Final[Any] = None
"""The default of a field that may be left out, but is never null."""

IsCompleted = Annotated[bool, Field(description="Whether the task is done.", examples=[False])]

TaskPriority = Annotated[
    limits.Priority, Field(description="How important the task is.", examples=["high"])
]

DueDate = Annotated[
    Annotated[
        date,
        BeforeValidator(parse_date),
        WithJsonSchema({"type": "string", "format": "date", "pattern": YEAR}),
    ]
    | None,
    Field(
        description=f"The day on which the task is due, from {limits.EARLIEST_DAY} to"
        f" {limits.LATEST_DAY}. It is never converted between time zones. A task has at most one of"
        " `due_date` and `due_at`.",
        examples=["2026-12-24"],
    ),
]

DueAt = Annotated[
    Annotated[
        datetime,
        BeforeValidator(parse_instant),
        WithJsonSchema({"type": "string", "format": "date-time", "pattern": YEAR}),
    ]
    | None,
    Field(
        description="The instant at which the task is due: a time with an offset (`Z`, `+02:00`,"
        " `+0200` or `+02`), seconds optional, up to nine fractional digits, of which six are kept;"
        f" in the years {limits.EARLIEST_DAY.year} to {limits.LATEST_DAY.year} (UTC). A task has at"
        " most one of `due_date` and `due_at`.",
        examples=[None],
    ),
]

Position = Annotated[
    str,
    StringConstraints(pattern=limits.POSITION_PATTERN),
    Field(
        description="The place of the task in the user's order: sort by it as text, byte by byte,"
        f" then by the id. It is a decimal number: {limits.POSITION_WHOLE_DIGITS} digits,"
        f" optionally followed by a point and 1 to {limits.POSITION_DECIMALS} digits, the last of"
        " which is not 0.",
        examples=["1796235330123456"],
    ),
]

Tag = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=limits.TAG_MAX_LENGTH),
    AfterValidator(refuse_nul),
    Field(json_schema_extra={"pattern": _NOT_BLANK}),
]
Tags = Annotated[
    list[Tag],
    Field(max_length=limits.TAGS_MAX_COUNT),  # before duplicates are dropped
    AfterValidator(_drop_duplicates),
    Field(
        description=f"At most {limits.TAGS_MAX_COUNT} tags of 1 to {limits.TAG_MAX_LENGTH}"
        " characters (code points) each. Surrounding white space is trimmed, duplicates are"
        " dropped, and the order is kept. Tags are compared exactly: `Work` is not `work`.",
        examples=[["shopping"]],
    ),
]
