"""GET /tasks."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import httpx
import orjson
import psycopg
import pytest
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from src.api.problems import Kind
from src.schemas.query import TaskListQuery
from src.services import listing
from src.services.cursors import encode_cursor
from tests import model
from tests.builders import (
    CURSOR_MISMATCH,
    create,
    follow_links,
    list_tag_of,
    path_of,
    problem,
    rows_of,
    tasks_of,
)

pytestmark = pytest.mark.anyio


def create_many(database_url: str, user: str, count: int, *, at_once: int = 1) -> None:
    """Give the user this many tasks, of which `at_once` share each creation time."""
    beginning = datetime(2026, 1, 1, tzinfo=UTC)
    model.insert(
        database_url,
        user,
        [
            model.row(
                number, id=uuid4(), created_at=beginning + timedelta(microseconds=number // at_once)
            )
            for number in range(1, count + 1)
        ],
    )


async def walk(client: httpx.AsyncClient, user: str, limit: int) -> list[list[dict[str, Any]]]:
    """Give the tasks of each page."""
    answers = await follow_links(client, user, limit=str(limit))
    return [answer.json()["items"] for answer in answers]


class TestListTasks:
    @pytest.mark.requirement("FR-002", "FR-021")
    async def test_a_user_without_tasks_has_an_empty_list(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        answer = await client.get(tasks_of(user))

        assert answer.status_code == 200
        assert answer.json() == {"items": [], "next_cursor": None, "total": None}
        assert answer.headers["etag"] == 'W/"0"'

    @pytest.mark.requirement("FR-002")
    async def test_the_newest_task_comes_first(self, client: httpx.AsyncClient, user: str) -> None:
        first, second, third = [await create(client, user, title=title) for title in "abc"]
        changed = (await client.patch(path_of(first), json={"title": "z"})).json()

        answer = await client.get(tasks_of(user))

        assert answer.json() == {
            "items": [third, second, changed],
            "next_cursor": None,
            "total": None,
        }

    @pytest.mark.requirement("FR-002", "FR-019")
    async def test_tasks_of_the_same_instant_are_ordered_by_id(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        create_many(shared_database_url, user, 6, at_once=100)

        pages = await walk(client, user, 1)

        ids = [task["id"] for page in pages for task in page]
        assert len(ids) == 6
        assert ids == sorted(ids, reverse=True)


class TestPages:
    @pytest.mark.requirement("FR-019")
    async def test_a_page_has_fifty_tasks_unless_told_otherwise(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        create_many(shared_database_url, user, 51)

        pages = await walk(client, user, 50)
        answer = await client.get(tasks_of(user))

        assert [len(page) for page in pages] == [50, 1]
        assert answer.json()["items"] == pages[0]
        assert answer.json()["next_cursor"] is not None

    @pytest.mark.requirement("FR-019")
    async def test_a_page_has_a_thousand_tasks_at_most(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        create_many(shared_database_url, user, 1001)

        pages = await walk(client, user, 1000)

        assert [len(page) for page in pages] == [1000, 1]
        assert [task["version"] for page in pages for task in page] == [*range(1001, 0, -1)]

    @pytest.mark.requirement("FR-019", "FR-023")
    @pytest.mark.parametrize(
        ("limit", "code", "detail"),
        [
            ("0", "too_small", "must be at least 1"),
            ("-1", "too_small", "must be at least 1"),
            ("1001", "too_large", "must be at most 1000"),
            ("", "wrong_type", "must be an integer"),
            ("ten", "wrong_type", "must be an integer"),
            ("9" * 19, "too_large", "must be at most 1000"),
            ("9" * 4000, "too_large", "must be at most 1000"),
            ("1.0", "wrong_type", "must be an integer"),
            ("1_0", "wrong_type", "must be an integer"),
            ("+1", "wrong_type", "must be an integer"),
            (" 1", "wrong_type", "must be an integer"),
            ("\u0661", "wrong_type", "must be an integer"),
        ],
        ids=ascii,
    )
    async def test_any_other_limit_is_refused(
        self, client: httpx.AsyncClient, user: str, limit: str, code: str, detail: str
    ) -> None:
        answer = await client.get(tasks_of(user), params={"limit": limit})

        assert answer.status_code == 422
        assert answer.json() == problem(
            answer,
            Kind.INVALID_REQUEST,
            errors=[{"parameter": "limit", "code": code, "detail": detail}],
        )

    @pytest.mark.requirement("FR-019")
    @pytest.mark.parametrize("limit", [1, 2, 3])
    async def test_the_pages_together_are_the_list(
        self, client: httpx.AsyncClient, user: str, limit: int
    ) -> None:
        tasks = [await create(client, user) for _ in range(6)]

        pages = await walk(client, user, limit)

        assert {len(page) for page in pages} == {limit}
        assert [task for page in pages for task in page] == tasks[::-1]

    @pytest.mark.requirement("FR-019")
    async def test_a_list_that_fills_its_page_exactly_has_no_next_page(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = [await create(client, user) for _ in range(2)]

        answer = await client.get(tasks_of(user), params={"limit": 2})

        assert answer.json() == {"items": tasks[::-1], "next_cursor": None, "total": None}
        assert "link" not in answer.headers

    @pytest.mark.requirement("FR-019")
    async def test_the_link_and_the_cursor_lead_to_the_same_page(
        self, client: httpx.AsyncClient
    ) -> None:
        user = f"auth0|{uuid4()}@x:y+z"
        for _ in range(2):
            await create(client, user)
        first = await client.get(tasks_of(user), params={"limit": 1})

        by_link = await client.get(first.links["next"]["url"])
        by_cursor = await client.get(
            tasks_of(user), params={"limit": 1, "cursor": first.json()["next_cursor"]}
        )

        assert first.headers["link"].endswith('>; rel="next"')
        assert by_link.json() == by_cursor.json()
        assert len(by_link.json()["items"]) == 1

    @pytest.mark.requirement("FR-019")
    async def test_a_cursor_works_with_another_limit(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = [await create(client, user) for _ in range(3)]
        cursor = (await client.get(tasks_of(user), params={"limit": 1})).json()["next_cursor"]

        answer = await client.get(tasks_of(user), params={"limit": 2, "cursor": cursor})

        assert answer.json()["items"] == [tasks[1], tasks[0]]

    @pytest.mark.requirement("FR-019")
    async def test_a_page_is_found_though_the_task_before_it_is_gone(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        first, second = [await create(client, user) for _ in range(2)]
        link = (await client.get(tasks_of(user), params={"limit": 1})).links["next"]["url"]
        await client.delete(path_of(second))

        answer = await client.get(link)

        assert answer.json() == {"items": [first], "next_cursor": None, "total": None}

    @pytest.mark.requirement("FR-019")
    async def test_a_task_left_alone_is_seen_once_whatever_is_written_meanwhile(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = [await create(client, user, title=f"Task {n}") for n in range(24)]
        left_alone = tasks[::2]
        touched = iter(tasks[1::2])
        seen: list[dict[str, Any]] = []
        link: str | None = f"{tasks_of(user)}?limit=5"
        while link is not None:
            answer, *_ = await asyncio.gather(
                client.get(link),
                create(client, user),
                client.delete(path_of(next(touched))),
                client.patch(path_of(next(touched)), json={"title": "Changed"}),
            )
            seen += answer.json()["items"]
            link = answer.links.get("next", {}).get("url")

        numbers = [task["version"] for task in left_alone]
        assert [task for task in seen if task["version"] in numbers] == left_alone[::-1]
        assert len({task["id"] for task in seen}) == len(seen)


class TestCursors:
    @pytest.mark.requirement("FR-020")
    @pytest.mark.parametrize(
        "cursor", ["", "A", "garbage", "AAAAAAAAAAAAAAAA", "%", "==", "é\u0661", "\0", "x" * 5000]
    )
    async def test_what_no_server_made_is_refused(
        self, client: httpx.AsyncClient, user: str, cursor: str
    ) -> None:
        answer = await client.get(tasks_of(user), params={"cursor": cursor})

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[CURSOR_MISMATCH])

    @pytest.mark.requirement("FR-020")
    async def test_a_damaged_cursor_is_refused(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        create_many(shared_database_url, user, 2)
        page = (await client.get(tasks_of(user), params={"limit": 1})).json()
        cursor = page["next_cursor"]
        damaged = [cursor[:-1], cursor[1:], "A" + cursor, cursor[:20] + "-" + cursor[21:]]

        for token in damaged:
            answer = await client.get(tasks_of(user), params={"cursor": token})

            assert answer.status_code == 422
            assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[CURSOR_MISMATCH])

    @pytest.mark.requirement("FR-013", "FR-020")
    async def test_a_cursor_of_another_user_is_refused(
        self, client: httpx.AsyncClient, user: str, other_user: str, shared_database_url: str
    ) -> None:
        create_many(shared_database_url, user, 2)
        page = (await client.get(tasks_of(user), params={"limit": 1})).json()

        answer = await client.get(tasks_of(other_user), params={"cursor": page["next_cursor"]})

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[CURSOR_MISMATCH])

    @pytest.mark.requirement("FR-020", "FR-022")
    @pytest.mark.parametrize(
        "keys",
        [
            b"no JSON",
            b"{}",
            b'["2026-01-01T00:00:00.000000Z"]',
            b"[1,2]",
            b'["2026-01-01T00:00:00.000000Z","no id"]',
            b'["no time","01981f6e-3c00-7a3b-8a00-000000000001"]',
            b'["2026-99-99T00:00:00.000000Z","01981f6e-3c00-7a3b-8a00-000000000001"]',
        ],
    )
    async def test_a_forged_cursor_is_refused(
        self, client: httpx.AsyncClient, user: str, keys: bytes
    ) -> None:
        written = cast("list[Any]", orjson.Fragment(keys))  # is put into the cursor as it is
        cursor = encode_cursor(written, user_id=user, query=TaskListQuery().identity)

        answer = await client.get(tasks_of(user), params={"cursor": cursor})

        assert answer.status_code == 422
        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[CURSOR_MISMATCH])


class TestListVersion:
    @pytest.mark.requirement("FR-021")
    @pytest.mark.parametrize(
        "tags",
        [
            'W/"{version}"',
            '"{version}"',
            '"7", W/"{version}"',
            'W/"{version}-gzip"',
            "*",
        ],
    )
    async def test_a_client_that_has_this_list_gets_304(
        self, client: httpx.AsyncClient, user: str, tags: str
    ) -> None:
        task = await create(client, user)

        answer = await client.get(tasks_of(user), headers={"If-None-Match": tags.format_map(task)})

        assert answer.status_code == 304
        assert answer.headers["etag"] == list_tag_of(task)
        assert answer.headers["cache-control"] == "private, no-cache"

    @pytest.mark.requirement("FR-021")
    async def test_any_change_of_the_list_and_no_other_ends_the_304(
        self, client: httpx.AsyncClient, user: str, other_user: str, shared_database_url: str
    ) -> None:
        async def revalidate(tag: str) -> tuple[int, str]:
            answer = await client.get(tasks_of(user), headers={"If-None-Match": tag})
            return answer.status_code, answer.headers["etag"]

        nothing = await revalidate('W/"0"')
        task = await create(client, user)
        first = list_tag_of(task)
        created = await revalidate('W/"0"')
        await create(client, other_user)
        untouched = await revalidate(first)
        changed = (await client.patch(path_of(task), json={"title": "x"})).json()
        second = list_tag_of(changed)
        updated = await revalidate(first)
        await client.delete(path_of(task))
        (gone,) = rows_of(shared_database_url, user)["task_tombstones"]
        deleted = await revalidate(second)

        assert (nothing, created) == ((304, 'W/"0"'), (200, first))
        assert (untouched, updated) == ((304, first), (200, second))
        assert deleted == (200, list_tag_of(gone))
        assert task["version"] < changed["version"] < gone["version"]

    @pytest.mark.requirement("FR-021")
    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"sort": "-updated_at"},
            {"sort": "due,-priority", "include_total": "true", "tz": "Europe/Berlin"},
            {"sort": "title", "q": "task", "is_completed": "false", "include_total": "true"},
            {"due": "none", "tag": "home", "priority": "none,low", "include_total": "true"},
            {"due_before": "2026-01-01T00:00:00Z", "created_after": "2020-01-01T00:00:00Z"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize(("seen", "reads_tasks"), [([2], False), ([1, 3], True)])
    def test_a_client_that_has_this_list_makes_the_database_read_no_task(
        self,
        shared_database_url: str,
        user: str,
        query: dict[str, str],
        seen: list[int],
        *,
        reads_tasks: bool,
    ) -> None:
        create_many(shared_database_url, user, 2)
        dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # it has no types
        asked = TaskListQuery.model_validate(query)
        statement, parameters = listing.list_tasks(
            user, asked, now=datetime.now(UTC), seen=frozenset(seen)
        )
        compiled = statement.compile(dialect=dialect)
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}"

        with psycopg.connect(shared_database_url) as connection:
            (plans,) = connection.execute(
                explain.encode(), compiled.construct_params(parameters)
            ).fetchall()[0]

        scans = [node for node in nodes(plans[0]["Plan"]) if node.get("Relation Name") == "tasks"]
        assert len(scans) == (2 if asked.include_total else 1)
        assert any(node["Actual Loops"] for node in scans) == reads_tasks


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
