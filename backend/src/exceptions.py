"""The failures of the domain, each with its stable code. They know no HTTP.

TaskError
├── TaskNotFound           no such task for this user
├── TaskDeleted            the task that this key made was deleted
├── VersionMismatch        the task is not at a version that the caller named
│   └── TaskExists         it should have been new
├── IdempotencyKeyReused   the key made a task from another request
├── CursorMismatch         the cursor does not belong to this list
└── UnknownTimeZone        the database does not know the time zone
DatabaseUnavailable        the database cannot answer now; nothing is known to be wrong
└── OutcomeUnknown         and a change may have been made that must not be made twice
"""

from typing import ClassVar


class TaskError(Exception):
    """What a caller did that the rules do not allow."""

    code: ClassVar[str]


class TaskNotFound(TaskError):
    """No such task for this user: someone else's, deleted, or never there. All the same."""

    code = "task_not_found"


class TaskDeleted(TaskError):
    """The task that this idempotency key made was deleted: it is not made again."""

    code = "task_deleted"


class VersionMismatch(TaskError):
    """The task is not at a version that the caller named; `current` is the task as it is."""

    code = "version_mismatch"

    def __init__(self, version: int, current: bytes) -> None:
        super().__init__(version)
        self.version = version
        self.current = current


class TaskExists(VersionMismatch):
    """The task should have been new; `current` is the one that is there."""

    code = "task_exists"


class IdempotencyKeyReused(TaskError):
    """The key belongs to the task of another request."""

    code = "idempotency_key_reused"


class CursorMismatch(TaskError):
    """The cursor is damaged, or was made for another user, filter or sort."""

    code = "cursor_mismatch"


class UnknownTimeZone(TaskError):
    """The database does not know this time zone."""

    code = "unknown_time_zone"


class DatabaseUnavailable(Exception):
    """The database did not answer: unreachable, overloaded, or out of its time limits."""

    code: ClassVar[str] = "database_unavailable"


class OutcomeUnknown(DatabaseUnavailable):
    """The connection broke before the answer to a change that must not be made twice."""

    code = "outcome_unknown"
