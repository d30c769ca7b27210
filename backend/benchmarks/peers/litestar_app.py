"""Litestar with Advanced Alchemy's SQLAlchemy plugin, as their documentation teaches it.

It has an async repository service per request, msgspec structs in and out, which is Litestar's own
way, the plugin's `autocommit`, and asyncpg.
"""

import os
import time
from datetime import UTC, date, datetime
from typing import Annotated
from uuid import UUID, uuid4

from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
    base,
    filters,
    providers,
    repository,
    service,
)
from litestar import Controller, Litestar, get, patch, post
from litestar.params import Parameter
from msgspec import UNSET, Meta, Struct, UnsetType
from sqlalchemy import ARRAY, Enum, Text
from sqlalchemy.orm import Mapped, mapped_column


def now() -> datetime:
    return datetime.now(UTC)


def last_position() -> str:
    return f"{time.time_ns() // 1000:016}"


class TaskModel(base.DefaultBase):
    __tablename__ = "tasks"

    user_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    title: Mapped[str]
    description: Mapped[str | None]
    is_completed: Mapped[bool] = mapped_column(default=False)
    completed_at: Mapped[datetime | None]
    priority: Mapped[str] = mapped_column(
        Enum("none", "low", "medium", "high", name="task_priority"), default="none"
    )
    due_date: Mapped[date | None]
    due_at: Mapped[datetime | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list)
    position: Mapped[str] = mapped_column(default=last_position)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class Task(Struct):
    id: UUID
    user_id: str
    title: str
    description: str | None
    is_completed: bool
    completed_at: datetime | None
    priority: str
    due_date: date | None
    due_at: datetime | None
    tags: list[str]
    position: str
    version: int
    created_at: datetime
    updated_at: datetime


Title = Annotated[str, Meta(min_length=1, max_length=255)]
Description = Annotated[str, Meta(max_length=2000)]


class TaskCreate(Struct):
    title: Title
    description: Description | None = None


class TaskUpdate(Struct):
    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET


class TaskCompletion(Struct):
    is_completed: bool


class TaskService(service.SQLAlchemyAsyncRepositoryService[TaskModel]):
    class Repo(repository.SQLAlchemyAsyncRepository[TaskModel]):
        model_type = TaskModel

    repository_type = Repo


class TaskController(Controller):
    path = "/api/v1/{user_id:str}/tasks"
    dependencies = providers.create_service_dependencies(TaskService, "tasks_service")

    @get()
    async def list_tasks(
        self,
        tasks_service: TaskService,
        user_id: str,
        limit: Annotated[int, Parameter(ge=1, le=1000)] = 50,
        offset: Annotated[int, Parameter(ge=0)] = 0,
    ) -> service.OffsetPagination[Task]:
        page = filters.LimitOffset(limit, offset)
        tasks, total = await tasks_service.get_many_and_count(
            page, user_id=user_id, order_by=[("created_at", True), ("id", True)]
        )
        return tasks_service.to_schema(tasks, total, filters=[page], schema_type=Task)

    @get("/{task_id:uuid}")
    async def get_task(self, tasks_service: TaskService, user_id: str, task_id: UUID) -> Task:
        task = await tasks_service.get((user_id, task_id))
        return tasks_service.to_schema(task, schema_type=Task)

    @post()
    async def create_task(self, tasks_service: TaskService, user_id: str, data: TaskCreate) -> Task:
        task = await tasks_service.create(
            {"user_id": user_id, "title": data.title, "description": data.description}
        )
        return tasks_service.to_schema(task, schema_type=Task)

    @patch("/{task_id:uuid}")
    async def update_task(
        self, tasks_service: TaskService, user_id: str, task_id: UUID, data: TaskUpdate
    ) -> Task:
        task = await tasks_service.update(data, item_id=(user_id, task_id))
        return tasks_service.to_schema(task, schema_type=Task)

    @patch("/{task_id:uuid}/complete")
    async def complete_task(
        self, tasks_service: TaskService, user_id: str, task_id: UUID, data: TaskCompletion
    ) -> Task:
        completion = {
            "is_completed": data.is_completed,
            "completed_at": now() if data.is_completed else None,
        }
        task = await tasks_service.update(completion, item_id=(user_id, task_id))
        return tasks_service.to_schema(task, schema_type=Task)


alchemy = SQLAlchemyAsyncConfig(
    connection_string=os.environ["DATABASE_URL"].replace(
        "postgresql://", "postgresql+asyncpg://", 1
    ),
    engine_config=EngineConfig(pool_size=8, max_overflow=0),
    before_send_handler="autocommit",
    session_config=AsyncSessionConfig(expire_on_commit=False),
)

app = Litestar(
    route_handlers=[TaskController], plugins=[SQLAlchemyPlugin(config=alchemy)], openapi_config=None
)
