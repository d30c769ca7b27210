"""What changed since a client last asked: the query and the response."""

from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from src.models import limits
from src.models.task import Tombstone
from src.schemas import examples
from src.schemas.query import Limit
from src.schemas.task import ResponseBody, Task, instant


class ChangesQuery(BaseModel):
    """Since when, and how much at a time."""

    model_config = ConfigDict(extra="forbid")

    since: str | None = Field(
        None,
        description="The `next` of the previous response, which never expires. Without it, you get"
        " all tasks, from the start.",
        examples=[examples.SINCE],
    )
    limit: Limit = Field(
        limits.PAGE_LIMIT_DEFAULT,
        description="The maximum number of tasks and deletions per response: 1 to"
        f" {limits.PAGE_LIMIT_MAX}.",
        examples=[500],
    )


class DeletedTask(ResponseBody):
    """What remains of a deleted task."""

    id: UUID = Field(examples=[examples.TASK_ID])
    version: int = Field(
        ge=1, description="The version of the deletion.", examples=[1796235330123457]
    )
    deleted_at: AwareDatetime = Field(examples=["2026-12-02T18:15:30.123456Z"])


class TaskChanges(ResponseBody):
    """What changed: each task once, as it is now."""

    changed: list[Task] = Field(
        description="The tasks that were created or changed, in the order of their versions."
    )
    deleted: list[DeletedTask] = Field(
        description="The tasks that were deleted, in the order of their versions. You may never"
        " have seen some of them."
    )
    next: str = Field(description="The `since` for your next request. Store it with your copy.")
    has_more: bool = Field(
        description="Whether there are more changes now. If false, your copy is complete: it is the"
        " list as it was when the server responded."
    )


def deleted_to_wire(deleted: Tombstone) -> dict[str, Any]:
    """Return the JSON object of a deleted task, for `to_json`."""
    return {
        "id": deleted.id,
        "version": deleted.version,
        "deleted_at": instant(deleted.deleted_at),
    }
