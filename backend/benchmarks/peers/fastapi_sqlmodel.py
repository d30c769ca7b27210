"""FastAPI + SQLModel, as their tutorials and the official full-stack template teach it.

It has a sync session from a `yield` dependency, and `session.add`, `commit`, `refresh`. A list is
one SELECT of the items and one of the count. `pool_pre_ping` is on, which SQLAlchemy's
documentation recommends against stale connections.
"""

import os
import time
from collections.abc import Generator
from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import ARRAY, Column, DateTime, Enum, Text
from sqlmodel import Field, Session, SQLModel, col, create_engine, func, select

engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1),
    pool_size=8,
    max_overflow=0,
    pool_pre_ping=True,
)


def now() -> datetime:
    return datetime.now(UTC)


def last_position() -> str:
    return f"{time.time_ns() // 1000:016}"


class TaskBase(SQLModel):
    title: str = Field(min_length=1, max_length=255)
    description: str | None = Field(default=None, max_length=2000)


class TaskCreate(TaskBase):
    pass


class TaskUpdate(SQLModel):
    title: str | None = Field(default=None, min_length=1, max_length=255)
    description: str | None = Field(default=None, max_length=2000)


class TaskCompletion(SQLModel):
    is_completed: bool


class Task(TaskBase, table=True):
    __tablename__ = "tasks"

    user_id: str = Field(primary_key=True)
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    is_completed: bool = False
    completed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    priority: str = Field(
        default="none",
        sa_column=Column(Enum("none", "low", "medium", "high", name="task_priority")),
    )
    due_date: date | None = None
    due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    tags: list[str] = Field(default_factory=list, sa_column=Column(ARRAY(Text)))
    position: str = Field(default_factory=last_position)
    version: int = 1
    created_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))


class TaskPublic(TaskBase):
    id: UUID
    user_id: str
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


class TasksPublic(SQLModel):
    items: list[TaskPublic]
    total: int


def get_session() -> Generator[Session, None, None]:
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session)]

app = FastAPI()


@app.get("/api/v1/{user_id}/tasks", response_model=TasksPublic)
def read_tasks(session: SessionDep, user_id: str, skip: int = 0, limit: int = 50) -> Any:
    count_statement = select(func.count()).select_from(Task).where(Task.user_id == user_id)
    count = session.exec(count_statement).one()
    statement = (
        select(Task)
        .where(Task.user_id == user_id)
        .order_by(col(Task.created_at).desc(), col(Task.id).desc())
        .offset(skip)
        .limit(limit)
    )
    tasks = session.exec(statement).all()
    return TasksPublic(items=[TaskPublic.model_validate(task) for task in tasks], total=count)


@app.get("/api/v1/{user_id}/tasks/{task_id}", response_model=TaskPublic)
def read_task(session: SessionDep, user_id: str, task_id: UUID) -> Any:
    task = session.get(Task, (user_id, task_id))
    if not task:
        raise HTTPException(status_code=404, detail="Task not found")
    return task


@app.post("/api/v1/{user_id}/tasks", response_model=TaskPublic, status_code=201)
def create_task(session: SessionDep, user_id: str, task_in: TaskCreate) -> Any:
    task = Task.model_validate(task_in, update={"user_id": user_id})
    session.add(task)
    session.commit()
    session.refresh(task)
    return task


@app.patch("/api/v1/{user_id}/tasks/{task_id}", response_model=TaskPublic)
def update_task(session: SessionDep, user_id: str, task_id: UUID, task_in: TaskUpdate) -> Any:
    task = session.get(Task, (user_id, task_id))
    if not task:
        raise HTTPException(status_code=404, detail="Task not found")
    task.sqlmodel_update(task_in.model_dump(exclude_unset=True), update={"updated_at": now()})
    session.add(task)
    session.commit()
    session.refresh(task)
    return task


@app.patch("/api/v1/{user_id}/tasks/{task_id}/complete", response_model=TaskPublic)
def complete_task(
    session: SessionDep, user_id: str, task_id: UUID, completion: TaskCompletion
) -> Any:
    task = session.get(Task, (user_id, task_id))
    if not task:
        raise HTTPException(status_code=404, detail="Task not found")
    task.is_completed = completion.is_completed
    task.completed_at = now() if completion.is_completed else None
    task.updated_at = now()
    session.add(task)
    session.commit()
    session.refresh(task)
    return task
