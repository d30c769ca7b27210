"""GET /tasks/{task_id}."""

import httpx
import pytest

from src.api.problems import Kind
from tests.builders import INVALID_TASK_ID, create, path_of, problem, tag_of, tasks_of

pytestmark = pytest.mark.anyio


class TestGetTask:
    @pytest.mark.requirement("FR-003", "FR-017")
    async def test_the_task_is_what_its_creation_answered(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user, description="Two litres", tags=["shopping"])

        answer = await client.get(path_of(task))

        assert answer.status_code == 200
        assert answer.json() == task
        assert answer.headers["etag"] == tag_of(task)

    @pytest.mark.requirement("FR-003")
    async def test_an_id_in_upper_case_names_the_same_task(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)

        answer = await client.get(f"{tasks_of(user)}/{task['id'].upper()}")

        assert answer.json() == task

    @pytest.mark.requirement("FR-003")
    @pytest.mark.parametrize(
        "task_id",
        [
            "1",
            "x" * 36,
            "01981f6e3c007a3b8a00000000000001",
            "{01981f6e-3c00-7a3b-8a00-000000000001}",
            "urn:uuid:01981f6e-3c00-7a3b-8a00-000000000001",
            "01981f6e-3c00-7a3b-8a00-00000000000",
            "%0A01981f6e-3c00-7a3b-8a00-000000000001",
            "%D9%A01981f6e-3c00-7a3b-8a00-00000000001",
        ],
    )
    async def test_an_id_has_one_form(
        self, client: httpx.AsyncClient, user: str, task_id: str
    ) -> None:
        answer = await client.get(f"{tasks_of(user)}/{task_id}")

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[INVALID_TASK_ID])

    @pytest.mark.requirement("FR-017")
    @pytest.mark.parametrize(
        "tags",
        [
            '"{version}"',
            'W/"{version}"',
            '"{version}-gzip"',
            '"{version}--gzip"',
            'W/"{version}-gzip"',
            '"7", "x" ,"{version}"',
            "*",
        ],
    )
    async def test_a_client_that_has_this_version_gets_304(
        self, client: httpx.AsyncClient, user: str, tags: str
    ) -> None:
        task = await create(client, user)

        answer = await client.get(path_of(task), headers={"If-None-Match": tags.format_map(task)})

        assert answer.status_code == 304
        assert answer.headers["etag"] == tag_of(task)
        assert answer.headers["cache-control"] == "private, no-cache"

    @pytest.mark.requirement("FR-017")
    @pytest.mark.parametrize(
        "tags",
        [
            '"{next}"',
            '"x{version}"',
            '"{version}-x"',
            '"1{version}", "2{version}"',
            '"{version}1"',
            '""',
            '"-{version}"',
        ],
    )
    async def test_a_client_that_has_another_version_gets_the_task(
        self, client: httpx.AsyncClient, user: str, tags: str
    ) -> None:
        task = await create(client, user)
        tags = tags.format(**task, next=task["version"] + 1)

        answer = await client.get(path_of(task), headers={"If-None-Match": tags})

        assert (answer.status_code, answer.json()) == (200, task)

    @pytest.mark.requirement("FR-017")
    async def test_a_change_ends_the_304(self, client: httpx.AsyncClient, user: str) -> None:
        task = await create(client, user)
        changed = await client.patch(path_of(task), json={"title": "Buy oat milk"})

        answer = await client.get(path_of(task), headers={"If-None-Match": tag_of(task)})

        assert (answer.status_code, answer.json()) == (200, changed.json())

    @pytest.mark.requirement("FR-017")
    async def test_a_change_of_another_task_leaves_its_tag_alone(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        await create(client, user)

        answer = await client.get(path_of(task), headers={"If-None-Match": tag_of(task)})

        assert answer.status_code == 304
