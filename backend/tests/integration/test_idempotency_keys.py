"""POST /tasks with an Idempotency-Key."""

import asyncio
from collections import Counter
from uuid import UUID

import httpx
import pytest

from src.api.problems import Kind
from tests.builders import (
    AHEAD,
    KEY_REUSED,
    MOVE_ONE_TASK,
    NEW,
    NO_ROWS,
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
    stop_clock,
    tag_of,
    tasks_of,
)

pytestmark = pytest.mark.anyio

KEY = {"Idempotency-Key": "6f1c2f8e-9a57-4a43-8a5e-0c3d1b2a4f60"}
MILK = {"title": "Buy milk", "due_at": "2026-12-24T18:00:00Z", "tags": ["shopping"]}
MALFORMED = {
    "header": "Idempotency-Key",
    "code": "invalid_format",
    "detail": "must be 1 to 255 visible ASCII characters without spaces",
}


async def post(
    client: httpx.AsyncClient, user: str, body: object = MILK, **headers: str
) -> httpx.Response:
    return await client.post(tasks_of(user), json=body, headers=KEY | headers)


class TestAFreshKey:
    @pytest.mark.requirement("FR-052")
    async def test_creates_the_task_as_without_one(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        plain = (await client.post(tasks_of(user), json=MILK)).json()

        answer = await post(client, user)

        task = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == path_of(task)
        assert answer.headers["etag"] == tag_of(task)
        assert "idempotency-replayed" not in answer.headers
        assert UUID(task["id"]).version == 5
        assert task == {
            **plain,
            "id": task["id"],
            "position": f"{task['version']:016}",
            "version": After(plain["version"]),
            "due_at": "2026-12-24T18:00:00.000000Z",
            "created_at": task["created_at"],
            "updated_at": task["created_at"],
        }
        assert (await client.get(answer.headers["location"])).json() == task

    @pytest.mark.requirement("FR-052", "FR-013")
    async def test_belongs_to_one_user(
        self, client: httpx.AsyncClient, user: str, other_user: str
    ) -> None:
        answers = [await post(client, owner) for owner in (user, other_user)]

        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].json()["id"] != answers[1].json()["id"]

    @pytest.mark.requirement("FR-052")
    @pytest.mark.parametrize("other", ["x", "6F1C2F8E-9A57-4A43-8A5E-0C3D1B2A4F60", "~" * 255])
    async def test_is_compared_character_by_character(
        self, client: httpx.AsyncClient, user: str, other: str
    ) -> None:
        answers = [await post(client, user, **{"Idempotency-Key": key}) for key in (other, "y")]
        answers.append(await post(client, user))

        assert [answer.status_code for answer in answers] == [201, 201, 201]
        assert len({answer.json()["id"] for answer in answers}) == 3


