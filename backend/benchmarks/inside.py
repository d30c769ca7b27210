"""What a request costs inside the application: its CPU from ASGI to ASGI, one at a time.

No socket, no load generator and no other client: so a change of a few microseconds shows, even
on a busy machine, of which the best of many short rounds is taken.
"""

import asyncio
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from typing import Any, Final

from pydantic import SecretStr

from benchmarks.data import Dataset, create_database, database_server, task_id
from src.config import Settings
from src.main import create_app

_ROUNDS: Final = 25
_REQUESTS: Final = 40
_TASKS: Final = "/api/v1/bench/tasks"
_ONE: Final = f"{_TASKS}/{task_id(1)}"
_OPERATIONS: Final = {
    "health": ("GET", "/health", b"", b""),
    "get": ("GET", _ONE, b"", b""),
    "list_50": ("GET", _TASKS, b"limit=50", b""),
    "list_1000": ("GET", _TASKS, b"limit=1000", b""),
    "create": ("POST", "/api/v1/other/tasks", b"", b'{"title": "Buy milk", "description": "Two"}'),
    "complete": ("PATCH", f"{_ONE}/complete", b"", b'{"is_completed": true}'),
    "update": ("PATCH", _ONE, b"", b'{"title": "Buy milk"}'),
}


def main() -> None:
    """Print the microseconds of CPU that each operation takes inside the application."""
    with (
        TemporaryDirectory(prefix="bench-") as directory,
        database_server(Path(directory)) as server_url,
    ):
        dataset = Dataset("inside", tasks=1000, users=100, long_lists={"bench": 1000})
        asyncio.run(_measure(create_database(server_url, dataset)))


async def _measure(url: str) -> None:
    app = create_app(Settings(database_url=SecretStr(url), log_level="warning"))
    async with app.router.lifespan_context(app):
        for name, operation in _OPERATIONS.items():
            for _ in range(_REQUESTS):  # prepared, and warm
                await _request(app, *operation)
            best = min([await _round(app, operation) for _ in range(_ROUNDS)])
            print(f"{name:10s} {best * 1e6:6.0f} us")


async def _round(app: Any, operation: tuple[str, str, bytes, bytes]) -> float:
    before = _cpu_seconds()
    for _ in range(_REQUESTS):
        await _request(app, *operation)
    return (_cpu_seconds() - before) / _REQUESTS


async def _request(app: Any, method: str, path: str, query: bytes, body: bytes) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) in (200, 201), message

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "state": {},
    }
    await app(scope, receive, send)


def _cpu_seconds() -> float:
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
