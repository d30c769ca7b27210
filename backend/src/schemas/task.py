"""The bodies of the wire: what a client may send, and what it gets.

`Task` and `TaskPage` only describe: PostgreSQL renders the answers (ADR 0009), and a test
holds every answer against these schemas.
"""

from typing import Any, Final
from uuid import UUID

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
from src.schemas.fields import (
    Description,
    DueAt,
    DueDate,
    IsCompleted,
    Priority,
    Tags,
    Title,
    broken_rule,
    in_words,
)

READ_ONLY: Final = ("id", "user_id", "completed_at", "version", "created_at", "updated_at")
"""The fields that the server decides."""

_ABSENT: Final[Any] = None


def _describe(schema: dict[str, Any]) -> None:
    """Say in JSON Schema that the two due fields exclude each other."""
    due = {name: {"type": "string"} for name in ("due_date", "due_at")}
    schema["not"] = {"required": list(due), "properties": due}


def _describe_new(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Say the defaults in words only.

    Generators of clients take a field with a `default` for one that is always there, and would
    demand it of whoever creates a task.
    """
    _describe(schema)
    for name, field in model.model_fields.items():
        if not field.is_required():
            default = in_words(field.get_default(call_default_factory=True))
            described = schema["properties"][name]
            described.pop("default", None)
            described["description"] += f" Default: {default}."


def _describe_round_trip(schema: dict[str, Any]) -> None:
    """Say that the read-only fields may be sent back, and that they are ignored."""
    _describe(schema)
    for field in schema["properties"].values():
        field.pop("default", None)
    for name in READ_ONLY:
        schema["properties"][name] = {
            "readOnly": True,
            "description": "Accepted and ignored, so that what GET gave can be sent back.",
        }


class _TaskBody(BaseModel):
    """What every body with fields of a task shares."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @field_validator("due_at", check_fields=False)  # each body has its fields in the task's order
    @classmethod
    def _is_due_once(cls, due_at: DueAt, others: ValidationInfo) -> DueAt:
        if due_at is not None and others.data.get("due_date") is not None:
            raise broken_rule(
                "two_due_fields", "excludes due_date: a task is due on a day or at an instant"
            )
        return due_at


class TaskCreate(_TaskBody):
    """A new task. Only the title is required."""

    model_config = ConfigDict(json_schema_extra=_describe_new)

    title: Title
    description: Description = None
    is_completed: IsCompleted = False
    priority: Priority = "none"
    due_date: DueDate = None
    due_at: DueAt = None
    tags: Tags = Field(default_factory=list)


class _RoundTripBody(_TaskBody):
    """A body that may be what GET gave, changed: the read-only fields in it are ignored."""

    model_config = ConfigDict(json_schema_extra=_describe_round_trip)

    @model_validator(mode="before")
    @classmethod
    def _drop_read_only(cls, body: object) -> object:
        if isinstance(body, dict):
            return {name: value for name, value in body.items() if name not in READ_ONLY}
        return body


class TaskReplace(_RoundTripBody):
    """A whole task: every writable field must be there. Read-only fields are ignored."""

    title: Title
    description: Description
    is_completed: IsCompleted
    priority: Priority
    due_date: DueDate
    due_at: DueAt
    tags: Tags


class TaskUpdate(_RoundTripBody):
    """A JSON merge patch (RFC 7396): what is absent stays as it is, null clears.

    Only fields that can be null can be cleared. Setting one of `due_date` and `due_at` clears
    the other. Read-only fields are ignored.
    """

    title: Title = _ABSENT
    description: Description = None
    is_completed: IsCompleted = _ABSENT
    priority: Priority = _ABSENT
    due_date: DueDate = None
    due_at: DueAt = None
    tags: Tags = _ABSENT


class TaskCompletion(BaseModel):
    """Whether the task is to be completed or open."""

    model_config = ConfigDict(strict=True, extra="forbid")

    # Whoever tries the example expects it to complete.
    is_completed: IsCompleted = Field(examples=[True])


class Task(BaseModel):
    """A task. Every key is always there; timestamps are in UTC, with `Z` and microseconds."""

    model_config = ConfigDict(extra="forbid")

    id: UUID = Field(examples=["01981f6e-3c00-7a3b-8a00-000000000001"])
    user_id: str = Field(pattern=limits.USER_ID_PATTERN, examples=["alice"])
    title: Title
    description: Description
    is_completed: IsCompleted
    completed_at: AwareDatetime | None = Field(
        description="When it was completed: kept when it is completed again, null when reopened.",
        examples=[None],
    )
    priority: Priority
    due_date: DueDate
    due_at: DueAt
    tags: Tags
    version: int = Field(
        ge=1,
        description="The number of the change, among all of this user's, that last touched it.",
        examples=[7],
    )
    created_at: AwareDatetime = Field(examples=["2026-12-01T09:30:00.000000Z"])
    updated_at: AwareDatetime = Field(examples=["2026-12-02T18:15:30.123456Z"])


EXAMPLE_TASK: Final = {
    name: field.examples[0] for name, field in Task.model_fields.items() if field.examples
}


class TaskPage(BaseModel):
    """One page of a list."""

    model_config = ConfigDict(extra="forbid")

    items: list[Task]
    next_cursor: str | None = Field(
        description="Send it as `cursor` for the page after this one. null: this is the last."
    )
    total: int | None = Field(
        description="How many tasks match the filters, if that was asked for."
    )


class TaskSummary(BaseModel):
    """How many tasks a user has."""

    model_config = ConfigDict(extra="forbid")

    total: int = Field(ge=0, description="All of them.")
    open: int = Field(ge=0, description="Those that are not completed.")
    completed: int = Field(ge=0, description="Those that are.")
    overdue: int = Field(
        ge=0, description="Open, and its instant has passed, or its day has ended in `tz`."
    )
    due_today: int = Field(ge=0, description="Open, and due today in `tz`, overdue or not.")
