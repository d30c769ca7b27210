"""The table of tasks, as a Django model."""

import time
from uuid import uuid4

from django.contrib.postgres.fields import ArrayField
from django.db import models


def last_position() -> str:
    return f"{time.time_ns() // 1000:016}"


class Task(models.Model):
    pk = models.CompositePrimaryKey("user_id", "id")
    user_id = models.TextField()
    id = models.UUIDField(default=uuid4)
    title = models.CharField(max_length=255)
    description = models.CharField(max_length=2000, null=True)  # noqa: DJ001 — null means none
    is_completed = models.BooleanField(default=False)
    completed_at = models.DateTimeField(null=True)
    priority = models.CharField(max_length=6, default="none")
    due_date = models.DateField(null=True)
    due_at = models.DateTimeField(null=True)
    tags = ArrayField(models.TextField(), default=list)
    position = models.TextField(default=last_position)
    version = models.BigIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "tasks"
        managed = False

    def __str__(self) -> str:
        return self.title
