"""A whole example of each body, by the name of its schema, as the OpenAPI document shows it.

Bodies of requests can be sent as they are, and are what a person would send. Tools that import the
document make requests of them; without them, they would put together random values of the fields.
"""

from typing import Any, Final

TASK_ID: Final = "01981f6e-3c00-7a3b-8a00-000000000001"
CURSOR: Final = (
    "ALY7RC3E8xhMWyIyMDI2LTEyLTAxVDA5OjMwOjAwLjAwMDAwMFoiLCIwMTk4MWY2ZS0zYzAwLTdhM2ItOGEwMC0w"
    "MDAwMDAwMDAwMDIiXQ"
)
"""Of a list of alice's, after this page."""
SINCE: Final = "02gzjAG-JLEFWzE3OTYyMzUzMzAxMjM0NTYsMTc5NjIzNTMzMDEyMzQ1OF0"
"""Of alice's list, after these changes."""

TASK: Final[dict[str, Any]] = {
    "id": TASK_ID,
    "user_id": "alice",
    "title": "Buy milk",
    "description": "Two litres",
    "is_completed": False,
    "completed_at": None,
    "priority": "high",
    "due_date": "2026-12-24",
    "due_at": None,
    "tags": ["shopping"],
    "position": "1796235330123456",
    "version": 1796235330123456,
    "created_at": "2026-12-01T09:30:00.000000Z",
    "updated_at": "2026-12-02T18:15:30.123456Z",
}
# With a position, whoever tries the examples would put all tasks into the same place.
_CONTENT: Final = {
    name: TASK[name]
    for name in ("title", "description", "is_completed", "priority", "due_date", "due_at", "tags")
}
_OTHER_TASK: Final = TASK | {
    "id": "01981f6e-3c00-7a3b-8a00-000000000002",
    "title": "Call the dentist",
    "description": None,
    "is_completed": True,
    "completed_at": "2026-12-02T18:15:30.123457Z",
    "priority": "none",
    "due_date": None,
    "due_at": "2026-12-03T08:00:00.000000Z",
    "tags": [],
    "position": "1796235330123457",
    "version": 1796235330123457,
    "updated_at": "2026-12-02T18:15:30.123457Z",
}
_DELETED: Final = {
    "id": "01981f6e-3c00-7a3b-8a00-000000000003",
    "version": 1796235330123458,
    "deleted_at": "2026-12-02T18:15:30.123458Z",
}

EXAMPLES: Final[dict[str, Any]] = {
    "TaskCreate": {"title": "Buy milk", "priority": "high", "due_date": "2026-12-24"},
    "TaskReplace": _CONTENT,
    "TaskUpdate": {"title": "Buy oat milk", "due_date": None},
    "TaskCompletion": {"is_completed": True},
    "TaskMove": {"after": None},
    "TaskBatch": {
        "operations": [
            {"op": "create", "id": TASK_ID, "task": {"title": "Buy milk"}},
            {"op": "complete", "id": TASK_ID, "is_completed": True},
        ]
    },
    "Task": TASK,
    "TaskPage": {
        "items": [TASK, _OTHER_TASK],
        "next_cursor": CURSOR,
        "total": None,
    },
    "TaskChanges": {
        "changed": [TASK],
        "deleted": [_DELETED],
        "next": SINCE,
        "has_more": False,
    },
    "TaskSummary": {"total": 12, "open": 5, "completed": 7, "overdue": 1, "due_today": 2},
    "TaskBatchResult": {
        "results": [
            {"op": "update", "task": TASK, "deleted": None},
            {"op": "delete", "task": None, "deleted": _DELETED},
        ]
    },
    "Health": {"status": "ok"},
}
