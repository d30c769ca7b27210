"""A client that was away asks one question and learns every change and every deletion."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

import httpx
import psycopg
import pytest

from src.api.problems import Kind
from src.config import ROOT
from src.services.changes import TOKENS
from src.services.cursors import encode_cursor
from tests.builders import (
    NEW,
    REPLACEMENT,
    After,
    create,
    path_of,
    problem,
    stop_clock,
    tasks_of,
)
from tests.processes import serving

pytestmark = pytest.mark.anyio

TOKEN_MISMATCH = {
    "parameter": "since",
    "code": "token_mismatch",
    "detail": "does not belong to the changes of this user; start again without since",
}


async def changes(client: httpx.AsyncClient, user: str, **query: Any) -> dict[str, Any]:
    answer = await client.get(f"{tasks_of(user)}/changes", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def token(client: httpx.AsyncClient, user: str) -> str:
    found = await changes(client, user)
    assert not found["has_more"]
    return str(found["next"])


UNLIMITED: Final = """
CREATE FUNCTION check_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN ASSERT current_setting('statement_timeout') = '0'; RETURN new; END $$;
CREATE TRIGGER check_limit BEFORE UPDATE OF first_version ON task_lists
FOR EACH ROW EXECUTE FUNCTION check_limit()
"""


def run_restored(database_url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "src", "restored"],
        cwd=ROOT / "backend",
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def execute(database_url: str, statement: str, user: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(statement.encode(), {"user": user})


def store_in_reverse(database_url: str, user: str) -> None:
    """Store the rows of a user in the opposite order of their versions."""
    for table in ("tasks", "task_tombstones"):
        execute(
            database_url,
            f"WITH stored AS (DELETE FROM {table} WHERE user_id = %(user)s RETURNING *)"  # noqa: S608 — the name is ours
            f" INSERT INTO {table} SELECT * FROM stored ORDER BY version DESC",
            user,
        )


@pytest.mark.requirement("FR-079")
class TestWithoutAToken:
    async def test_everything_that_exists_is_there_in_the_order_of_the_versions(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        first, second, third = [await create(client, user) for _ in range(3)]
        first = (await client.patch(path_of(first), json={"title": "Wash up"})).json()
        await client.delete(path_of(second))

        found = await changes(client, user)

        assert found == {
            "changed": [third, first],
            "deleted": [],
            "next": found["next"],
            "has_more": False,
        }

    async def test_a_user_without_tasks_has_no_changes(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        found = await changes(client, user)

        assert found == {"changed": [], "deleted": [], "next": found["next"], "has_more": False}

    @pytest.mark.requirement("FR-081")
    async def test_who_begins_with_an_empty_list_learns_of_deletions(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        """It may know the task from the answer to a request of its own."""
        since = await token(client, user)
        task = await create(client, user)
        await client.delete(path_of(task))

        found = await changes(client, user, since=since)

        assert [deleted["id"] for deleted in found["deleted"]] == [task["id"]]

    async def test_who_begins_with_an_empty_list_learns_what_comes(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        since = await token(client, user)
        kept, deleted = [await create(client, user) for _ in range(2)]
        await client.delete(path_of(deleted))

        found = await changes(client, user, since=since)

        assert found["changed"] == [kept]
        assert [tombstone["id"] for tombstone in found["deleted"]] == [deleted["id"]]


@pytest.mark.requirement("FR-079")
class TestSinceAToken:
    async def test_each_task_is_there_once_as_it_is_now(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = [await create(client, user) for _ in range(3)]
        since = await token(client, user)
        for title in ("once", "twice"):
            changed = (await client.patch(path_of(tasks[1]), json={"title": title})).json()
        new = await create(client, user)

        found = await changes(client, user, since=since)

        assert found["changed"] == [changed, new]
        assert await changes(client, user, since=found["next"]) == {
            "changed": [],
            "deleted": [],
            "next": found["next"],
            "has_more": False,
        }

    async def test_a_deletion_is_an_id_a_version_and_a_time(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        kept, deleted = [await create(client, user) for _ in range(2)]
        since = await token(client, user)
        await client.delete(path_of(deleted))
        changed = (await client.patch(path_of(kept), json={"title": "Wash up"})).json()

        found = await changes(client, user, since=since)

        (tombstone,) = found["deleted"]
        assert found["changed"] == [changed]
        assert tombstone == {
            "id": deleted["id"],
            "version": tombstone["version"],
            "deleted_at": tombstone["deleted_at"],
        }
        assert deleted["version"] < tombstone["version"] < changed["version"]
        assert deleted["created_at"] < tombstone["deleted_at"] < changed["updated_at"]

    async def test_a_task_that_was_created_again_is_no_deletion(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        task = await create(client, user)
        since = await token(client, user)
        await client.delete(path_of(task))
        again = (await client.put(path_of(task), json=REPLACEMENT, headers=NEW)).json()
        # As if the deletion had not been visible yet to the creation.
        execute(
            shared_database_url,
            "INSERT INTO task_tombstones SELECT user_id, id, version - 1, now() FROM tasks"
            " WHERE user_id = %(user)s",
            user,
        )

        found = await changes(client, user, since=since)

        assert (found["changed"], found["deleted"]) == ([again], [])

    @pytest.mark.parametrize("is_in_batch", [False, True], ids=["alone", "in a batch"])
    async def test_the_deletion_of_such_a_task_replaces_the_earlier_one(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str, *, is_in_batch: bool
    ) -> None:
        task = await create(client, user)
        since = await token(client, user)
        execute(
            shared_database_url,
            "INSERT INTO task_tombstones SELECT user_id, id, version - 1, '2020-01-01' FROM tasks"
            " WHERE user_id = %(user)s",
            user,
        )

        if is_in_batch:
            operations = [{"op": "delete", "id": task["id"]}]
            await client.post(f"{tasks_of(user)}/batch", json={"operations": operations})
        else:
            await client.delete(path_of(task))

        (tombstone,) = (await changes(client, user, since=since))["deleted"]
        assert tombstone["version"] == After(task["version"])
        assert tombstone["deleted_at"] > task["created_at"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 1000])
    async def test_the_answers_together_have_everything_once(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str, limit: int
    ) -> None:
        tasks = [await create(client, user) for _ in range(9)]
        since = await token(client, user)
        for task in tasks[:4]:
            await client.delete(path_of(task))
        changed = [
            (await client.patch(path_of(task), json={"title": "Wash up"})).json()
            for task in tasks[4:]
        ]
        store_in_reverse(shared_database_url, user)

        seen: list[dict[str, Any]] = []
        found: dict[str, Any] = {"has_more": True, "next": since}
        while found["has_more"]:
            found = await changes(client, user, since=found["next"], limit=limit)
            page = found["changed"] + found["deleted"]
            assert len(page) <= limit
            assert bool(page) or not found["has_more"]
            seen += sorted(page, key=lambda item: item["version"])

        assert [item["version"] for item in seen] == sorted(item["version"] for item in seen)
        assert [item["id"] for item in seen] == [task["id"] for task in tasks]
        assert seen[4:] == changed

    async def test_a_page_that_holds_the_rest_exactly_says_that_there_is_no_more(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        for _ in range(2):
            await create(client, user)

        assert (await changes(client, user, limit=2))["has_more"] is False
        assert (await changes(client, user, limit=1))["has_more"] is True

    @pytest.mark.requirement("FR-021")
    async def test_what_is_known_is_not_sent_again(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        path = f"{tasks_of(user)}/changes"
        task = await create(client, user)
        first = await client.get(path)
        seen = {"If-None-Match": first.headers["etag"]}

        unchanged = await client.get(path, headers=seen)
        await client.patch(path_of(task), json={"title": "Wash up"})
        changed = await client.get(path, headers=seen)

        assert first.headers["etag"] == f'W/"{task["version"]}"'
        assert (unchanged.status_code, unchanged.headers["etag"]) == (304, first.headers["etag"])
        assert changed.status_code == 200

    @pytest.mark.requirement("FR-079", "FR-021")
    async def test_the_next_page_is_not_known_although_the_list_is_the_same(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        """A client that polls sends its last token with its last tag."""
        path = f"{tasks_of(user)}/changes"
        created = [(await create(client, user))["id"] for _ in range(5)]
        query, headers, found = {"limit": "2"}, dict[str, str](), list[str]()
        statuses = []

        for _ in range(4):
            answer = await client.get(path, params=query, headers=headers)
            again = await client.get(
                path, params=query, headers={"If-None-Match": answer.headers["etag"]}
            )
            statuses.append((answer.status_code, again.status_code))
            if answer.is_success:
                found += [task["id"] for task in answer.json()["changed"]]
                query["since"] = answer.json()["next"]
            headers = {"If-None-Match": answer.headers["etag"]}

        assert statuses == [(200, 304)] * 3 + [(304, 304)]
        assert found == created


@pytest.mark.requirement("FR-080")
class TestAToken:
    async def test_of_another_user_is_refused(
        self, client: httpx.AsyncClient, user: str, other_user: str
    ) -> None:
        await create(client, user)
        await create(client, other_user)

        answer = await client.get(
            f"{tasks_of(user)}/changes", params={"since": await token(client, other_user)}
        )

        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[TOKEN_MISMATCH])

    @pytest.mark.parametrize(
        "keys",
        [[], [1], [1, 1, 1], [1, None], ["1", 1], [1, True], [0, -1], [1, 2**63], [1.0, 1], {}],
        ids=str,
    )
    async def test_that_somebody_made_up_is_refused(
        self, client: httpx.AsyncClient, user: str, keys: Any
    ) -> None:
        made_up = encode_cursor(keys, user_id=user, query=TOKENS)

        answer = await client.get(f"{tasks_of(user)}/changes", params={"since": made_up})

        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[TOKEN_MISMATCH])

    @pytest.mark.parametrize("since", ["", "x", "é", "AAAA", "=" * 8, "a" * 5000], ids=ascii)
    async def test_that_is_damaged_is_refused(
        self, client: httpx.AsyncClient, user: str, since: str
    ) -> None:
        answer = await client.get(f"{tasks_of(user)}/changes", params={"since": since})

        assert answer.json() == problem(answer, Kind.INVALID_REQUEST, errors=[TOKEN_MISMATCH])

    async def test_is_no_cursor_and_a_cursor_is_no_token(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        for _ in range(2):
            await create(client, user)
        cursor = (await client.get(tasks_of(user), params={"limit": 1})).json()["next_cursor"]

        as_token = await client.get(f"{tasks_of(user)}/changes", params={"since": cursor})
        as_cursor = await client.get(tasks_of(user), params={"cursor": await token(client, user)})

        assert (as_token.status_code, as_cursor.status_code) == (422, 422)


@pytest.mark.requirement("FR-081")
class TestAListThatRestarted:
    async def test_refuses_a_token_of_the_time_before_it_was_emptied(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        await create(client, user)
        since = await token(client, user)
        for table in ("tasks", "task_tombstones", "task_lists"):
            execute(shared_database_url, f"DELETE FROM {table} WHERE user_id = %(user)s", user)  # noqa: S608 — our own words

        emptied = await client.get(f"{tasks_of(user)}/changes", params={"since": since})
        new = await create(client, user)
        filled = await client.get(f"{tasks_of(user)}/changes", params={"since": since})

        for answer in (emptied, filled):
            assert answer.status_code == 410
            assert answer.json() == problem(answer, Kind.LIST_RESTARTED)
        assert (await changes(client, user))["changed"] == [new]

    async def test_refuses_a_token_that_is_newer_than_the_backup(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        await create(client, user)
        before = await token(client, user)
        await create(client, user)
        since = await token(client, user)
        execute(
            shared_database_url,
            "UPDATE task_lists SET version = first_version WHERE user_id = %(user)s",
            user,
        )

        lost = await client.get(
            f"{tasks_of(user)}/changes", params={"since": since}, headers={"If-None-Match": "*"}
        )
        kept = await client.get(f"{tasks_of(user)}/changes", params={"since": before})

        assert lost.json() == problem(lost, Kind.LIST_RESTARTED)
        assert kept.status_code == 200

    async def test_is_every_list_after_the_command_restored(
        self, user: str, other_user: str, database_url: str
    ) -> None:
        async with serving(database_url) as (_, client):
            stop_clock(database_url, user)
            tasks = [await create(client, name) for name in (user, user, other_user)]
            tokens = [await token(client, name) for name in (user, other_user)]

            with psycopg.connect(database_url) as administrator:
                # However many lists there are: no time limit of the role ends it.
                administrator.execute(UNLIMITED)
            done = run_restored(database_url)

            for name, since in zip((user, other_user), tokens, strict=True):
                answer = await client.get(f"{tasks_of(name)}/changes", params={"since": since})
                assert answer.json() == problem(answer, Kind.LIST_RESTARTED)
            first = await changes(client, user, limit=1)
            second = await changes(client, user, limit=1, since=first["next"])
            assert [*first["changed"], *second["changed"]] == tasks[:2]
            new = await create(client, user)
            assert (await changes(client, user, since=second["next"]))["changed"] == [new]
            assert new["version"] > tasks[1]["version"] + 1  # the restart has one of its own
        assert (done.returncode, done.stdout, done.stderr) == (
            0,
            "lists restarted: 2; clients that follow the changes copy the tasks again\n",
            "",
        )

    def test_needs_a_database_to_restart(self) -> None:
        done = run_restored("postgresql://127.0.0.1:1/nowhere")

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("task-api: DATABASE_URL: the database cannot be used: ")
        assert done.stderr.count("\n") == 1

    def test_needs_the_tables_to_restart(self, make_empty_database: Callable[[], str]) -> None:
        done = run_restored(make_empty_database())

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "task-api: DATABASE_URL: the database cannot be used: relation"
            ' "task_api_version" does not exist: run `migrate`, or grant the role its privileges\n'
        )

    @pytest.mark.requirement("FR-078")
    async def test_never_uses_a_version_again(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str
    ) -> None:
        """Restored from a backup without another word, the tags are right all the same."""
        task = await create(client, user)
        lost = await client.patch(path_of(task), json={"title": "lost"})
        execute(
            shared_database_url,
            "UPDATE task_lists SET version = first_version WHERE user_id = %(user)s",
            user,
        )
        execute(
            shared_database_url,
            f"UPDATE tasks SET version = {task['version']} WHERE user_id = %(user)s",  # noqa: S608 — our own words
            user,
        )

        new = await client.patch(path_of(task), json={"title": "new"})
        stale = await client.patch(
            path_of(task), json={"title": "stale"}, headers={"If-Match": lost.headers["etag"]}
        )

        assert new.json()["version"] > lost.json()["version"]
        assert stale.status_code == 412

    @pytest.mark.requirement("FR-078")
    @pytest.mark.parametrize("what", ["", "/changes", "/{id}"])
    async def test_is_never_304_for_what_was_lost(
        self, client: httpx.AsyncClient, user: str, shared_database_url: str, what: str
    ) -> None:
        """Emptied, and filled with another task under the same id."""
        task = await create(client, user)
        path = tasks_of(user) + what.format(id=task["id"])
        tag = (await client.get(path)).headers["etag"]
        seen = await client.get(path, headers={"If-None-Match": tag})
        for table in ("tasks", "task_tombstones", "task_lists"):
            execute(shared_database_url, f"DELETE FROM {table} WHERE user_id = %(user)s", user)  # noqa: S608 — our own words
        new = await client.put(path_of(task), json=REPLACEMENT, headers=NEW)

        answer = await client.get(path, headers={"If-None-Match": tag})

        assert (seen.status_code, new.status_code, answer.status_code) == (304, 201, 200)
        assert "Buy oat milk" in answer.text
