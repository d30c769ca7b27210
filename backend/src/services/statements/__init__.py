"""Every SQL statement of the service, each scoped by `user_id`.

They are built once, with bind parameters. Tasks leave the database as the JSON of the wire,
rendered by PostgreSQL: nothing is built, checked or serialised again on the way out (ADR 0009).
"""

from src.services.statements.counter import WRITABLE
from src.services.statements.creation import CREATE_TASK, CREATE_TASK_BY_ID, CREATE_TASK_BY_KEY
from src.services.statements.lists import GET_SUMMARY, ListShape, list_tasks
from src.services.statements.sorts import sort_columns
from src.services.statements.tasks import DELETE_TASK, GET_TASK, TOGGLE_TASK, update_task

__all__ = [
    "CREATE_TASK",
    "CREATE_TASK_BY_ID",
    "CREATE_TASK_BY_KEY",
    "DELETE_TASK",
    "GET_SUMMARY",
    "GET_TASK",
    "TOGGLE_TASK",
    "WRITABLE",
    "ListShape",
    "list_tasks",
    "sort_columns",
    "update_task",
]
