"""The API behind the real PgBouncer in transaction mode: every answer is the client's own.

A server connection there serves one client after another. Named prepared statements of different
clients would get mixed up: a statement would run with the parameters of another.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import psycopg
import pytest

from src import revisions
from src.exceptions import DatabaseUnavailable
from tests.builders import changed_before_the_write, create, path_of, tasks_of
from tests.pooler import Pooler, pooler
from tests.processes import serving

pytestmark = pytest.mark.anyio

ROUNDS: Final = 12


@pytest.fixture(params=[1, 3], ids=lambda number: f"{number} server connections")
def pgbouncer(
    request: pytest.FixtureRequest, shared_database_url: str, tmp_path: Path
) -> Iterator[Pooler]:
    with pooler(shared_database_url, tmp_path, server_connections=request.param) as running:
        yield running


async def live(client: httpx.AsyncClient, user: str) -> int:
    """Use every kind of statement, and compare each answer with what the user has; count them."""
    expected: list[dict[str, Any]] = []
    answers = 0
    for number in range(ROUNDS):
        fields = {"title": f"{user} {number}", "description": f"of {user}", "tags": [user]}
        task = await create(client, user, **fields)
        assert task.items() >= fields.items()
        changes = {"title": f"{user} {number} changed", "priority": "high"}
        changed = await client.patch(path_of(task), json=changes)
        assert changed.json() == {
            **task,
            **changes,
            **{name: changed.json()[name] for name in ("version", "updated_at")},
        }
        done = await client.patch(f"{path_of(task)}/complete", json={"is_completed": True})
        batch = await client.post(
            f"{tasks_of(user)}/batch",
            json={
                "operations": [
                    {"op": "update", "id": task["id"], "changes": {"description": "in a batch"}},
                    {"op": "move", "id": task["id"], "after": None},
                    {"op": "create", "task": {"title": f"{user} {number} twin"}},
                ]
            },
        )
        updated, moved, twin = (result["task"] for result in batch.json()["results"])
        assert updated["description"] == moved["description"] == "in a batch"
        assert moved["completed_at"] == done.json()["completed_at"]
        removed = await client.delete(path_of(twin))
        assert (removed.status_code, removed.content) == (204, b"")
        expected.insert(0, moved)
        read = await client.get(path_of(task), headers={"If-None-Match": '"0"'})
        assert read.json() == moved
        listed = await client.get(f"{tasks_of(user)}?sort=position&tag={user}&q=changed")
        assert listed.json()["items"] == expected
        summary = await client.get(f"{tasks_of(user)}/summary")
        assert summary.json() == {
            "total": number + 1,
            "open": 0,
            "completed": number + 1,
            "overdue": 0,
            "due_today": 0,
        }
        answers += 8
    followed = await client.get(f"{tasks_of(user)}/changes?limit=1000")
    assert followed.json()["changed"] == sorted(expected, key=lambda task: task["version"])
    return answers


@pytest.mark.slow
@pytest.mark.requirement("FR-120")
async def test_every_answer_is_the_clients_own(pgbouncer: Pooler, shared_database_url: str) -> None:
    url = pgbouncer.url_of(shared_database_url)
    # Two apps, as two server processes: their connections share those of the pooler.
    patient = {"db_pool_timeout": 30}
    async with serving(url, **patient) as (_, one), serving(url, **patient) as (_, other):
        answers = await asyncio.gather(
            *(live(client, f"user-{uuid4()}") for client in (one, other) for _ in range(8))
        )
    assert sum(answers) == 2 * 8 * ROUNDS * 8


@pytest.mark.requirement("FR-120", "FR-086")
async def test_a_transaction_stays_on_one_server_connection(
    pgbouncer: Pooler, shared_database_url: str
) -> None:
    """Batches and moves whose list has changed meanwhile are worked out again in a transaction."""
    url = pgbouncer.url_of(shared_database_url)
    async with serving(url, db_pool_timeout=30) as (_, client):

        async def contend(user: str) -> None:
            task, _ = [await create(client, user), await create(client, user)]
            operations = [{"op": "update", "id": task["id"], "changes": {"priority": "high"}}]
            batch, move = f"{tasks_of(user)}/batch", f"{path_of(task)}/move"
            answers = await asyncio.gather(
                *(client.post(batch, json={"operations": operations}) for _ in range(10)),
                *(client.post(move, json={"before": None}) for _ in range(10)),
                *(client.patch(path_of(task), json={"title": user}) for _ in range(10)),
            )
            assert {answer.status_code for answer in answers} == {200}
            left = (await client.get(f"{tasks_of(user)}?sort=-position")).json()["items"][0]
            assert (left["title"], left["priority"]) == (user, "high")

        await asyncio.gather(*(contend(f"user-{uuid4()}") for _ in range(4)))


@pytest.mark.requirement("FR-120", "FR-083")
async def test_a_transaction_that_fails_leaves_nothing_behind(
    pgbouncer: Pooler, shared_database_url: str, user: str
) -> None:
    """Neither changes nor a lock: not on the server connection that the next client gets."""
    async with serving(pgbouncer.url_of(shared_database_url)) as (_, client):
        task = await create(client, user)
        change = {"op": "update", "id": task["id"], "changes": {"title": "ours"}}
        with changed_before_the_write(shared_database_url, user):
            answer = await client.post(
                f"{tasks_of(user)}/batch",
                json={"operations": [change, {**change, "if_version": task["version"]}]},
            )

        assert (answer.status_code, answer.json()["code"]) == (409, "batch_failed")
        assert (await client.get(path_of(task))).json()["title"] == "theirs"
        assert (await client.patch(path_of(task), json={"title": "ours"})).status_code == 200


@pytest.mark.requirement("FR-120")
def test_migrations_refuse_a_pooler(
    pgbouncer: Pooler, make_empty_database: Callable[[], str]
) -> None:
    """Their settings and their lock would stay on a server connection, for the next client."""
    url = make_empty_database()
    with pytest.raises(DatabaseUnavailable, match="set DATABASE_URL_UNPOOLED to the direct"):
        revisions.upgrade(pgbouncer.url_of(url))

    with psycopg.connect(pgbouncer.url_of(url)) as connection:
        shown = connection.execute("SELECT current_setting('lock_timeout')").fetchone()
        assert shown == ("0",)
        assert (
            connection.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'").fetchall() == []
        )
