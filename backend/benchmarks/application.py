"""Runs the application of one build in this process, and measures the CPU of its requests.

`inside.py` starts it as a script, in the environment and the `backend` folder of that build. So it
imports nothing of the benchmark. Each line of standard input is a round, as JSON; the answer is a
line with the CPU time of a request in seconds.
"""

import json
import sys
from resource import RUSAGE_SELF, getrusage
from typing import Any

import uvloop
from pydantic import SecretStr

from src.config import Settings
from src.main import create_app


async def serve_rounds(database_url: str) -> None:
    """Measure every round that standard input asks for."""
    app = create_app(Settings(database_url=SecretStr(database_url), log_level="warning"))
    async with app.router.lifespan_context(app):
        for line in sys.stdin:
            print(await measure(app, **json.loads(line)), flush=True)


async def measure(
    app: Any, *, method: str, path: str, query: str, body: str, requests: int
) -> float:
    """Send the same request several times, one after the other; give the CPU seconds of one."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) in (200, 201), message

    content = body.encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }
    before = cpu_seconds()
    for _ in range(requests):
        await app({**scope, "state": {}}, receive, send)
    return (cpu_seconds() - before) / requests


def cpu_seconds() -> float:
    """Give the user and system time of this process."""
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    uvloop.run(serve_rounds(sys.argv[1]))
