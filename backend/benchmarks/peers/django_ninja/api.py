# ruff: noqa: ARG001 — ninja passes the request to every view
"""The operations: sync views, the ORM, ninja's schemas and its limit-offset pagination."""

from datetime import date, datetime
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Field, NinjaAPI, PatchDict, Schema
from ninja.pagination import LimitOffsetPagination, paginate

from django_ninja.models import Task

api = NinjaAPI(docs_url=None, openapi_url=None)


class TaskIn(Schema):
    title: str = Field(min_length=1, max_length=255)
    description: str | None = Field(None, max_length=2000)


class CompletionIn(Schema):
    is_completed: bool


class TaskOut(Schema):
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


@api.get("/{user_id}/tasks", response=list[TaskOut])
@paginate(LimitOffsetPagination)
def list_tasks(request: HttpRequest, user_id: str) -> QuerySet[Task]:
    return Task.objects.filter(user_id=user_id).order_by("-created_at", "-id")


@api.post("/{user_id}/tasks", response={201: TaskOut})
def create_task(request: HttpRequest, user_id: str, payload: TaskIn) -> tuple[int, Task]:
    return 201, Task.objects.create(user_id=user_id, **payload.dict())


@api.get("/{user_id}/tasks/{uuid:task_id}", response=TaskOut)
def get_task(request: HttpRequest, user_id: str, task_id: UUID) -> Task:
    return get_object_or_404(Task, user_id=user_id, id=task_id)


@api.patch("/{user_id}/tasks/{uuid:task_id}", response=TaskOut)
def update_task(
    request: HttpRequest, user_id: str, task_id: UUID, payload: PatchDict[TaskIn]
) -> Task:
    task = get_object_or_404(Task, user_id=user_id, id=task_id)
    for name, value in payload.items():
        setattr(task, name, value)
    task.save()
    return task


@api.patch("/{user_id}/tasks/{uuid:task_id}/complete", response=TaskOut)
def complete_task(request: HttpRequest, user_id: str, task_id: UUID, payload: CompletionIn) -> Task:
    task = get_object_or_404(Task, user_id=user_id, id=task_id)
    task.is_completed = payload.is_completed
    task.completed_at = timezone.now() if payload.is_completed else None
    task.save()
    return task
