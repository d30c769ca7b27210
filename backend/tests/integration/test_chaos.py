"""What is left when the server and the database are killed, and replaced, under load."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import psycopg
import pytest

from src import revisions
from tests.builders import create, path_of, tasks_of
from tests.cluster import primary_server, replicated_server
from tests.mixed_load import Client, Figures
from tests.processes import SERVE, Server, free_port, server, serving, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.chaos,
    pytest.mark.unscoped,  # the migrations run here
    pytest.mark.timeout(600),
]

CLIENTS: Final = 8
WRITES: Final = 300
"""Writes that are acknowledged between one kill and the next."""
CROWD: Final = 150
"""Requests at the same time."""

Record = Callable[[str, object], None]


class Api:
    """A server that can be killed, and started again at the same address."""

    def __init__(self, directory: Path, cleanup: ExitStack, database_url: str) -> None:
        self.url = ""
        self._settings = {
            "DATABASE_URL": database_url,
            "PORT": str(free_port()),
            "DB_POOL_TIMEOUT": "2",  # the machine may be slow
        }
        self._directory = directory
        self._cleanup = cleanup
        self._running: Server

    def start(self) -> None:
        started = server(self._directory, program=SERVE, **self._settings)
        self._running = self._cleanup.enter_context(started)
        self._running.wait_until_it_serves()
        self.url = self._running.url

    def kill(self) -> None:
        self._running.process.kill()
        self._running.wait()


@asynccontextmanager
async def load(api: Api) -> AsyncIterator[Figures]:
    """Have clients use the API; at the end, count what they have lost."""
    figures = Figures()
    async with httpx.AsyncClient(base_url=api.url, timeout=60, trust_env=False) as http:
        clients = [Client(http, f"user-{uuid4()}", figures, seed) for seed in range(CLIENTS)]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.run())
            yield figures
            for client in clients:
                client.is_stopped = True
        for client in clients:
            await client.check()


async def more_writes(figures: Figures) -> None:
    """Wait until so many more writes have been acknowledged."""
    enough = figures.acknowledged + WRITES
    await until(lambda: figures.acknowledged >= enough)


async def more_failures(figures: Figures) -> None:
    """Wait until each client can have noticed that something is down."""
    enough = figures.failures + CLIENTS
    await until(lambda: figures.failures >= enough)


def check(figures: Figures, record_property: Record) -> None:
    record_property("figures", str(figures))
    assert (figures.lost, figures.doubled) == ([], [])
    assert {status for status in figures.statuses if status >= 500} == {503}


@pytest.mark.requirement("FR-041", "SC-006", "SC-019")
async def test_killed_servers_and_databases_lose_nothing_that_was_acknowledged(
    tmp_path: Path, record_property: Record
) -> None:
    with primary_server(tmp_path) as database, ExitStack() as cleanup:
        revisions.upgrade(database.url)
        api = Api(tmp_path / "api", cleanup, database.url)
        api.start()
        async with load(api) as figures:
            for killed in (database, database, api, database, database, api, database):
                await more_writes(figures)
                await asyncio.to_thread(killed.kill)
                await more_failures(figures)
                await asyncio.to_thread(killed.start)
            await more_writes(figures)

    check(figures, record_property)


@pytest.mark.requirement("SC-020")
async def test_a_failover_loses_nothing_that_was_acknowledged(
    tmp_path: Path, record_property: Record
) -> None:
    with replicated_server(tmp_path) as (primary, standby), ExitStack() as cleanup:
        revisions.upgrade(primary.url)
        url = f"postgresql://postgres@{primary.location},{standby.location}/postgres"
        api = Api(tmp_path / "api", cleanup, f"{url}?target_session_attrs=read-write")
        api.start()
        async with load(api) as figures:
            await more_writes(figures)
            await asyncio.to_thread(primary.kill)
            await more_failures(figures)
            await asyncio.to_thread(standby.promote)
            await more_writes(figures)

    check(figures, record_property)


@pytest.mark.requirement("FR-029", "SC-021")
async def test_a_table_lock_is_503_for_whom_it_concerns_and_nothing_else(
    tmp_path: Path, database_url: str
) -> None:
    """Two waves of requests are answered while the lock is held, which takes some six seconds."""
    with ExitStack() as cleanup, psycopg.connect(database_url) as holder:
        api = Api(tmp_path, cleanup, database_url)
        api.start()
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=api.url, timeout=60, trust_env=False, limits=limits
        ) as http:
            tasks = [await create(http, f"user-{number}") for number in range(CROWD)]

            async def wave() -> list[httpx.Response]:
                """Send a request of each user; half of them write."""
                return await asyncio.gather(
                    *(
                        http.patch(path_of(task), json={"title": "Buy oat milk"})
                        if number % 2
                        else http.get(path_of(task))
                        for number, task in enumerate(tasks)
                    )
                )

            holder.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            for _ in range(2):
                waiting = asyncio.ensure_future(wave())
                while not waiting.done():
                    assert (await http.get("/health")).status_code == 200
                assert {answer.status_code for answer in waiting.result()} == {503}
                assert all(int(answer.headers["retry-after"]) > 0 for answer in waiting.result())
            holder.rollback()

            assert {answer.status_code for answer in await wave()} == {200}


@pytest.mark.requirement("FR-029", "SC-021")
async def test_a_frozen_backend_costs_its_own_connection_until_the_deadline(tmp_path: Path) -> None:
    with primary_server(tmp_path) as database:
        revisions.upgrade(database.url)
        async with serving(database.url, db_pool_timeout=30) as (_, client):

            async def crowd(day: str) -> list[httpx.Response]:
                """Create a task for each of many users at the same time."""
                users = [f"{day}-{number}" for number in range(CROWD)]
                body = {"title": "Buy milk"}
                return await asyncio.gather(
                    *(client.post(tasks_of(user), json=body) for user in users)
                )

            assert {answer.status_code for answer in await crowd("before")} == {201}
            with database.frozen_backend():
                answers = await crowd("frozen")
                failed = [answer.json()["code"] for answer in answers if answer.is_error]
                # Its connection is closed and replaced, while it is still frozen.
                again = await crowd("again")

            assert failed == ["outcome_unknown"]
            assert {answer.status_code for answer in again} == {201}
