"""PATCH /tasks/{task_id}/complete."""

import httpx
import pytest

from src.api.problems import Kind
from tests.builders import After, create, path_of, problem

pytestmark = pytest.mark.anyio

COMPLETED = {"is_completed": True}
OPEN = {"is_completed": False}


class TestCompleteTask:
    @pytest.mark.requirement("FR-006", "FR-017")
    async def test_a_body_sets_the_state(self, client: httpx.AsyncClient, user: str) -> None:
        task = await create(client, user)
        path = f"{path_of(task)}/complete"

        completed = await client.patch(path, json=COMPLETED)
        reopened = await client.patch(path, json=OPEN)

        assert (completed.status_code, reopened.status_code) == (200, 200)
        done_at = completed.json()["updated_at"]
        assert completed.json() == {
            **task,
            "is_completed": True,
            "completed_at": done_at,
            "version": After(task["version"]),
            "updated_at": done_at,
        }
        assert reopened.json() == {
            **task,
            "version": After(completed.json()["version"]),
            "updated_at": reopened.json()["updated_at"],
        }

    @pytest.mark.requirement("FR-006")
    async def test_a_task_that_is_completed_again_keeps_the_time_of_its_completion(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        path = f"{path_of(await create(client, user))}/complete"
        first = (await client.patch(path, json=COMPLETED)).json()

        again = (await client.patch(path, json=COMPLETED)).json()

        moving = {"version": again["version"], "updated_at": again["updated_at"]}
        assert again == {**first, **moving}

    @pytest.mark.requirement("FR-006")
    @pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}], ids=str)
    async def test_without_a_body_the_state_is_toggled(
        self, client: httpx.AsyncClient, user: str, headers: dict[str, str]
    ) -> None:
        task = await create(client, user)
        path = f"{path_of(task)}/complete"

        completed = (await client.patch(path, headers=headers)).json()
        reopened = (await client.patch(path, headers=headers)).json()

        done_at = completed["updated_at"]
        assert completed == {
            **task,
            "is_completed": True,
            "completed_at": done_at,
            "version": After(task["version"]),
            "updated_at": done_at,
        }
        assert reopened == {
            **task,
            "version": After(completed["version"]),
            "updated_at": reopened["updated_at"],
        }

    @pytest.mark.requirement("FR-006", "FR-010", "FR-011")
    @pytest.mark.parametrize(
        ("body", "pointer", "code", "detail"),
        [
            (b"null", "", "wrong_type", "must be an object"),
            (b"true", "", "wrong_type", "must be an object"),
            (b"[]", "", "wrong_type", "must be an object"),
            (b"{}", "/is_completed", "required", "is required"),
            (b'{"is_completed":null}', "/is_completed", "wrong_type", "must be true or false"),
            (b'{"is_completed":1}', "/is_completed", "wrong_type", "must be true or false"),
            (b'{"is_completed":"true"}', "/is_completed", "wrong_type", "must be true or false"),
            (b'{"is_completed":true,"title":"x"}', "/title", "unknown", "unknown field"),
        ],
    )
    async def test_a_body_that_names_no_state_is_refused_and_toggles_nothing(
        self,
        client: httpx.AsyncClient,
        user: str,
        body: bytes,
        pointer: str,
        code: str,
        detail: str,
    ) -> None:
        task = await create(client, user)

        answer = await client.patch(
            f"{path_of(task)}/complete", content=body, headers={"Content-Type": "application/json"}
        )

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[{"pointer": pointer, "code": code, "detail": detail}],
        )
        assert (await client.get(path_of(task))).json() == task
