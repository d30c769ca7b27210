"""Users never see, change or sense each other's tasks. See also `test_isolation_matrix`."""

from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from src.api.problems import Kind
from tests.builders import (
    AHEAD,
    ON_ONE_TASK,
    Operation,
    create,
    each,
    path_of,
    problem,
    rows_of,
    send,
    stop_clock,
    tag_of,
    tasks_of,
)

pytestmark = pytest.mark.anyio

SEEN: Final = {"If-Match": "{foreign}, {deleted}"}
"""A precondition that would hold if the tasks were there, and the user's."""


def filled(
    precondition: dict[str, str], foreign: dict[str, Any], deleted: dict[str, Any]
) -> dict[str, str]:
    tags = {"foreign": tag_of(foreign), "deleted": tag_of(deleted)}
    return {name: value.format_map(tags) for name, value in precondition.items()}


class TestATaskThatIsNotThere:
    async def test_every_operation_on_a_task_is_tried(self, app: FastAPI) -> None:
        documented = {
            (method.upper(), path.partition("{task_id}")[2])
            for path, item in app.openapi()["paths"].items()
            for method in item
            if "{task_id}" in path
        }

        assert documented == {
            (tried.method, tried.path.removeprefix("/{id}")) for tried in ON_ONE_TASK.values()
        }

    @pytest.mark.requirement("FR-013")
    @each(ON_ONE_TASK)
    @pytest.mark.parametrize("precondition", [{}, SEEN, {"If-Match": "*"}], ids=str)
    async def test_is_the_same_404_whether_foreign_deleted_or_never_there(
        self,
        client: httpx.AsyncClient,
        user: str,
        other_user: str,
        operation: Operation,
        precondition: dict[str, str],
    ) -> None:
        foreign = await create(client, other_user)
        deleted = await create(client, user)
        await client.delete(path_of(deleted))
        headers = {"X-Request-ID": "the-same", **filled(precondition, foreign, deleted)}

        answers = [
            await send(client, operation, user, task_id, headers)
            for task_id in (foreign["id"], deleted["id"], uuid4())
        ]

        assert answers[0].json() == problem(answers[0], Kind.TASK_NOT_FOUND)
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.content for answer in answers}) == 1
        assert len({tuple(sorted(answer.headers.items())) for answer in answers}) == 1


class TestTwoUsers:
    @pytest.mark.requirement("FR-013", "FR-079")
    async def test_have_changes_of_their_own(
        self, client: httpx.AsyncClient, user: str, other_user: str
    ) -> None:
        mine = await create(client, user)
        theirs = await create(client, other_user)
        await client.delete(path_of(theirs))

        found = (await client.get(f"{tasks_of(user)}/changes")).json()
        since = {"since": found["next"]}
        await create(client, other_user)
        later = (await client.get(f"{tasks_of(user)}/changes", params=since)).json()

        assert (found["changed"], found["deleted"]) == ([mine], [])
        assert (later["changed"], later["deleted"]) == ([], [])

    @pytest.mark.requirement("FR-013")
    async def test_have_lists_of_their_own(
        self, client: httpx.AsyncClient, user: str, other_user: str
    ) -> None:
        mine = await create(client, user)
        theirs = await create(client, other_user)

        my_list = await client.get(tasks_of(user))
        their_list = await client.get(tasks_of(other_user))

        assert my_list.json() == {"items": [mine], "next_cursor": None, "total": None}
        assert their_list.json() == {"items": [theirs], "next_cursor": None, "total": None}

    @pytest.mark.requirement("FR-013", "FR-016")
    async def test_count_their_versions_apart(
        self, client: httpx.AsyncClient, user: str, other_user: str, shared_database_url: str
    ) -> None:
        stop_clock(shared_database_url, user)

        mine = [await create(client, user) for _ in range(2)]
        theirs = await create(client, other_user)
        again = await create(client, user)

        assert [task["version"] for task in (*mine, again)] == [AHEAD + 1, AHEAD + 2, AHEAD + 3]
        assert 0 < theirs["version"] < AHEAD
        assert rows_of(shared_database_url, other_user)["task_lists"] == [
            {
                "user_id": other_user,
                "version": theirs["version"],
                "first_version": theirs["version"],
            }
        ]

    @pytest.mark.requirement("FR-014")
    async def test_may_differ_in_case_only(self, client: httpx.AsyncClient, user: str) -> None:
        task = await create(client, user)

        shouted = await client.get(tasks_of(user.upper()))
        foreign = await client.get(f"{tasks_of(user.upper())}/{task['id']}")

        assert shouted.json()["items"] == []
        assert foreign.status_code == 404


class TestUserId:
    @pytest.mark.requirement("FR-014")
    @pytest.mark.parametrize(
        "form",
        ["{}", "user_{}", "auth0|{}", "~{}", "_{}", "-{}", "{}@example.com", "a.b~c@d|e:f+g-{}"],
    )
    async def test_is_any_id_that_providers_give(
        self, client: httpx.AsyncClient, form: str
    ) -> None:
        user = form.format(uuid4())

        created = await client.post(tasks_of(user), json={"title": "Buy milk"})

        assert created.status_code == 201
        assert created.json()["user_id"] == user
        assert (await client.get(created.headers["location"])).json() == created.json()

    @pytest.mark.requirement("FR-014")
    @pytest.mark.parametrize(("length", "status"), [(128, 201), (129, 422)])
    async def test_has_128_characters_at_most(
        self, client: httpx.AsyncClient, length: int, status: int
    ) -> None:
        user = str(uuid4()).ljust(length, "x")

        answer = await client.post(tasks_of(user), json={"title": "Buy milk"})

        assert answer.status_code == status

    @pytest.mark.requirement("FR-014")
    async def test_of_one_character_is_enough(self, client: httpx.AsyncClient) -> None:
        assert (await client.get(tasks_of("a"))).status_code == 200

    @pytest.mark.requirement("FR-014")
    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        "written",
        [
            ".alice",
            "@alice",
            "|alice",
            ":alice",
            "+alice",
            "al%20ice",
            "alice%0A",
            "alice%00",
            "al%25ice",
            "%C3%A9",
            "%FF",
            "%EF%BB%BFalice",
            "alice!",
            "alice,bob",
            "%F0%9F%A5%9B",
        ],
    )
    async def test_is_refused_if_it_holds_anything_else(
        self, client: httpx.AsyncClient, method: str, written: str
    ) -> None:
        body = {"title": "Buy milk"} if method == "POST" else None

        answer = await client.request(method, tasks_of(written), json=body)

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {
                    "parameter": "user_id",
                    "code": "invalid_format",
                    "detail": "must be 1 to 128 characters: ASCII letters, digits, and"
                    " . ~ @ | : + - _; must not begin with . @ | : or +",
                }
            ],
        )
