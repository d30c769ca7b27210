"""POST /tasks."""

from uuid import UUID

import httpx
import pytest

from src.api.problems import Kind
from src.schemas.task import READ_ONLY
from tests.builders import After, create, problem, tasks_of

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
            "position": f"{task['version']:016}",
            "version": After(0),
            "created_at": task["created_at"],
            "updated_at": task["created_at"],
        }

    @pytest.mark.requirement("FR-001", "FR-012")
    async def test_every_writable_field_is_taken(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        fields = {
            "title": "Buy milk",
            "description": "Two litres",
            "is_completed": True,
            "priority": "high",
            "due_date": "2026-12-24",
            "due_at": None,
            "tags": ["shopping", "home"],
        }

        answer = await client.post(tasks_of(user), json=fields)

        task = answer.json()
        assert answer.status_code == 201
        assert task == {
            "id": task["id"],
            "user_id": user,
            **fields,
            "completed_at": task["created_at"],
            "position": f"{task['version']:016}",
            "version": After(0),
            "created_at": task["created_at"],
            "updated_at": task["created_at"],
        }

    @pytest.mark.requirement("FR-001", "FR-003")
    async def test_its_location_gives_the_task_that_was_answered(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        created = await client.post(tasks_of(user), json={"title": "Buy milk"})

        read = await client.get(created.headers["location"])

        assert (read.json(), read.headers["etag"]) == (created.json(), created.headers["etag"])

    @pytest.mark.requirement("FR-001")
    async def test_the_same_request_twice_makes_two_tasks(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        first = await create(client, user)
        second = await create(client, user)

        assert first["id"] != second["id"]

    @pytest.mark.requirement("FR-008")
    async def test_timestamps_are_in_utc_with_z_and_microseconds(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user, is_completed=True, due_at="2026-03-01T09:30:00+02:00")

        for field in ("completed_at", "due_at", "created_at", "updated_at"):
            assert len(task[field]) == len("2026-03-01T07:30:00.000000Z")
            assert task[field].endswith("Z")
        assert task["due_at"] == "2026-03-01T07:30:00.000000Z"

    @pytest.mark.requirement("FR-009")
    @pytest.mark.parametrize(
        "text",
        [
            "\U0001f95b" * 255,
            "👩‍👩‍👧‍👦 né e\u0301e\u0301 \u202eright to left\u202c",
            'quotes " and \\ and / and </script>',
            "two\nlines\tand\x01a control\x7fcharacter",
            "\ufeffno white space\u200b",
            "\uffff\U0010ffff",
            "%s %(new_title)s :title $1 {title}",
        ],
        ids=ascii,
    )
    async def test_text_comes_back_as_it_was_sent(
        self, client: httpx.AsyncClient, user: str, text: str
    ) -> None:
        task = await create(client, user, title=text, description=text, tags=[text[:50]])

        assert task["title"] == text
        assert task["description"] == text
        assert task["tags"] == [text[:50]]

    @pytest.mark.requirement("FR-009")
    async def test_a_title_is_trimmed_and_a_description_is_not(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user, title="\u3000 Buy milk\n", description=" \n ")

        assert task["title"] == "Buy milk"
        assert task["description"] == " \n "

    @pytest.mark.requirement("FR-009")
    async def test_an_empty_description_is_not_none(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user, description="")

        assert task["description"] == ""

    @pytest.mark.requirement("FR-012")
    async def test_tags_are_trimmed_lose_their_duplicates_and_keep_their_order(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user, tags=["home", " shopping ", "Home", "home\n", "a"])

        assert task["tags"] == ["home", "shopping", "Home", "a"]

    @pytest.mark.requirement("FR-010")
    async def test_no_value_is_converted_into_the_type_that_is_wanted(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        fields = {"title": 5, "description": False, "is_completed": "true", "tags": "home"}

        answer = await client.post(tasks_of(user), json=fields)

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {"pointer": "/title", "code": "wrong_type", "detail": "must be a string"},
                {"pointer": "/description", "code": "wrong_type", "detail": "must be a string"},
                {
                    "pointer": "/is_completed",
                    "code": "wrong_type",
                    "detail": "must be true or false",
                },
                {"pointer": "/tags", "code": "wrong_type", "detail": "must be an array"},
            ],
        )

    @pytest.mark.requirement("FR-011")
    async def test_read_only_and_unknown_fields_are_refused(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        read_only = ("read_only", "is set by the server; leave it out")
        choose = ", or, to create a task with your own id, use PUT with If-None-Match: *"
        refusals = {
            "id": ("read_only", f"{read_only[1]}{choose}"),
            **dict.fromkeys(READ_ONLY[1:], read_only),
            "colour": ("unknown", "unknown field"),
        }

        answer = await client.post(tasks_of(user), json={**task, "colour": "red"})

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {"pointer": f"/{name}", "code": code, "detail": detail}
                for name, (code, detail) in refusals.items()
            ],
        )

    @pytest.mark.requirement("FR-012")
    async def test_a_task_is_not_due_twice(self, client: httpx.AsyncClient, user: str) -> None:
        fields = {"title": "x", "due_date": "2026-12-24", "due_at": "2026-12-24T18:00:00Z"}

        answer = await client.post(tasks_of(user), json=fields)

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
