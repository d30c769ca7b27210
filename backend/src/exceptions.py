"""The failures of the domain, each with its stable code. They know no HTTP."""

from collections.abc import Mapping
from typing import ClassVar

from src.models.task import TaskRow


class TaskError(Exception):
    """The caller asked for something that the rules do not allow."""

    code: ClassVar[str]


class TaskNotFound(TaskError):
    """The user has no such task: it belongs to someone else, was deleted, or never existed."""

    code = "task_not_found"


class TaskDeleted(TaskError):
    """A task with this idempotency key, or id in a batch, was deleted. It is not created again."""

    code = "task_deleted"


class VersionMismatch(TaskError):
    """The task is not at a version that the caller expects; `current` is the task as it is."""

    code = "version_mismatch"

    def __init__(self, current: TaskRow) -> None:
        super().__init__(current.version)
        self.current = current


class TaskExists(VersionMismatch):
    """The task should not have existed; `current` is the task as it is."""

    code = "task_exists"


class IdempotencyKeyReused(TaskError):
    """The key was used for a different request."""

    code = "idempotency_key_reused"


class CursorMismatch(TaskError):
    """The cursor is damaged, or belongs to another user, filter or sort."""

    code = "cursor_mismatch"


class UnknownNeighbour(TaskError):
    """The user has no such task to move a task next to; `side` is where it should have been."""

    code = "unknown_neighbour"

    def __init__(self, side: str) -> None:
        super().__init__(side)
        self.side = side


class TokenMismatch(TaskError):
    """The token is damaged, or belongs to the changes of another user."""

    code = "token_mismatch"


class ListRestarted(TaskError):
    """The token is of a list that was lost, or replaced by an older copy."""

    code = "list_restarted"


class BatchFailed(TaskError):
    """Some operations of the batch failed, so none was carried out.

    `failures` has the reason of each, by the position of the operation.
    """

    code = "batch_failed"

    def __init__(self, failures: Mapping[int, TaskError]) -> None:
        super().__init__(list(failures))
        self.failures = failures


class UnknownTimeZone(TaskError):
    """The database does not know this time zone."""

    code = "unknown_time_zone"


class DatabaseUnavailable(Exception):
    """The database is unreachable or overloaded, or a time limit expired.

    Nothing was changed, unless it is `OutcomeUnknown`.
    """

    code: ClassVar[str] = "database_unavailable"


class OutcomeUnknown(DatabaseUnavailable):
    """It is unknown whether a write was made, usually because the connection was lost."""

    code = "outcome_unknown"
