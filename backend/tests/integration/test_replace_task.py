"""PUT /tasks/{task_id}."""

import httpx
import pytest

from src.api.problems import Kind
from tests.builders import REPLACEMENT, After, create, path_of, problem

pytestmark = pytest.mark.anyio


class TestReplaceTask:
    @pytest.mark.requirement("FR-004", "FR-017")
    async def test_every_writable_field_is_set_and_no_other(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user, due_at="2026-03-01T09:30:00Z", tags=["home"])

        answer = await client.put(path_of(task), json=REPLACEMENT)

        replaced = answer.json()
        assert answer.status_code == 200
        assert replaced == {
            **task,
            **REPLACEMENT,
            "version": After(task["version"]),
            "updated_at": replaced["updated_at"],
        }
        assert replaced["updated_at"] > task["updated_at"]
        assert (await client.get(path_of(task))).json() == replaced

    @pytest.mark.requirement("FR-004")
    async def test_every_writable_field_must_be_there(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)

        answer = await client.put(path_of(task), json={})

        assert answer.status_code == 422
        document = answer.json()
        document["errors"].sort(key=lambda violation: violation["pointer"])
        assert document == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {"pointer": f"/{name}", "code": "required", "detail": "is required"}
                for name in sorted(REPLACEMENT)
            ],
        )
        assert (await client.get(path_of(task))).json() == task

    @pytest.mark.requirement("FR-004", "FR-011")
    async def test_what_get_gave_can_be_changed_and_sent_back(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        await create(client, user)
        task = (await client.get(path_of(await create(client, user, tags=["home"])))).json()

        answer = await client.put(path_of(task), json={**task, "priority": "low"})

        assert answer.status_code == 200
        assert answer.json() == {
            **task,
            "priority": "low",
            "version": After(task["version"]),
            "updated_at": answer.json()["updated_at"],
        }

    @pytest.mark.requirement("FR-011")
    async def test_read_only_fields_are_ignored_whatever_they_hold(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        nonsense: dict[str, object] = {
            "id": 5,
            "user_id": None,
            "completed_at": {},
            "version": "x",
            "created_at": [],
            "updated_at": True,
        }

        answer = await client.put(path_of(task), json={**REPLACEMENT, **nonsense})

        assert answer.status_code == 200
        assert answer.json() == {
            **task,
            **REPLACEMENT,
            "version": After(task["version"]),
            "updated_at": answer.json()["updated_at"],
        }

    @pytest.mark.requirement("FR-011")
    async def test_an_unknown_field_is_refused(self, client: httpx.AsyncClient, user: str) -> None:
        task = await create(client, user)

        answer = await client.put(path_of(task), json={**REPLACEMENT, "colour": "red"})

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[{"pointer": "/colour", "code": "unknown", "detail": "unknown field"}],
        )

    @pytest.mark.requirement("FR-004")
    async def test_the_same_request_again_leaves_the_task_as_it_is(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        first = (await client.put(path_of(task), json=REPLACEMENT)).json()

        again = (await client.put(path_of(task), json=REPLACEMENT)).json()

        moving = {"version": again["version"], "updated_at": again["updated_at"]}
        assert again == {**first, **moving}

    @pytest.mark.requirement("FR-004", "FR-012")
    async def test_null_clears_what_can_be_null(self, client: httpx.AsyncClient, user: str) -> None:
        task = await create(client, user, description="Two litres", due_date="2026-12-24")
        cleared = {"description": None, "due_date": None}

        answer = await client.put(path_of(task), json={**REPLACEMENT, **cleared})

        assert answer.json() == {
            **task,
            **REPLACEMENT,
            **cleared,
            "version": After(task["version"]),
            "updated_at": answer.json()["updated_at"],
        }

    @pytest.mark.requirement("FR-012")
    async def test_a_task_is_not_due_twice(self, client: httpx.AsyncClient, user: str) -> None:
        task = await create(client, user)

        answer = await client.put(
            path_of(task), json={**REPLACEMENT, "due_at": "2026-12-24T18:00:00Z"}
        )

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

    @pytest.mark.requirement("FR-004", "FR-006")
    async def test_completed_at_follows_is_completed(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        path = path_of(await create(client, user))

        completed = (await client.put(path, json={**REPLACEMENT, "is_completed": True})).json()
        again = (await client.put(path, json={**REPLACEMENT, "is_completed": True})).json()
        reopened = (await client.put(path, json=REPLACEMENT)).json()

        assert completed["completed_at"] == completed["updated_at"]
        assert again["completed_at"] == completed["completed_at"]
        assert reopened["completed_at"] is None
