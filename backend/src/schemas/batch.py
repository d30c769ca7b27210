"""A batch: several operations that are carried out all or none."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from src.models import limits
from src.schemas.changes import DeletedTask
from src.schemas.fields import ABSENT, Id, IsCompleted, parse_whole_number
from src.schemas.task import (
    Neighbour,
    RequestBody,
    ResponseBody,
    Task,
    TaskCreate,
    TaskUpdate,
)

OperationName = Literal["create", "update", "complete", "move", "delete"]


class _Operation(RequestBody):
    op: str


class _OnVersion(_Operation):
    """An operation on a task that exists, perhaps only if the task has not changed."""

    id: Id
    if_version: Annotated[
        int,
        Field(
            ge=1,
            description="The `version` of the task as you last saw it. If the task has changed"
            " since then, the operation fails; changes by the same batch do not count. Without"
            " `if_version`, the last writer wins.",
            examples=[1796235330123456],
        ),
        BeforeValidator(parse_whole_number),
    ] = ABSENT


class CreateOperation(_Operation):
    """Create a task.

    With an `id`, the operation can be repeated: if the task exists, and was created with the same
    content or has it now, nothing is written.
    """

    op: Literal["create"]
    task: TaskCreate
    id: Annotated[
        Id,
        Field(
            description="The id of the new task, such as a new UUID. Without it, the server chooses"
            " one, and a batch that is sent again creates a second task."
        ),
    ] = ABSENT


class UpdateOperation(_OnVersion):
    """Change some fields of a task, as `PATCH` does."""

    op: Literal["update"]
    changes: TaskUpdate


class CompleteOperation(_OnVersion):
    """Complete a task, or reopen it."""

    op: Literal["complete"]
    is_completed: IsCompleted = Field(examples=[True])


class MoveOperation(Neighbour, _OnVersion):
    """Move a task directly `after` or `before` another one; null stands for the top or the end.

    Send exactly one of the two.
    """

    op: Literal["move"]


class DeleteOperation(_OnVersion):
    """Delete a task permanently. If it was deleted before, nothing is written."""

    op: Literal["delete"]


Operation = CreateOperation | UpdateOperation | CompleteOperation | MoveOperation | DeleteOperation


def is_conditional(operation: Operation) -> bool:
    """Tell whether the operation depends on the version of its task."""
    return not isinstance(operation, CreateOperation) and operation.if_version is not None


class TaskBatch(RequestBody):
    """Operations, which are carried out in their order."""

    operations: Annotated[
        list[Annotated[Operation, Field(discriminator="op")]],
        Field(min_length=1, max_length=limits.BATCH_MAX_OPERATIONS),
    ]


class OperationResult(ResponseBody):
    """The result of one operation: `task`, or `deleted` if `op` is `delete`."""

    op: OperationName
    task: Task | None = Field(description="The task as this operation left it.")
    deleted: DeletedTask | None = Field(description="What remains of the task.")


class TaskBatchResult(ResponseBody):
    """The results, in the order of the operations."""

    results: list[OperationResult]
