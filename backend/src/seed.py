"""Demo tasks for one user: the same ones each time, around the present day."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from itertools import cycle, islice
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from src.models.limits import BATCH_MAX_OPERATIONS
from src.schemas.batch import CreateOperation
from src.schemas.task import TaskCreate
from src.services import todo_service

_TASKS: Final[tuple[tuple[str, list[str]], ...]] = (
    ("Buy milk", ["shopping"]),
    ("Write the report", ["work"]),
    ("Call the dentist", ["health", "phone"]),
    ("Pay the electricity bill", ["home", "money"]),
    ("Plan the team meeting", ["work", "team"]),
    ("Water the plants", ["home"]),
    ("Renew the passport", ["travel"]),
    ("Read the contract", ["work", "money"]),
    ("Repair the bicycle", []),
    ("Book the train to Lyon", ["travel"]),
    ("Answer Maria's letter", ["friends"]),
)
_PRIORITIES: Final = ("none", "medium", "low", "none", "high", "none", "low")
# One task in four is completed, and four in thirteen have no day.
_DAYS: Final = (0, 1, None, -3, 7, None, 2, 14, None, -1, 30, None, 5)
_COMPLETED: Final = (False, False, True, False)


def tasks_for(today: date, count: int) -> list[TaskCreate]:
    """Return this many tasks. The lists above have lengths without a common factor."""
    columns = islice(
        zip(*map(cycle, (_TASKS, _PRIORITIES, _DAYS, _COMPLETED)), strict=False), count
    )
    return [
        TaskCreate.model_validate(
            {
                "title": title,
                "tags": tags,
                "priority": priority,
                "due_date": None if days is None else f"{today + timedelta(days=days)}",
                "is_completed": is_completed,
            }
        )
        for (title, tags), priority, days, is_completed in columns
    ]


async def seed(session: AsyncSession, user_id: str, count: int) -> AsyncIterator[int]:
    """Create the tasks, in batches; after each batch, yield how many it created."""
    tasks = tasks_for(datetime.now(UTC).date(), count)
    for first in range(0, count, BATCH_MAX_OPERATIONS):
        operations = [
            CreateOperation(op="create", task=task)
            for task in tasks[first : first + BATCH_MAX_OPERATIONS]
        ]
        yield len(await todo_service.apply_batch(session, user_id, operations))


async def has_tasks(session: AsyncSession, user_id: str) -> bool:
    """Tell whether the user has a task."""
    summary = await todo_service.get_summary(session, user_id, tz="UTC", now=datetime.now(UTC))
    return summary.total > 0
