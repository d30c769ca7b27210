"""POST /tasks."""

from uuid import UUID

import httpx
import pytest

pytestmark = pytest.mark.anyio


class TestCreateTask:
    @pytest.mark.requirement("FR-001", "FR-008")
    async def test_a_title_is_enough(self, client: httpx.AsyncClient, user: str) -> None:
        answer = await client.post(f"/api/v1/{user}/tasks", json={"title": "Buy milk"})

        assert answer.status_code == 201
        task = answer.json()
        assert answer.headers["location"] == f"/api/v1/{user}/tasks/{task['id']}"
        assert UUID(task["id"]).version == 7
        assert task == {
            "id": task["id"],
            "user_id": user,
            "title": "Buy milk",
            "description": None,
            "is_completed": False,
            "completed_at": None,
            "priority": "none",
            "due_date": None,
            "due_at": None,
            "tags": [],
            "version": 1,
            "created_at": task["created_at"],
            "updated_at": task["created_at"],
        }
