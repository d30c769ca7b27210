"""PATCH /tasks/{task_id}."""

from typing import Any

import httpx
import pytest

from src.api.problems import Kind
from tests.builders import NO_TASK, After, create, path_of, problem, rows_of, tag_of, tasks_of

pytestmark = pytest.mark.anyio

READ_ONLY = {"id": 5, "user_id": "x", "completed_at": 1, "version": 9, "created_at": None}

FULL = {
    "title": "Buy milk",
    "description": "Two litres",
    "is_completed": False,
    "priority": "high",
    "tags": ["shopping"],
}


class TestUpdateTask:
    @pytest.mark.requirement("FR-005", "FR-017")
    @pytest.mark.parametrize(
        "changes",
        [
            {"title": "Buy oat milk"},
            {"description": ""},
            {"description": None},
            {"priority": "none"},
            {"tags": []},
            {"tags": ["home"], "title": "Clean up"},
            {"due_date": "2027-01-01"},
            {"due_at": None},
        ],
        ids=str,
    )
    async def test_what_is_sent_is_set_and_what_is_absent_stays(
        self, client: httpx.AsyncClient, user: str, changes: dict[str, Any]
    ) -> None:
        task = await create(client, user, **FULL, due_date="2026-12-24")

        answer = await client.patch(path_of(task), json=changes)

        updated = answer.json()
        assert answer.status_code == 200
        assert updated == {
            **task,
            **changes,
            "version": After(task["version"]),
            "updated_at": updated["updated_at"],
        }
        assert updated["updated_at"] > task["updated_at"]
        assert (await client.get(path_of(task))).json() == updated

    @pytest.mark.requirement("FR-005")
    @pytest.mark.parametrize(
        "media_type",
        ["application/merge-patch+json", "application/json", "Application/JSON; charset=UTF-8"],
    )
    async def test_a_merge_patch_may_be_announced_as_json(
        self, client: httpx.AsyncClient, user: str, media_type: str
    ) -> None:
        task = await create(client, user)

        answer = await client.patch(
            path_of(task), content=b'{"title":"x"}', headers={"Content-Type": media_type}
        )

        assert (answer.status_code, answer.json()["title"]) == (200, "x")

    @pytest.mark.requirement("FR-005")
    async def test_null_is_refused_where_there_is_nothing_to_clear(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        names = {"title": None, "is_completed": None, "priority": None, "tags": None}

        answer = await client.patch(path_of(task), json=names)

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {"pointer": "/title", "code": "wrong_type", "detail": "must be a string"},
                {
                    "pointer": "/is_completed",
                    "code": "wrong_type",
                    "detail": "must be true or false",
                },
                {
                    "pointer": "/priority",
                    "code": "not_allowed",
                    "detail": "must be one of 'none', 'low', 'medium' or 'high'",
                },
                {"pointer": "/tags", "code": "wrong_type", "detail": "must be an array"},
            ],
        )
        assert (await client.get(path_of(task))).json() == task

    @pytest.mark.requirement("FR-005", "FR-012")
    @pytest.mark.parametrize(
        ("before", "changes", "after"),
        [
            (
                {"due_date": "2026-12-24"},
                {"due_at": "2026-12-24T19:00:00+01:00"},
                {"due_date": None, "due_at": "2026-12-24T18:00:00.000000Z"},
            ),
            (
                {"due_at": "2026-12-24T18:00:00Z"},
                {"due_date": "2026-12-24"},
                {"due_date": "2026-12-24", "due_at": None},
            ),
            (
                {"due_at": "2026-12-24T18:00:00Z"},
                {"due_date": "2026-12-24", "due_at": None},
                {"due_date": "2026-12-24", "due_at": None},
            ),
            (
                {"due_date": "2026-12-24"},
                {"due_at": None},
                {"due_date": "2026-12-24", "due_at": None},
            ),
            (
                {"due_at": "2026-12-24T18:00:00Z"},
                {"due_at": None},
                {"due_date": None, "due_at": None},
            ),
            (
                {"due_date": "2026-12-24"},
                {"due_date": None, "due_at": None},
                {"due_date": None, "due_at": None},
            ),
        ],
    )
    async def test_setting_one_due_field_clears_the_other(
        self,
        client: httpx.AsyncClient,
        user: str,
        before: dict[str, Any],
        changes: dict[str, Any],
        after: dict[str, Any],
    ) -> None:
        task = await create(client, user, **before)

        updated = (await client.patch(path_of(task), json=changes)).json()

        assert updated == {
            **task,
            **after,
            "version": After(task["version"]),
            "updated_at": updated["updated_at"],
        }

    @pytest.mark.requirement("FR-012")
    async def test_a_task_is_not_due_twice(self, client: httpx.AsyncClient, user: str) -> None:
        task = await create(client, user)
        changes = {"due_date": "2026-12-24", "due_at": "2026-12-24T18:00:00Z"}

        answer = await client.patch(path_of(task), json=changes)

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {
                    "pointer": "/due_at",
                    "code": "two_due_fields",
                    "detail": "must be null if due_date is set: a task cannot have both",
                }
            ],
        )
        assert (await client.get(path_of(task))).json() == task

    @pytest.mark.requirement("FR-011")
    async def test_read_only_fields_are_ignored_and_unknown_ones_refused(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)

        accepted = await client.patch(path_of(task), json={**READ_ONLY, "title": "Buy oat milk"})
        refused = await client.patch(path_of(task), json={**READ_ONLY, "colour": "red"})

        assert accepted.status_code == 200
        assert accepted.json() == {
            **task,
            "title": "Buy oat milk",
            "version": After(task["version"]),
            "updated_at": accepted.json()["updated_at"],
        }
        assert refused.status_code == 422
        assert refused.json() == problem(
            refused,
            Kind.INVALID_REQUEST,
            errors=[{"pointer": "/colour", "code": "unknown", "detail": "unknown field"}],
        )

    @pytest.mark.requirement("FR-005", "FR-006")
    async def test_completed_at_follows_is_completed(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        path = path_of(await create(client, user))

        completed = (await client.patch(path, json={"is_completed": True})).json()
        renamed = (await client.patch(path, json={"title": "x"})).json()
        again = (await client.patch(path, json={"is_completed": True})).json()
        reopened = (await client.patch(path, json={"is_completed": False})).json()

        assert completed["completed_at"] == completed["updated_at"]
        assert renamed["completed_at"] == completed["completed_at"]
        assert again["completed_at"] == completed["completed_at"]
        assert reopened["completed_at"] is None


@pytest.mark.parametrize("patch", [{}, READ_ONLY], ids=["empty", "only read-only fields"])
class TestAPatchThatSetsNoField:
    @pytest.mark.requirement("FR-071", "FR-011")
    @pytest.mark.parametrize(
        "headers", [{}, {"If-Match": '"{version}"'}, {"If-Match": "*"}], ids=str
    )
    async def test_is_answered_with_the_task_and_changes_nothing(
        self,
        client: httpx.AsyncClient,
        user: str,
        shared_database_url: str,
        patch: dict[str, Any],
        headers: dict[str, str],
    ) -> None:
        await create(client, user)
        task = await create(client, user, **FULL, due_date="2026-12-24")
        before = rows_of(shared_database_url, user)
        headers = {name: value.format_map(task) for name, value in headers.items()}

        answer = await client.patch(path_of(task), json=patch, headers=headers)

        assert answer.status_code == 200
        assert answer.json() == task
        assert answer.headers["etag"] == tag_of(task)
        assert rows_of(shared_database_url, user) == before

    @pytest.mark.requirement("FR-071", "FR-018")
    async def test_is_412_if_the_task_is_at_another_version(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str, patch: dict[str, Any]
    ) -> None:
        seen = await create(client, user)
        path = path_of(seen)
        current = (await client.patch(path, json={"title": "Buy oat milk"})).json()
        before = rows_of(shared_database_url, user)

        answer = await client.patch(path, json=patch, headers={"If-Match": tag_of(seen)})

        assert answer.status_code == 412
        assert answer.json() == problem(answer, Kind.VERSION_MISMATCH, current=current)
        assert answer.headers["etag"] == tag_of(current)
        assert rows_of(shared_database_url, user) == before

    @pytest.mark.requirement("FR-071", "FR-013")
    async def test_is_404_if_there_is_no_such_task(
        self, client: httpx.AsyncClient, user: str, patch: dict[str, Any]
    ) -> None:
        answer = await client.patch(f"{tasks_of(user)}/{NO_TASK}", json=patch)

        assert answer.status_code == 404
        assert answer.json() == problem(answer, Kind.TASK_NOT_FOUND)
