"""The parameters of the list and of the summary, each of them optional.

What a parameter does not take is 422, never ignored or mended.
"""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json

from src.models import limits
from src.schemas.fields import NO_NUL, refuse_nul
from src.schemas.parameters import (
    SORT_FIELDS,
    AllTags,
    DayOrInstant,
    Flag,
    Instant,
    Priorities,
    Sort,
    SortKey,
    TimeZone,
    parse_integer,
    sort_keys,
)

_PAGING: Final = {"limit", "cursor", "include_total"}
_TIME_DEPENDENT: Final = {"overdue", "today", "upcoming"}
_PLUS: Final = "In a URL that you write yourself, `+` is `%2B`; here type `+`."


class TaskSummaryQuery(BaseModel):
    """What depends on a day needs a zone to have days in."""

    model_config = ConfigDict(extra="forbid")

    tz: Annotated[
        TimeZone,
        Field(
            description="The IANA time zone for everything that depends on a day: which day it is,"
            " and on which day an instant falls.",
            examples=["Europe/Berlin"],
        ),
    ] = "UTC"


class TaskListQuery(TaskSummaryQuery):
    """Which tasks, in which order, and which page of them. All filters must hold at once."""

    limit: Annotated[
        int,
        Field(
            ge=1,
            le=limits.PAGE_LIMIT_MAX,
            description=f"How many tasks a page has at most: 1 to {limits.PAGE_LIMIT_MAX}.",
            examples=[20],
        ),
        BeforeValidator(parse_integer),
    ] = limits.PAGE_LIMIT_DEFAULT
    cursor: Annotated[
        str | None,
        Field(
            description="The `next_cursor` of the page before. It belongs to this user, to these"
            " filters with their `tz`, and to this sort: with others it is 422.",
            examples=["kmcPTiE_Z1HuWyIyMDI2LTAzLTAxVDA5OjMwOjAwLjAwMDAwMFoiXQ"],
        ),
    ] = None
    include_total: Annotated[
        Flag,
        Field(
            description="Whether to count, in `total`, all tasks that match the filters. The more"
            " tasks match, the longer it takes."
        ),
    ] = False
    sort: Annotated[
        Sort,
        Field(
            description=f"One or more of {', '.join(f'`{field}`' for field in SORT_FIELDS)},"
            " separated by commas, each ascending, or descending with `-` before it. `due`: by"
            " the day in `tz`, within a day what is due on the whole day first, then by the"
            " instant. What is not due comes last both ways. `title`: by code point. The id"
            " breaks ties.",
            examples=["due,-priority"],
        ),
    ] = "-created_at"
    is_completed: Annotated[
        Flag | None,
        Field(description="Only the completed ones, or only the open ones.", examples=[False]),
    ] = None
    priority: Annotated[
        Priorities | None,
        Field(description="Any of these, separated by commas.", examples=["medium,high"]),
    ] = None
    tag: Annotated[
        AllTags | None,
        Field(
            description=f"All of these, separated by commas; {limits.TAGS_MAX_COUNT} at most. A"
            " tag with a comma in it cannot be asked for.",
            examples=["shopping,home"],
        ),
    ] = None
    q: Annotated[
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=limits.SEARCH_MAX_LENGTH,
                json_schema_extra={"pattern": NO_NUL},
            ),
            AfterValidator(refuse_nul),
        ]
        | None,
        Field(
            description="Text that the title or description contains. Upper and lower case are"
            " the same; `%` and `_` are ordinary characters.",
            examples=["milk"],
        ),
    ] = None
    due: Annotated[
        Literal["overdue", "today", "upcoming", "none"] | None,
        Field(
            description="`overdue`: open, and its instant has passed, or its day has ended in"
            " `tz`. `today`: due today in `tz`. `upcoming`: due on a later day in `tz`. `none`:"
            " not due at all.",
            examples=["today"],
        ),
    ] = None
    due_before: Annotated[
        DayOrInstant | None,
        Field(
            description="A day: due on an earlier day in `tz`. An instant: due before it; a task"
            f" due on a day counts from the start of that day in `tz`. {_PLUS}",
            examples=["2026-12-24"],
        ),
    ] = None
    due_after: Annotated[
        DayOrInstant | None,
        Field(
            description="A day: due on it or on a later day in `tz`. An instant: due at it or"
            f" later; a task due on a day counts from the start of that day in `tz`. {_PLUS}",
            examples=["2026-12-01"],
        ),
    ] = None
    created_before: Annotated[
        Instant | None,
        Field(
            description=f"Created before this instant. {_PLUS}", examples=["2027-01-01T00:00:00Z"]
        ),
    ] = None
    created_after: Annotated[
        Instant | None,
        Field(
            description=f"Created at this instant or later. {_PLUS}",
            examples=["2026-01-01T00:00:00Z"],
        ),
    ] = None
    updated_after: Annotated[
        Instant | None,
        Field(
            description=f"Last changed at this instant or later. {_PLUS}",
            examples=["2026-01-01T00:00:00Z"],
        ),
    ] = None

    @property
    def sort_keys(self) -> tuple[SortKey, ...]:
        """The keys of the sort, the most important one first."""
        return sort_keys(self.sort)

    @property
    def identity(self) -> str:
        """What a cursor is bound to: all that decides which tasks come in which order."""
        return to_json({name: value for name, value in self if name not in _PAGING}).decode()

    @property
    def depends_on_time(self) -> bool:
        """Whether the same tasks can give another list later."""
        return self.due in _TIME_DEPENDENT
