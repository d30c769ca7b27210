"""Servers of a test: the app in this process, or the program as a process of its own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import psutil
from fastapi import FastAPI

from src.config import ROOT
from src.main import create_app
from tests.answers import check_answer
from tests.conftest import BASE_URL, make_settings

PATIENCE: Final = 100.0  # s: only what hangs takes that long
_POLL: Final = 0.01  # s
_FIRST_PORT: Final = 12_000
_PORTS_PER_WORKER: Final = 5_000
_WORKERS: Final = 4  # the most that the settings of pytest allow
MAKE_RUN: Final = ("dev",)
SERVE: Final = ("src", "serve")
MIGRATE: Final = ("src", "migrate")

# `python -m MODULE`, without the `.env` of the person who runs the tests: it may name a database
# that is not for tests.
_PROGRAM: Final = """
import runpy
import sys
from src.config import Settings
Settings.model_config["env_file"] = None
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@asynccontextmanager
async def serving(
    database_url: str, **settings: Any
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """Run an app with these settings in this process; give it, and a client that checks it."""
    app = create_app(make_settings(database_url, **settings))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url=BASE_URL,
            event_hooks={"response": [check_answer]},
        ) as client,
    ):
        yield app, client


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 — no event tells of what happens in a database
            await asyncio.sleep(_POLL)


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, where there is no event loop."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(_POLL)


def _ports_of_this_worker() -> Iterator[int]:
    """Give the ports that only this worker of pytest-xdist uses, in a random order, without end.

    They are below those that the system gives to outgoing connections, one of which could otherwise
    take a port before the server does that it was found for.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST_PORT + worker % _WORKERS * _PORTS_PER_WORKER
    ports = range(first, first + _PORTS_PER_WORKER)
    return cycle(Random().sample(ports, len(ports)))  # noqa: S311 — no secret


_ports: Final = _ports_of_this_worker()


def free_port() -> int:
    """Find a port that nobody listens on, and that nobody else is about to use."""
    for port in _ports:
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError  # there is always a next one


@dataclass
class Server:
    """The program as a process of its own, which writes to two files."""

    process: psutil.Popen
    url: str
    directory: Path
    family: list[psutil.Process]

    @property
    def out(self) -> str:
        return (self.directory / "stdout").read_text()

    @property
    def err(self) -> str:
        return (self.directory / "stderr").read_text()

    def is_serving(self) -> bool:
        """Whether it serves; it must not have ended instead."""
        assert self.process.poll() is None, f"it ended instead of serving: {self.err}"
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)  # quick to make
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def wait_until_it_serves(self) -> None:
        wait_until(self.is_serving)
        self.family = self.process.children(recursive=True)

    def postmaster(self) -> psutil.Process:
        """The embedded database's main process."""
        (postmaster,) = (child for child in self.process.children() if "postgres" in child.name())
        return postmaster

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and give the exit code once the process has ended."""
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        return int(self.process.wait(PATIENCE))

    def wait_until_nothing_is_left(self) -> None:
        """Wait for the end of all processes that it had, or that work on its data."""
        wait_until(lambda: not any(map(lives, self.family)) and not self._database_processes())

    def _database_processes(self) -> list[psutil.Process]:
        mark = f"directory={self.directory / 'data'}"
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if any(mark in part for part in process.info["cmdline"] or ())
        ]


@contextmanager
def server(
    directory: Path, *, program: Sequence[str] = MAKE_RUN, **settings: str
) -> Iterator[Server]:
    """Start a program with these settings and its data in `directory`; end it at last."""
    process = start(directory, program, settings)
    running = Server(process, f"http://127.0.0.1:{settings.get('PORT')}", directory, [])
    try:
        yield running
    finally:
        running.family += process.children(recursive=True) if process.is_running() else []
        for member in (process, *running.family):
            if member.is_running():
                member.kill()
        process.wait()
        wait_until(lambda: not any(map(lives, running.family)))


def lives(process: psutil.Process) -> bool:
    """Whether it runs: one that waits to be buried, perhaps for ever in a container, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start(directory: Path, program: Sequence[str], settings: Mapping[str, str]) -> psutil.Popen:
    """Start `python -m` with this program, a module and its arguments."""
    directory.mkdir(exist_ok=True)
    # Neither a setting nor anything else that the person who runs the tests has set, but for
    # what a program needs, and coverage wants.
    kept = {name: os.environ[name] for name in os.environ if name.startswith(("PATH", "COV"))}
    # What a program that is killed leaves is removed with the rest.
    places = {"DATA_DIRECTORY": str(directory / "data"), "TMPDIR": str(directory)}
    with (directory / "stdout").open("w") as out, (directory / "stderr").open("w") as err:
        return psutil.Popen(
            [sys.executable, "-c", _PROGRAM, *program],
            cwd=ROOT / "backend",
            env={**kept, **places, **settings},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            # Ctrl-C in the terminal is for the tests, which then end the server themselves.
            start_new_session=True,
        )
