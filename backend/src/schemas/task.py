"""The bodies of requests and answers: what a client may send, what it gets, and how it is written.

`Task` describes the JSON object that `to_wire` makes of a row; a test holds each answer against it.
"""

from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Self
from uuid import UUID

import orjson
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from src.models import limits
from src.models.task import TaskRow
from src.schemas.examples import TASK_ID
from src.schemas.fields import (
    ABSENT,
    Description,
    DueAt,
    DueDate,
    Id,
    IsCompleted,
    Position,
    Tags,
    TaskPriority,
    Title,
    broken_rule,
    in_words,
)

READ_ONLY: Final = ("id", "user_id", "completed_at", "version", "created_at", "updated_at")
"""The fields that the server sets."""


def leave_out_defaults(schema: dict[str, Any]) -> None:
    """Leave out the defaults: what is absent is not null.

    Generators of clients take a field with a `default` for one that is always there, and would
    make it required when creating a task.
    """
    for field in schema["properties"].values():
        field.pop("default", None)


def _describe_with_defaults(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Say the defaults in words."""
    leave_out_defaults(schema)
    for name, field in model.model_fields.items():
        if name == "position":
            schema["properties"][name]["description"] += " Default: after all other tasks."
        elif not field.is_required():
            default = in_words(field.get_default(call_default_factory=True))
            schema["properties"][name]["description"] += f" Default: {default}."


class Place(NamedTuple):
    """A place in the user's order: directly after or before a task, or at that end."""

    side: Literal["after", "before"]
    neighbour: UUID | None


class RequestBody(BaseModel):
    """The body of a request, or an object in it."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra=leave_out_defaults)


class ResponseBody(BaseModel):
    """The body of a response, or an object in it."""

    model_config = ConfigDict(extra="forbid")


class _TaskBody(RequestBody):
    """What all bodies with fields of a task share.

    The schema says in words that the two due fields exclude each other: of a `not`, some generators
    of clients make a second class.
    """

    @field_validator("due_at", check_fields=False)  # each body lists its fields in the task's order
    @classmethod
    def _is_due_once(cls, due_at: DueAt, others: ValidationInfo) -> DueAt:
        if due_at is not None and others.data.get("due_date") is not None:
            raise broken_rule(
                "two_due_fields", "must be null if due_date is set: a task cannot have both"
            )
        return due_at


class TaskCreate(_TaskBody):
    """A new task. Only the title is required."""

    model_config = ConfigDict(json_schema_extra=_describe_with_defaults)

    title: Title
    description: Description = None
    is_completed: IsCompleted = False
    priority: TaskPriority = "none"
    due_date: DueDate = None
    due_at: DueAt = None
    tags: Tags = Field(default_factory=list)
    position: Position = ABSENT

    def to_values(self) -> dict[str, Any]:
        """Return the fields to set. Without a position, the task comes last."""
        return self.model_dump(
            exclude=None if "position" in self.model_fields_set else {"position"}
        )


class _RoundTripBody(_TaskBody):
    """A body that may be a changed copy of what GET returned: read-only fields are ignored."""

    @model_validator(mode="before")
    @classmethod
    def _drop_read_only(cls, body: object) -> object:
        if isinstance(body, dict):
            return {name: value for name, value in body.items() if name not in READ_ONLY}
        return body


class TaskReplace(_RoundTripBody):
    """A whole task: all of these fields but `position` are required.

    Without `position`, the task keeps its place. Read-only fields are accepted and ignored.
    """

    title: Title
    description: Description
    is_completed: IsCompleted
    priority: TaskPriority
    due_date: DueDate
    due_at: DueAt
    tags: Tags
    position: Position = ABSENT


class TaskUpdate(_RoundTripBody):
    """A JSON merge patch (RFC 7396): absent fields stay as they are, null clears.

    Only fields that can be null can be cleared. Setting one of `due_date` and `due_at` clears the
    other. Read-only fields are accepted and ignored.
    """

    title: Title = ABSENT
    description: Description = None
    is_completed: IsCompleted = ABSENT
    priority: TaskPriority = ABSENT
    due_date: DueDate = None
    due_at: DueAt = None
    tags: Tags = ABSENT
    position: Position = ABSENT

    def to_values(self) -> dict[str, Any]:
        """Return the fields to set. Setting one due field clears the other."""
        values = self.model_dump(exclude_unset=True)
        for due, other in (("due_date", "due_at"), ("due_at", "due_date")):
            if values.get(due) is not None:
                values[other] = None
        return values


class TaskCompletion(RequestBody):
    """Whether the task is completed."""

    # Whoever tries the example expects it to complete the task.
    is_completed: IsCompleted = Field(examples=[True])


class Neighbour(RequestBody):
    """The place of a task: next to another one, or at an end of the list."""

    after: Id | None = Field(
        ABSENT,
        description="The task to move this one directly after. Null: move it to the top.",
        examples=["01981f6e-3c00-7a3b-8a00-000000000002"],
    )
    before: Id | None = Field(
        ABSENT,
        description="The task to move this one directly before. Null: move it to the end.",
        examples=["01981f6e-3c00-7a3b-8a00-000000000003"],
    )

    @model_validator(mode="after")
    def _has_one_neighbour(self) -> Self:
        if len(self.model_fields_set & {"after", "before"}) != 1:
            raise broken_rule("one_neighbour", "must have exactly one of `after` and `before`")
        return self

    @property
    def place(self) -> Place:
        """Which side of which task."""
        if "after" in self.model_fields_set:
            return Place("after", self.after)
        return Place("before", self.before)


def _describe_move(schema: dict[str, Any]) -> None:
    """Say in JSON Schema that one of the two is there."""
    leave_out_defaults(schema)
    schema["minProperties"] = schema["maxProperties"] = 1


class TaskMove(Neighbour):
    """Where to move a task: either `after` another task, or `before` it."""

    model_config = ConfigDict(json_schema_extra=_describe_move)


class Task(ResponseBody):
    """A task. Every field is always present. Timestamps are in UTC, with `Z` and six digits."""

    id: UUID = Field(examples=[TASK_ID])
    user_id: str = Field(pattern=limits.USER_ID_PATTERN, examples=["alice"])
    title: Title
    description: Description
    is_completed: IsCompleted
    completed_at: AwareDatetime | None = Field(
        description="When the task was completed. Completing it again does not change this;"
        " reopening clears it.",
        examples=[None],
    )
    priority: TaskPriority
    due_date: DueDate
    due_at: DueAt
    tags: Tags
    position: Position
    version: int = Field(
        ge=1,
        description="The version of the task. It increases with each change, and is unique among"
        " the tasks of the user.",
        examples=[1796235330123456],
    )
    created_at: AwareDatetime = Field(examples=["2026-12-01T09:30:00.000000Z"])
    updated_at: AwareDatetime = Field(examples=["2026-12-02T18:15:30.123456Z"])


class TaskPage(ResponseBody):
    """One page of a list."""

    items: list[Task]
    next_cursor: str | None = Field(
        description="The `cursor` for the next page, or null on the last page."
    )
    total: int | None = Field(
        description="How many tasks match the filters. null unless `include_total` is true."
    )


class TaskSummary(ResponseBody):
    """How many tasks a user has."""

    total: int = Field(ge=0, description="All tasks.")
    open: int = Field(ge=0, description="Tasks that are not completed.")
    completed: int = Field(ge=0, description="Tasks that are completed.")
    overdue: int = Field(
        ge=0,
        description="Open tasks whose due instant has passed or whose due day has ended in `tz`.",
    )
    due_today: int = Field(ge=0, description="Open tasks that are due today in `tz`.")


def to_wire(task: TaskRow) -> dict[str, Any]:
    """Return the JSON object of a task, for `to_json`. The database gives its instants in UTC."""
    # A row is unpacked at once: for a list of a thousand, attributes would take twice as long.
    (
        id_,
        user_id,
        title,
        description,
        is_completed,
        completed_at,
        priority,
        due_date,
        due_at,
        tags,
        position,
        version,
        created_at,
        updated_at,
    ) = task
    return {
        "id": id_,
        "user_id": user_id,
        "title": title,
        "description": description,
        "is_completed": is_completed,
        "completed_at": completed_at and instant(completed_at),
        "priority": priority,
        "due_date": due_date,
        "due_at": due_at and instant(due_at),
        "tags": tags,
        "position": position,
        "version": version,
        "created_at": created_at if created_at.microsecond else instant(created_at),
        "updated_at": updated_at if updated_at.microsecond else instant(updated_at),
    }


def to_json(value: object) -> bytes:
    """Write a value as JSON; instants in UTC with `Z`."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def instant(at: datetime) -> datetime | str:
    """Write a whole second with six digits. orjson does that itself for all other instants."""
    # `isoformat()` would take twice as long.
    return at if at.microsecond else f"{to_json(at)[1:-2].decode()}.000000Z"
