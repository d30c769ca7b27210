"""Versions, `If-Match`, and writers that come at the same time."""

import asyncio
from collections import Counter

import httpx
import pytest

from src.api.problems import Kind
from tests.builders import (
    CHANGE_ONE_TASK,
    NO_TASK,
    REPLACEMENT,
    WRITE_ONE_TASK,
    Operation,
    create,
    each,
    path_of,
    problem,
    rows_of,
    send,
    tasks_of,
)

pytestmark = pytest.mark.anyio


class TestVersions:
    @pytest.mark.requirement("FR-016", "FR-017")
    async def test_each_change_takes_the_next_number_of_the_user(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        path = path_of(task)
        another = await create(client, user)
        answers = [
            await client.put(path, json=REPLACEMENT),
            await client.patch(path, json={"title": "x"}),
            await client.patch(f"{path}/complete", json={"is_completed": True}),
            await client.patch(f"{path}/complete"),
        ]
        await client.delete(path_of(another))
        last = await create(client, user)

        assert [task["version"], another["version"], last["version"]] == [1, 2, 8]
        assert [answer.json()["version"] for answer in answers] == [3, 4, 5, 6]
        assert [answer.headers["etag"] for answer in answers] == ['"3"', '"4"', '"5"', '"6"']
        assert (await client.get(tasks_of(user))).headers["etag"] == 'W/"8"'

    @pytest.mark.requirement("FR-016")
    @each(WRITE_ONE_TASK)
    @pytest.mark.parametrize(
        ("task_id", "headers", "status"),
        [
            (NO_TASK, {}, 404),
            (None, {"If-Match": '"7"'}, 412),
            (None, {"If-Match": "7"}, 422),
        ],
    )
    async def test_a_request_that_changes_nothing_takes_no_number(
        self,
        client: httpx.AsyncClient,
        user: str,
        shared_database_url: str,
        operation: Operation,
        task_id: str | None,
        headers: dict[str, str],
        status: int,
    ) -> None:
        task = await create(client, user)
        before = rows_of(shared_database_url, user)

        answer = await send(client, operation, user, task_id or task["id"], headers)

        assert answer.status_code == status
        assert rows_of(shared_database_url, user) == before

    @pytest.mark.requirement("FR-016")
    async def test_a_refused_creation_takes_no_number(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        refused = await client.post(tasks_of(user), json={"title": ""})
        task = await create(client, user)

        assert refused.status_code == 422
        assert task["version"] == 1


class TestIfMatch:
    @pytest.mark.requirement("FR-018")
    @each(WRITE_ONE_TASK)
    @pytest.mark.parametrize(
        "tags", ['"1"', '"7", "1"', "*", 'W/"1"', '"1-gzip"', '"1--gzip"', ' "7" ,\t"1" ']
    )
    async def test_the_version_that_the_client_saw_may_be_changed(
        self, client: httpx.AsyncClient, user: str, operation: Operation, tags: str
    ) -> None:
        task = await create(client, user)

        answer = await send(client, operation, user, task["id"], {"If-Match": tags})

        assert answer.status_code == (204 if operation.method == "DELETE" else 200)
        assert (await client.get(tasks_of(user))).headers["etag"] == 'W/"2"'

    @pytest.mark.requirement("FR-018")
    @each(WRITE_ONE_TASK)
    @pytest.mark.parametrize("tags", ['"1"', '"1", "3"', '"x2"', 'W/"21"', '""'])
    async def test_any_other_version_is_answered_with_the_task_as_it_is(
        self, client: httpx.AsyncClient, user: str, operation: Operation, tags: str
    ) -> None:
        path = path_of(await create(client, user))
        current = (await client.patch(path, json={"description": "as it is"})).json()

        answer = await send(client, operation, user, current["id"], {"If-Match": tags})

        assert answer.status_code == 412
        assert answer.json() == problem(answer, Kind.VERSION_MISMATCH, current=current)
        assert answer.headers["etag"] == '"2"'
        assert (await client.get(path)).json() == current

    @pytest.mark.requirement("FR-018")
    async def test_the_lines_of_a_repeated_header_are_one_list(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)

        answer = await client.patch(
            path_of(task), json={"title": "x"}, headers=[("If-Match", '"7"'), ("If-Match", '"1"')]
        )

        assert answer.status_code == 200

    @pytest.mark.requirement("FR-018", "FR-023")
    @each(WRITE_ONE_TASK)
    @pytest.mark.parametrize("tags", ["1", "", '"1', '"1" "2"', 'w/"1"', '*, "1"', '"1";'])
    async def test_what_is_no_entity_tag_is_refused(
        self, client: httpx.AsyncClient, user: str, operation: Operation, tags: str
    ) -> None:
        task = await create(client, user)

        answer = await send(client, operation, user, task["id"], {"If-Match": tags})

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {
                    "header": "If-Match",
                    "code": "invalid_entity_tag",
                    "detail": 'must be * or entity tags such as "7"',
                }
            ],
        )
        assert (await client.get(path_of(task))).json() == task

    @pytest.mark.requirement("FR-018")
    async def test_without_it_the_last_writer_wins(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        path = path_of(await create(client, user))

        await client.patch(path, json={"title": "first"})
        await client.patch(path, json={"title": "last"})

        assert (await client.get(path)).json()["title"] == "last"


class TestWritersAtTheSameTime:
    @pytest.mark.requirement("FR-018")
    async def test_of_those_that_saw_the_same_version_one_wins(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        tag = {"If-Match": '"1"'}

        answers = await asyncio.gather(
            *(
                send(client, operation, user, task["id"], tag)
                for operation in CHANGE_ONE_TASK.values()
                for _ in range(5)
            )
        )

        current = (await client.get(path_of(task))).json()
        assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 19}
        for answer in answers:
            if answer.status_code == 412:
                assert answer.json() == problem(answer, Kind.VERSION_MISMATCH, current=current)
            else:
                assert answer.json() == current

    @pytest.mark.requirement("FR-007", "FR-018")
    async def test_a_task_is_deleted_by_one_of_them(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)

        answers = await asyncio.gather(*(client.delete(path_of(task)) for _ in range(8)))

        assert Counter(answer.status_code for answer in answers) == {204: 1, 404: 7}

    @pytest.mark.requirement("FR-006", "FR-016", "SC-003")
    async def test_a_hundred_toggles_leave_an_open_task_open(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)
        path = f"{path_of(task)}/complete"

        answers = await asyncio.gather(*(client.patch(path) for _ in range(100)))

        in_order = sorted((answer.json() for answer in answers), key=lambda seen: seen["version"])
        assert [seen["version"] for seen in in_order] == [*range(2, 102)]
        assert [seen["is_completed"] for seen in in_order] == [True, False] * 50
        last = (await client.get(path_of(task))).json()
        assert last == {**task, "version": 101, "updated_at": last["updated_at"]}

    @pytest.mark.requirement("FR-016")
    async def test_versions_follow_the_order_of_the_commits(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        """Whoever sees a version sees all before it, and times are in the order of versions."""
        reads = (client.get(tasks_of(user), params={"limit": 1000}) for _ in range(60))

        async def look_on() -> list[httpx.Response]:
            return [await read for read in reads]

        pages, *tasks = await asyncio.gather(look_on(), *(create(client, user) for _ in range(60)))

        tasks.sort(key=lambda task: task["version"])
        assert [task["version"] for task in tasks] == [*range(1, 61)]
        assert tasks == sorted(tasks, key=lambda task: task["created_at"])
        for page in pages:
            newest = int(page.headers["etag"].removeprefix('W/"').removesuffix('"'))
            assert [task["version"] for task in page.json()["items"]] == [*range(newest, 0, -1)]

    @pytest.mark.requirement("FR-016")
    async def test_writers_of_every_kind_never_deadlock(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = [await create(client, user) for _ in range(4)]
        doomed = [await create(client, user) for _ in range(16)]

        answers = await asyncio.gather(
            *(
                send(client, operation, user, task["id"])
                for _ in range(4)
                for task in tasks
                for operation in CHANGE_ONE_TASK.values()
            ),
            *(client.delete(path_of(task)) for task in doomed),
            *(client.post(tasks_of(user), json={"title": "x"}) for _ in range(16)),
        )

        assert Counter(answer.status_code for answer in answers) == {200: 64, 201: 16, 204: 16}
        versions = [answer.json()["version"] for answer in answers if answer.content]
        assert len(set(versions)) == len(versions)
        assert (await client.get(tasks_of(user))).headers["etag"] == 'W/"116"'
