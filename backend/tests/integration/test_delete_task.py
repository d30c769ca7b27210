"""DELETE /tasks/{task_id}."""

from datetime import datetime
from uuid import UUID

import httpx
import pytest

from src.api.problems import Kind
from tests.builders import After, create, path_of, problem, rows_of, tag_of, tasks_of

pytestmark = pytest.mark.anyio


class TestDeleteTask:
    @pytest.mark.requirement("FR-007")
    async def test_a_deleted_task_is_gone_everywhere(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        kept = await create(client, user)
        task = await create(client, user)

        answer = await client.delete(path_of(task))

        assert (answer.status_code, answer.content) == (204, b"")
        assert (await client.get(path_of(task))).status_code == 404
        assert (await client.get(tasks_of(user))).json()["items"] == [kept]

    @pytest.mark.requirement("FR-007")
    async def test_only_the_id_the_time_and_the_version_remain(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        task = await create(client, user, title="A secret", description="of mine", tags=["x"])

        await client.delete(path_of(task))

        rows = rows_of(shared_database_url, user)
        gone = rows["task_tombstones"][0]
        version, deleted_at = gone["version"], gone["deleted_at"]
        assert rows == {
            "task_lists": [{"user_id": user, "version": version, "first_version": task["version"]}],
            "tasks": [],
            "task_tombstones": [
                {
                    "user_id": user,
                    "id": UUID(task["id"]),
                    "version": version,
                    "deleted_at": deleted_at,
                }
            ],
        }
        assert version == After(task["version"])
        assert datetime.fromisoformat(task["updated_at"]) < deleted_at

    @pytest.mark.requirement("FR-007", "FR-013", "FR-016")
    async def test_a_task_is_deleted_once(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        task = await create(client, user)
        await client.delete(path_of(task))
        before = rows_of(shared_database_url, user)

        again = await client.delete(path_of(task))

        assert again.status_code == 404
        assert again.json() == problem(again, Kind.TASK_NOT_FOUND)
        assert rows_of(shared_database_url, user) == before

    @pytest.mark.requirement("FR-007", "FR-018")
    async def test_the_version_that_the_client_saw_is_deleted_and_no_other(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        changed = (await client.patch(path_of(task), json={"title": "Buy oat milk"})).json()

        stale = await client.delete(path_of(task), headers={"If-Match": tag_of(task)})
        still_there = (await client.get(path_of(task))).json()
        fresh = await client.delete(path_of(task), headers={"If-Match": tag_of(changed)})

        assert (stale.status_code, stale.json()["current"]) == (412, changed)
        assert still_there == changed
        assert fresh.status_code == 204
