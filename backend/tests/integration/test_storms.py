"""Clients that give up in great numbers: no answer is mixed up, and no connection is lost."""

import asyncio
import socket
import struct
from collections import Counter
from random import Random
from typing import Any, Final

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from src.api.problems import Kind
from src.main import create_app
from tests.builders import create, path_of, problem, rows_of, tasks_of
from tests.conftest import make_settings
from tests.listening import listening
from tests.processes import serving, until

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("FR-031", "SC-022")]

ROUNDS: Final = 20
REQUESTS: Final = 60
"""Requests of a round, half of which are given up."""
MOST_TURNS: Final = (10, 60)
"""Turns of the event loop after which a request is given up at the latest: one half is surely not
answered by then, whatever the speed of the machine; of the other half, some are.
"""
POOL: Final = 8
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close the connection at once, with a reset


async def check_pool(app: FastAPI, client: httpx.AsyncClient, database_url: str) -> None:
    """Check that each connection of the pool is free and works, by using all at the same time."""
    await until(lambda: app.state.database.engine.pool.checkedout() == 0)
    users = [f"waiting-{number}" for number in range(POOL)]
    for user in users:
        await create(client, user)
    with (
        psycopg.connect(database_url) as holder,
        psycopg.connect(database_url, autocommit=True) as administrator,
    ):
        holder.execute("SELECT FROM task_lists WHERE user_id = ANY(%s) FOR UPDATE", [users])
        writing = [asyncio.ensure_future(create(client, user)) for user in users]

        def all_wait() -> bool:
            waiting = administrator.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'task-api' AND wait_event_type = 'Lock'"
            )
            return waiting.fetchone() == (POOL,)

        await until(all_wait)
        holder.rollback()
        await asyncio.gather(*writing)


async def given_up(request: asyncio.Task[httpx.Response], turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    request.cancel()


@pytest.mark.slow
async def test_requests_that_are_cancelled_at_any_point_do_no_harm(
    database_url: str, user: str
) -> None:
    random = Random(1)  # noqa: S311 — no secret
    # However slow the machine is: nobody is refused here for having waited too long.
    async with serving(database_url, db_pool_size=POOL, db_pool_timeout=30) as (app, client):
        tasks = [await create(client, f"{user}-{number}") for number in range(REQUESTS)]
        sent: dict[str, set[str]] = {task["id"]: {task["title"]} for task in tasks}

        async def rename(task: dict[str, Any], title: str) -> httpx.Response:
            sent[task["id"]].add(title)
            return await client.patch(path_of(task), json={"title": title})

        cancelled = 0
        for round_ in range(ROUNDS):
            requests = [
                asyncio.ensure_future(rename(task, f"{round_}, {number}"))
                for number, task in enumerate(tasks)
            ]
            giving_up = [
                given_up(request, random.randrange(random.choice(MOST_TURNS)))
                for request in requests[::2]
            ]
            answers = await asyncio.gather(*requests, *giving_up, return_exceptions=True)
            for number, (task, answer) in enumerate(zip(tasks, answers, strict=False)):
                if not isinstance(answer, httpx.Response):
                    assert isinstance(answer, asyncio.CancelledError)
                elif answer.status_code == 200:
                    found = answer.json()
                    assert found["id"] == task["id"]
                    assert found["title"] == f"{round_}, {number}"
                    continue
                else:
                    assert answer.json() == problem(answer, Kind.OUTCOME_UNKNOWN)
                assert number % 2 == 0
                cancelled += 1
        assert cancelled > ROUNDS * REQUESTS / 10

        await check_pool(app, client, database_url)
        for number, task in enumerate(tasks):
            left = (await client.get(path_of(task))).json()
            assert left["title"] in sent[task["id"]]
            if number % 2:  # nobody gave up
                assert left["title"] == f"{ROUNDS - 1}, {number}"


@pytest.mark.slow
async def test_clients_that_hang_up_do_no_harm(database_url: str, user: str) -> None:
    app = create_app(make_settings(database_url, db_pool_size=POOL))
    with listening(app) as url:
        address = ("127.0.0.1", httpx.URL(url).port)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            task = await create(client, f"{user}-other")
            for number in range(ROUNDS * REQUESTS // 4):
                await asyncio.to_thread(hang_up, address, user, number)
                if number % 10 == 0:
                    assert (await client.get(path_of(task))).json() == task

            await until(lambda: app.state.database.engine.pool.checkedout() == 0)
            await asyncio.gather(*(create(client, f"{user}-{number}") for number in range(POOL)))
            assert (await client.get(tasks_of(user), params={"limit": 1})).status_code == 200
    titles = Counter(row["title"] for row in rows_of(database_url, user)["tasks"])
    assert set(titles.values()) <= {1}


def hang_up(address: tuple[str, int | None], user: str, number: int) -> None:
    """Send a whole request, and be gone before the answer; every other time with a reset."""
    body = f'{{"title": "{number}"}}'
    request = (
        f"POST {tasks_of(user)} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    with socket.create_connection(address) as connection:
        if number % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.sendall(request.encode())
