"""How a task comes to be: under a new id, under the id of a key, or under the client's own.

An id is fixed before its statement is first sent. That is what makes a creation repeatable.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession
from uuid6 import uuid7

from src.database import fetch, fetch_one
from src.exceptions import IdempotencyKeyReused, TaskDeleted, TaskExists
from src.schemas.task import TaskCreate, TaskReplace
from src.services import statements
from src.services.documents import TaskDocument
from src.services.identities import fingerprint_of, task_id_of


async def create_new(session: AsyncSession, user_id: str, task: TaskCreate) -> TaskDocument:
    """Create a task under a new id, a UUIDv7 (RFC 9562)."""
    task_id = uuid7()
    parameters = task_parameters(user_id, task_id, task.model_dump())
    version, body = await fetch_one(session, statements.CREATE_TASK, parameters, is_repeatable=True)
    return TaskDocument(task_id, version, body, is_new=True)


async def create_by_key(
    session: AsyncSession, user_id: str, task: TaskCreate, key: str
) -> TaskDocument:
    """Create the task of this key, or give it as it is now.

    A task that a lost try of this very request may have made counts as new. It may have been
    there before, but nobody can tell any more, and the client cannot have seen it.

    Raises:
        TaskDeleted: the key's task was deleted.
        IdempotencyKeyReused: the key has made a task from another body.
    """
    task_id = task_id_of(user_id, key)
    parameters = task_parameters(user_id, task_id, task.model_dump())
    parameters["the_fingerprint"] = fingerprint_of(task)
    found, is_repeated = await fetch(
        session, statements.CREATE_TASK_BY_KEY, parameters, is_repeatable=True
    )
    if found is None:
        raise TaskDeleted
    version, body, is_new, is_same = found
    if not is_same:
        raise IdempotencyKeyReused
    return TaskDocument(task_id, version, body, is_new or is_repeated)


async def create_by_id(
    session: AsyncSession, user_id: str, task_id: UUID, task: TaskReplace
) -> TaskDocument:
    """Create the task under an id of the client's, also one of a task that was deleted.

    Raises:
        TaskExists: the user has a task with this id.
    """
    parameters = task_parameters(user_id, task_id, task.model_dump())
    parameters["the_fingerprint"] = None
    # Not repeatable: a repetition could not tell its own task from another one.
    version, body, is_new, _ = await fetch_one(session, statements.CREATE_TASK_BY_ID, parameters)
    if not is_new:
        raise TaskExists(version, body)
    return TaskDocument(task_id, version, body, is_new=True)


def task_parameters(user_id: str, task_id: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """Name the task, and the values that its fields are to have."""
    new = {f"new_{field}": value for field, value in values.items()}
    return {"the_user": user_id, "the_task": task_id, **new}