class TestTheSameAgain:
    @pytest.mark.requirement("FR-053")
    async def test_gives_the_task_and_writes_nothing(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        first = await post(client, user)
        before = rows_of(shared_database_url, user)

        again = await post(client, user)

        assert again.status_code == 200
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json() == first.json()
        for name in ("etag", "location"):
            assert again.headers[name] == first.headers[name]
        assert rows_of(shared_database_url, user) == before

    @pytest.mark.requirement("FR-053")
    async def test_may_be_written_in_another_way(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        first = await post(client, user)

        again = await client.post(
            tasks_of(user),
            headers=KEY | {"Content-Type": "application/json; charset=utf-8"},
            content=b'{ "tags":[" shopping "],"is_completed":false, "due_date":null,\n'
            b'"due_at":"2026-12-24T19:00:00.000+01:00", "title": "Buy\\u0020milk " }',
        )

        assert (again.status_code, again.json()) == (200, first.json())

    @pytest.mark.requirement("FR-053")
    async def test_gives_the_task_as_it_is_now(self, client: httpx.AsyncClient, user: str) -> None:
        task = (await post(client, user)).json()
        for change in (REPLACEMENT, {**REPLACEMENT, "is_completed": True}):
            current = (await client.put(path_of(task), json=change)).json()

            again = await post(client, user)

            assert (again.status_code, again.json()) == (200, current)
            assert again.headers["etag"] == f'"{current["version"]}"'

    @pytest.mark.requirement("FR-053")
    @pytest.mark.parametrize("body", [{"title": "Buy oat milk"}, {**MILK, "tags": []}], ids=str)
    async def test_with_another_body_is_refused(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str, body: object
    ) -> None:
        await post(client, user)
        before = rows_of(shared_database_url, user)

        answer = await post(client, user, body)

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[KEY_REUSED])
        assert rows_of(shared_database_url, user) == before

    @pytest.mark.requirement("FR-053")
    async def test_after_the_task_was_deleted_makes_no_other(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        task = (await post(client, user)).json()
        await client.delete(path_of(task))
        before = rows_of(shared_database_url, user)

        for body in (MILK, REPLACEMENT):
            answer = await post(client, user, body)

            assert answer.status_code == 410
            assert answer.json() == problem(answer, Kind.TASK_DELETED)
        assert rows_of(shared_database_url, user) == before

    @pytest.mark.requirement("FR-053", "FR-055")
    async def test_after_the_deletion_was_undone_finds_a_task_that_is_not_its_own(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        task = (await post(client, user)).json()
        await client.delete(path_of(task))
        await client.put(path_of(task), json=REPLACEMENT, headers=NEW)

        answer = await post(client, user)

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[KEY_REUSED])


class TestAMalformedKey:
    @pytest.mark.requirement("FR-054", "FR-023")
    @pytest.mark.parametrize("key", ["", " ", "a b", "a\tb", "\x7f", "é", "x" * 256], ids=ascii)
    async def test_is_refused(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str, key: str
    ) -> None:
        answer = await client.post(
            tasks_of(user), json=MILK, headers=[(b"Idempotency-Key", key.encode("latin-1"))]
        )

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[MALFORMED])
        assert rows_of(shared_database_url, user) == NO_ROWS

    @pytest.mark.requirement("FR-054", "FR-023")
    async def test_is_reported_with_all_other_values(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        answer = await post(client, user, {"title": ""}, **{"Idempotency-Key": "a b"})

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                MALFORMED,
                {"pointer": "/title", "code": "too_short", "detail": "must not be empty"},
            ],
        )

    @pytest.mark.requirement("FR-054", "FR-023")
    async def test_is_refused_in_two_lines_before_any_value_is_looked_at(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        answer = await client.post(
            tasks_of(user),
            json={"title": ""},
            headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b"), ("If-None-Match", "*")],
        )

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {
                    "header": "If-None-Match",
                    "code": "unknown",
                    "detail": "is not supported by this operation; leave it out",
                },
                {
                    "header": "Idempotency-Key",
                    "code": "repeated",
                    "detail": "must not be repeated",
                },
            ],
        )
        assert rows_of(shared_database_url, user) == NO_ROWS

    @pytest.mark.requirement("FR-054", "FR-053")
    async def test_in_a_request_that_is_refused_can_be_used_again(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        refused = await post(client, user, {"title": ""})
        taken = await post(client, user)

        assert (refused.status_code, taken.status_code) == (422, 201)


class TestAKeyOfAnotherOperation:
    @pytest.mark.requirement("FR-056")
    @each(WRITE_ONE_TASK | MOVE_ONE_TASK)
    async def test_is_refused_where_it_could_only_be_ignored(
        self, client: httpx.AsyncClient, user: str, operation: Operation
    ) -> None:
        task = await create(client, user)

        answer = await send(client, operation, user, task["id"], KEY)

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[
                {
                    "header": "Idempotency-Key",
                    "code": "unknown",
                    "detail": "is not supported by this operation; leave it out",
                }
            ],
        )
        assert (await client.get(path_of(task))).json() == task


class TestTheSameAtTheSameTime:
    @pytest.mark.requirement("FR-053", "SC-011")
    @pytest.mark.parametrize("is_new_user", [True, False])
    async def test_fifty_make_one_task(
        self,
        client: httpx.AsyncClient,
        user: str,
        shared_database_url: str,
        *,
        is_new_user: bool,
    ) -> None:
        if not is_new_user:
            await create(client, user, title="Wash up")

        answers = await asyncio.gather(*(post(client, user) for _ in range(50)))

        assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
        assert Counter("idempotency-replayed" in answer.headers for answer in answers) == {
            False: 1,
            True: 49,
        }
        assert len({answer.content for answer in answers}) == 1
        rows = rows_of(shared_database_url, user)
        assert [row["title"] for row in rows["tasks"] if row["request_hash"]] == ["Buy milk"]

    @pytest.mark.requirement("FR-053", "SC-011")
    async def test_of_many_bodies_one_makes_the_task(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        answers = await asyncio.gather(
            *(post(client, user, {"title": f"{n % 5}"}) for n in range(50))
        )

        assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 9, 422: 40}
        (row,) = rows_of(shared_database_url, user)["tasks"]
        for answer in answers:
            if answer.is_success:
                assert answer.json()["title"] == row["title"]
            else:
                assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[KEY_REUSED])

    @pytest.mark.requirement("FR-053", "FR-016")
    async def test_keys_and_writers_of_every_kind_do_not_disturb_each_other(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        stop_clock(shared_database_url, user)

        async def spend(number: int) -> list[int]:
            key = {"Idempotency-Key": f"key-{number}"}
            first = await post(client, user, **key)
            deleted = await client.delete(first.headers["location"])
            again = await asyncio.gather(*(post(client, user, **key) for _ in range(3)))
            revived = await client.put(first.headers["location"], json=REPLACEMENT, headers=NEW)
            return [answer.status_code for answer in (first, deleted, *again, revived)]

        statuses = await asyncio.gather(*(spend(number) for number in range(12)))

        assert statuses == [[201, 204, 410, 410, 410, 201]] * 12
        rows = rows_of(shared_database_url, user)
        assert (len(rows["tasks"]), rows["task_tombstones"]) == (12, [])
        assert rows["task_lists"] == [{"user_id": user, "version": AHEAD + 36, "first_version": 1}]
