"""PUT /tasks/{task_id} with If-None-Match: *, and the preconditions of writes."""

import asyncio
from collections import Counter
from uuid import uuid4

import httpx
import pytest

from src.api.problems import Kind
from tests.builders import (
    INVALID_TASK_ID,
    MOVE_ONE_TASK,
    NEW,
    NO_ROWS,
    ON_ONE_TASK,
    REPLACEMENT,
    WRITE_ONE_TASK,
    After,
    Operation,
    create,
    each,
    path_of,
    problem,
    rows_of,
    send,
    tag_of,
    tasks_of,
)

pytestmark = pytest.mark.anyio


class TestAnIdOfTheClient:
    @pytest.mark.requirement("FR-055")
    async def test_becomes_the_id_of_the_task(self, client: httpx.AsyncClient, user: str) -> None:
        path = f"{tasks_of(user)}/{uuid4()}"

        answer = await client.put(path, json=REPLACEMENT, headers=NEW)

        task = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == path == path_of(task)
        assert answer.headers["etag"] == tag_of(task)
        assert task == {
            "id": task["id"],
            "user_id": user,
            **REPLACEMENT,
            "completed_at": None,
            "position": f"{task['version']:016}",
            "version": After(0),
            "created_at": task["created_at"],
            "updated_at": task["created_at"],
        }
        assert (await client.get(path)).json() == task

    @pytest.mark.requirement("FR-055")
    async def test_is_lower_case_in_the_path_of_the_task(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        path = f"{tasks_of(user)}/{uuid4()}"

        answer = await client.put(
            f"{tasks_of(user)}/{path[-36:].upper()}", json=REPLACEMENT, headers=NEW
        )

        assert answer.headers["location"] == path == path_of(answer.json())

    @pytest.mark.requirement("FR-055", "FR-013")
    async def test_may_be_one_that_another_user_has_too(
        self, client: httpx.AsyncClient, user: str, other_user: str
    ) -> None:
        foreign = await create(client, other_user)
        path = f"{tasks_of(user)}/{foreign['id']}"

        answer = await client.put(path, json=REPLACEMENT, headers=NEW)

        assert (answer.status_code, answer.json()["title"]) == (201, REPLACEMENT["title"])
        assert (await client.get(path_of(foreign))).json() == foreign

    @pytest.mark.requirement("FR-055")
    async def test_that_a_task_has_is_answered_with_412_and_that_task(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        task = await create(client, user)
        before = rows_of(shared_database_url, user)

        answer = await client.put(path_of(task), json=REPLACEMENT, headers=NEW)

        assert answer.status_code == 412
        assert answer.json() == problem(answer, Kind.TASK_EXISTS, current=task)
        assert answer.headers["etag"] == tag_of(task)
        assert rows_of(shared_database_url, user) == before

    @pytest.mark.requirement("FR-055")
    async def test_that_a_task_had_undoes_its_deletion(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        task = await create(client, user)
        await client.delete(path_of(task))
        (gone,) = rows_of(shared_database_url, user)["task_tombstones"]

        answer = await client.put(path_of(task), json=REPLACEMENT, headers=NEW)

        revived = answer.json()
        assert (answer.status_code, revived["version"]) == (201, After(gone["version"]))
        assert (await client.get(path_of(task))).json() == revived
        rows = rows_of(shared_database_url, user)
        assert rows["task_lists"] == [
            {"user_id": user, "version": revived["version"], "first_version": task["version"]}
        ]
        assert (len(rows["tasks"]), rows["task_tombstones"]) == (1, [])

    @pytest.mark.requirement("FR-055", "FR-004")
    async def test_is_not_taken_without_the_precondition(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        answer = await client.put(f"{tasks_of(user)}/{uuid4()}", json=REPLACEMENT)

        assert answer.status_code == 404
        assert answer.json() == problem(answer, Kind.TASK_NOT_FOUND)
        assert rows_of(shared_database_url, user) == NO_ROWS

    @pytest.mark.requirement("FR-055", "SC-011")
    @pytest.mark.parametrize("was_deleted", [True, False])
    async def test_is_taken_once_by_fifty_at_the_same_time(
        self,
        client: httpx.AsyncClient,
        user: str,
        shared_database_url: str,
        *,
        was_deleted: bool,
    ) -> None:
        path = f"{tasks_of(user)}/{uuid4()}"
        if was_deleted:
            await client.put(path, json=REPLACEMENT, headers=NEW)
            await client.delete(path)

        answers = await asyncio.gather(
            *(
                client.put(path, json={**REPLACEMENT, "title": f"{n}"}, headers=NEW)
                for n in range(50)
            )
        )

        assert Counter(answer.status_code for answer in answers) == {201: 1, 412: 49}
        (winner,) = (answer.json() for answer in answers if answer.is_success)
        assert all(
            answer.json()["current"] == winner for answer in answers if not answer.is_success
        )
        rows = rows_of(shared_database_url, user)
        assert [row["title"] for row in rows["tasks"]] == [winner["title"]]
        assert rows["task_tombstones"] == []

    @pytest.mark.requirement("FR-055", "FR-016")
    async def test_may_be_created_and_deleted_by_many_at_the_same_time(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        """A task and its tombstone may exist side by side: the higher version is the truth."""
        path = f"{tasks_of(user)}/{uuid4()}"
        answers = await asyncio.gather(
            *(
                request
                for _ in range(20)
                for request in (
                    client.put(path, json=REPLACEMENT, headers=NEW),
                    client.delete(path),
                )
            )
        )

        counts = Counter(answer.status_code for answer in answers)
        assert counts.keys() <= {201, 204, 404, 412}
        rows = rows_of(shared_database_url, user)
        assert counts[201] - counts[204] == len(rows["tasks"])
        assert (await client.get(path)).is_success == bool(rows["tasks"])
        for task in rows["tasks"]:
            assert all(task["version"] > gone["version"] for gone in rows["task_tombstones"])


class TestIfNoneMatchOnAWrite:
    @pytest.mark.requirement("FR-056", "FR-023")
    @pytest.mark.parametrize(
        "tags", ['"{version}"', 'W/"{version}"', "", '*, "{version}"', '"1"', 'W/"1"', "**"]
    )
    async def test_is_refused_unless_it_is_a_star(
        self, client: httpx.AsyncClient, user: str, tags: str
    ) -> None:
        task = await create(client, user)

        answer = await client.put(
            path_of(task), json=REPLACEMENT, headers={"If-None-Match": tags.format_map(task)}
        )

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {"header": "If-None-Match", "code": "invalid_entity_tag", "detail": "must be *"}
            ],
        )
        assert (await client.get(path_of(task))).json() == task

    @pytest.mark.requirement("FR-056")
    async def test_is_refused_in_two_lines(self, client: httpx.AsyncClient, user: str) -> None:
        answer = await client.put(
            f"{tasks_of(user)}/{uuid4()}",
            json=REPLACEMENT,
            headers=[("If-None-Match", "*"), ("If-None-Match", '"1"')],
        )

        assert answer.status_code == 422

    @pytest.mark.requirement("FR-056")
    @pytest.mark.parametrize("tags", ["*", '"{version}"', '"1"'])
    @pytest.mark.parametrize(
        "name", ["update_task", "complete_task", "toggle_task", "move_task", "delete_task"]
    )
    async def test_is_refused_where_it_could_only_be_ignored(
        self, client: httpx.AsyncClient, user: str, name: str, tags: str
    ) -> None:
        task = await create(client, user)

        headers = {"If-None-Match": tags.format_map(task)}
        answer = await send(client, ON_ONE_TASK[name], user, task["id"], headers)

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {
                    "header": "If-None-Match",
                    "code": "unknown",
                    "detail": "is not supported by this operation; leave it out",
                }
            ],
        )
        assert (await client.get(path_of(task))).json() == task


class TestBothPreconditions:
    """If-Match comes first (RFC 9110, section 13.2.2). Both never hold."""

    @pytest.mark.requirement("FR-057")
    @pytest.mark.parametrize(
        ("tags", "kind"),
        [
            ('"{stale}"', Kind.VERSION_MISMATCH),
            ('"{right}"', Kind.TASK_EXISTS),
            ("*", Kind.TASK_EXISTS),
        ],
        ids=["stale", "right", "any"],
    )
    async def test_tell_which_one_does_not_hold(
        self, client: httpx.AsyncClient, user: str, tags: str, kind: Kind
    ) -> None:
        task = await create(client, user)
        path = path_of(task)
        current = (await client.patch(path, json={"title": "x"})).json()
        tags = tags.format(stale=task["version"], right=current["version"])

        answer = await client.put(path, json=REPLACEMENT, headers={"If-Match": tags, **NEW})

        assert answer.status_code == 412
        assert answer.json() == problem(answer, kind, current=current)
        assert (await client.get(path)).json() == current

    @pytest.mark.requirement("FR-057")
    @pytest.mark.parametrize("tags", ['"1"', "*"])
    async def test_create_nothing(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str, tags: str
    ) -> None:
        """Without preconditions it would be 404, so they are ignored (section 13.2.1)."""
        path = f"{tasks_of(user)}/{uuid4()}"

        answer = await client.put(path, json=REPLACEMENT, headers={"If-Match": tags, **NEW})

        assert answer.status_code == 404
        assert rows_of(shared_database_url, user)["tasks"] == []

    @pytest.mark.requirement("FR-057")
    @each(WRITE_ONE_TASK | MOVE_ONE_TASK)
    async def test_come_after_the_rules_of_the_request(
        self, client: httpx.AsyncClient, user: str, operation: Operation
    ) -> None:
        answer = await send(client, operation, user, "no-id", {"If-Match": '"0"'})

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[INVALID_TASK_ID])
