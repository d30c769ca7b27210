"""What is left when the server and the database are killed, and replaced, under load."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import pytest

from src import revisions
from tests.cluster import primary_server, replicated_server
from tests.mixed_load import Client, Figures
from tests.processes import SERVE, Server, free_port, server, until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.chaos,
    pytest.mark.unscoped,  # the migrations run here
    pytest.mark.timeout(120),
]

CLIENTS: Final = 8
WRITES: Final = 300
"""Writes that are acknowledged between one kill and the next."""

Record = Callable[[str, object], None]


class Api:
    """A server that can be killed, and started again at the same address."""

    def __init__(self, directory: Path, cleanup: ExitStack, database_url: str) -> None:
        self.url = ""
        self._settings = {"DATABASE_URL": database_url, "PORT": str(free_port())}
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
