"""Versions, `If-Match`, and writers that come at the same time."""

import asyncio
import time
from collections import Counter
from datetime import timedelta

import httpx
import pytest

from src.api.problems import Kind
from tests.builders import (
    AHEAD,
    CHANGE_ONE_TASK,
    MOVE_ONE_TASK,
    NO_ROWS,
    NO_TASK,
    REPLACEMENT,
    WRITE_ONE_TASK,
    After,
    Operation,
    create,
    each,
    list_tag_of,
    path_of,
    problem,
    rows_of,
    send,
    stop_clock,
    tag_of,
    tasks_of,
    version_in,
)

pytestmark = pytest.mark.anyio


def clock() -> int:
    """The time in microseconds since 1970."""
    return time.time_ns() // 1000


async def make_eight_changes(
    client: httpx.AsyncClient, user: str, database_url: str
) -> tuple[list[int], list[str]]:
    """Change a user's list eight times; give the versions, and the tags of the third to sixth."""
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
    (gone,) = rows_of(database_url, user)["task_tombstones"]
    last = await create(client, user)
    changes = [task, another, *(answer.json() for answer in answers), gone, last]
    return [change["version"] for change in changes], [answer.headers["etag"] for answer in answers]


class TestVersions:
    @pytest.mark.requirement("FR-016", "FR-017")
    async def test_each_change_takes_a_later_one_than_all_before_it(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        versions, tags = await make_eight_changes(client, user, shared_database_url)

        assert versions == sorted({*versions})
        assert tags == [f'"{version}"' for version in versions[2:6]]
        assert version_in(await client.get(tasks_of(user))) == versions[-1]

    @pytest.mark.requirement("FR-016", "FR-017")
    async def test_each_change_takes_the_next_number_while_the_clock_stands_still_or_is_behind(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        first = await create(client, user)
        stop_clock(shared_database_url, user)

        versions, tags = await make_eight_changes(client, user, shared_database_url)

        assert versions == [AHEAD + count for count in range(1, 9)]
        assert tags == [f'"{version}"' for version in versions[2:6]]
        assert version_in(await client.get(tasks_of(user))) == AHEAD + 8
        assert rows_of(shared_database_url, user)["task_lists"] == [
            {"user_id": user, "version": AHEAD + 8, "first_version": first["version"]}
        ]

    @pytest.mark.requirement("FR-016")
    async def test_each_change_takes_the_time_in_microseconds(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        """The database is on this machine, so its clock is that of the test."""
        start = clock()
        task = await create(client, user)
        between = clock()
        changed = (await client.patch(path_of(task), json={"title": "x"})).json()
        end = clock()

        assert start <= task["version"] <= between <= changed["version"] <= end
        assert rows_of(shared_database_url, user)["task_lists"] == [
            {"user_id": user, "version": changed["version"], "first_version": task["version"]}
        ]

    @pytest.mark.requirement("FR-016")
    async def test_a_version_is_a_number_that_javascript_reads_exactly_for_a_century_to_come(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        century = timedelta(days=36_525) // timedelta(microseconds=1)

        task = await create(client, user)

        assert task["version"] + century < 2**53

    @pytest.mark.requirement("FR-016")
    @each(WRITE_ONE_TASK | MOVE_ONE_TASK)
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
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        first_refused = await client.post(tasks_of(user), json={"title": ""})
        without_a_task = rows_of(shared_database_url, user)
        task = await create(client, user)
        then_refused = await client.post(tasks_of(user), json={"title": ""})

        assert (first_refused.status_code, then_refused.status_code) == (422, 422)
        assert without_a_task == NO_ROWS
        assert rows_of(shared_database_url, user)["task_lists"] == [
            {"user_id": user, "version": task["version"], "first_version": task["version"]}
        ]


class TestIfMatch:
    @pytest.mark.requirement("FR-018")
    @each(WRITE_ONE_TASK)
    @pytest.mark.parametrize(
        "tags",
        [
            '"{version}"',
            '"7", "{version}"',
            "*",
            'W/"{version}"',
            '"{version}-gzip"',
            '"{version}--gzip"',
            '"{version}-zstd"',
            '"{version}-br"',
            ' "7" ,\t"{version}" ',
        ],
    )
    async def test_the_version_that_the_client_saw_may_be_changed(
        self,
        client: httpx.AsyncClient,
        user: str,
        shared_database_url: str,
        operation: Operation,
        tags: str,
    ) -> None:
        task = await create(client, user)

        answer = await send(
            client, operation, user, task["id"], {"If-Match": tags.format_map(task)}
        )

        assert answer.status_code == (204 if operation.method == "DELETE" else 200)
        rows = rows_of(shared_database_url, user)
        (left,) = rows["tasks"] + rows["task_tombstones"]
        assert left["version"] == After(task["version"])
        assert (await client.get(tasks_of(user))).headers["etag"] == list_tag_of(left)

    @pytest.mark.requirement("FR-018")
    @each(WRITE_ONE_TASK | MOVE_ONE_TASK)
    @pytest.mark.parametrize(
        "tags",
        [
            '"{stale}"',
            '"{stale}", "{next}"',
            '"x{version}"',
            'W/"{version}1"',
            '"1"',
            '""',
        ],
    )
    async def test_any_other_version_is_answered_with_the_task_as_it_is(
        self, client: httpx.AsyncClient, user: str, operation: Operation, tags: str
    ) -> None:
        task = await create(client, user)
        path = path_of(task)
        current = (await client.patch(path, json={"description": "as it is"})).json()
        version = current["version"]
        tags = tags.format(stale=task["version"], version=version, next=version + 1)

        answer = await send(client, operation, user, current["id"], {"If-Match": tags})

        assert answer.status_code == 412
        assert answer.json() == problem(answer, Kind.VERSION_MISMATCH, current=current)
        assert answer.headers["etag"] == tag_of(current)
        assert (await client.get(path)).json() == current

    @pytest.mark.requirement("FR-018")
    async def test_the_lines_of_a_repeated_header_are_one_list(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = await create(client, user)

        lines = [("If-Match", '"7"'), ("If-Match", tag_of(task))]
        answer = await client.patch(path_of(task), json={"title": "x"}, headers=lines)

        assert answer.status_code == 200

    @pytest.mark.requirement("FR-018", "FR-023")
    @each(WRITE_ONE_TASK | MOVE_ONE_TASK)
    @pytest.mark.parametrize(
        "tags",
        [
            "{version}",
            "",
            '"{version}',
            '"{version}" "2"',
            'w/"{version}"',
            '*, "{version}"',
            '"{version}";',
        ],
    )
    async def test_what_is_no_entity_tag_is_refused(
        self, client: httpx.AsyncClient, user: str, operation: Operation, tags: str
    ) -> None:
        task = await create(client, user)
        headers = {"If-Match": tags.format_map(task)}

        answer = await send(client, operation, user, task["id"], headers)

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
        tag = {"If-Match": tag_of(task)}

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
        versions = [task["version"], *(seen["version"] for seen in in_order)]
        assert versions == sorted({*versions})
        assert [seen["is_completed"] for seen in in_order] == [True, False] * 50
        last = (await client.get(path_of(task))).json()
        assert last == {**task, "version": versions[-1], "updated_at": last["updated_at"]}
        assert (await client.get(tasks_of(user))).headers["etag"] == list_tag_of(last)

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
        versions = [task["version"] for task in tasks]
        assert versions == sorted({*versions})
        assert tasks == sorted(tasks, key=lambda task: task["created_at"])
        for page in pages:
            newest = version_in(page)
            assert newest in (0, *versions)
            assert [task["version"] for task in page.json()["items"]] == [
                version for version in reversed(versions) if version <= newest
            ]

    @pytest.mark.requirement("FR-016")
    async def test_writers_of_every_kind_never_deadlock(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        stop_clock(shared_database_url, user)
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
        assert version_in(await client.get(tasks_of(user))) == AHEAD + 116
