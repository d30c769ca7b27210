"""The servers that are measured, one entry each, and how to run one."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from benchmarks import BACKEND
from benchmarks.first_build import FIRST_BACKEND, FIRST_PYTHON, revision_shown
from benchmarks.process_tree import ProcessTree

PEERS: Final = BACKEND / "benchmarks" / "peers"
PEERS_PYTHON: Final = str(BACKEND / "benchmarks" / ".venv" / "bin" / "python")
PEERS_NODE: Final = shutil.which("node") or "node"
START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 10.0


@dataclass(frozen=True)
class Server:
    """A program that serves the tasks of `DATABASE_URL` on `PORT` of the loopback address."""

    label: str
    command: tuple[str, ...]
    """`{port}` is replaced by the port."""
    packages: tuple[str, ...]
    """The packages whose versions are in the results."""
    directory: Path = PEERS
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/api/v1/nobody/tasks?limit=1"
    """A path that answers 200 as soon as the server can handle requests."""


def _uvicorn(application: str) -> tuple[str, ...]:
    options = ("--port", "{port}", "--no-access-log", "--log-level", "warning")
    return (PEERS_PYTHON, "-m", "uvicorn", application, *options)


def _gunicorn(application: str) -> tuple[str, ...]:
    options = ("--bind", "127.0.0.1:{port}", "--threads", "8", "--keep-alive", "75")
    logs = ("--log-level", "warning")
    return (PEERS_PYTHON, "-m", "gunicorn", application, *options, *logs)


def _task_api(label: str, *command: str, directory: Path, ready: str = Server.ready) -> Server:
    return Server(
        label,
        command,
        ("fastapi", "starlette", "sqlmodel", "sqlalchemy", "psycopg", "pydantic", "uvicorn"),
        directory=directory,
        environment={"DB_POOL_SIZE": "8", "WEB_CONCURRENCY": "1"},
        ready=ready,
    )


OURS: Final = "task-api"
FIRST: Final = "first-build"
SERVERS: Final = {
    OURS: _task_api(
        "Task API",
        *(sys.executable, "-m", "src", "serve"),
        directory=BACKEND,
        ready="/health/ready",
    ),
    FIRST: _task_api("first build", FIRST_PYTHON, "-m", "src", directory=FIRST_BACKEND),
    "fastapi-sqlmodel": Server(
        "FastAPI + SQLModel",
        _uvicorn("fastapi_sqlmodel:app"),
        ("fastapi", "starlette", "sqlmodel", "sqlalchemy", "psycopg", "pydantic", "uvicorn"),
    ),
    "litestar": Server(
        "Litestar",
        _uvicorn("litestar_app:app"),
        ("litestar", "advanced-alchemy", "sqlalchemy", "asyncpg", "msgspec", "uvicorn"),
    ),
    "django-ninja": Server(
        "Django + ninja",
        _gunicorn("django_ninja.wsgi"),
        ("django", "django-ninja", "psycopg", "pydantic", "gunicorn", "gunicorn-h1c"),
    ),
    "fastify": Server(
        "Fastify + pg",
        (PEERS_NODE, "server.js"),
        ("fastify", "@fastify/postgres", "pg"),
        directory=PEERS / "fastify",
        environment={"NODE_ENV": "production"},
    ),
    "floor": Server(
        "floor",
        _uvicorn("floor:app"),
        ("starlette", "psycopg", "psycopg-pool", "orjson", "uvicorn"),
    ),
}


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready for requests."""

    name: str
    port: int
    processes: ProcessTree
    start_seconds: float
    """From the start of the process to the first 200."""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def running(
    name: str, database_url: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """Run a server until the end of the block. Its errors appear on our standard error."""
    server = SERVERS[name]
    port = _free_port()
    command = [word.format(port=port) for word in server.command]
    its_environment = {
        **os.environ,
        **server.environment,
        **(environment or {}),
        "DATABASE_URL": database_url,
        "DATABASE_URL_UNPOOLED": database_url,
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }
    with ExitStack() as stack:
        with revision_shown(database_url) if name == FIRST else nullcontext():
            started = time.perf_counter()
            process = stack.enter_context(_process(command, server.directory, its_environment))
            while not _answers(port, server.ready):
                if process.poll() is not None:
                    raise SystemExit(f"{name} ended while it was starting")
                if time.perf_counter() - started > START_TIMEOUT:
                    raise SystemExit(f"{name} does not answer after {START_TIMEOUT:g} s")
                time.sleep(0.01)
            start_seconds = time.perf_counter() - started
        yield RunningServer(name, port, ProcessTree(process.pid), start_seconds)


@contextmanager
def _process(
    command: list[str], directory: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    # In memory: on a disk, each durable commit of PostgreSQL would write the log as well.
    with TemporaryFile("w+", dir="/dev/shm") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.seek(0)
            sys.stderr.writelines(line for line in log if " INFO " not in line)
