"""The app on a real socket, for what only happens there: browsers, generated clients, attackers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import httpx
import uvicorn
from fastapi import FastAPI

from tests.processes import PATIENCE, wait_until


@contextmanager
def listening(
    app: FastAPI,
    http: Literal["httptools", "h11", "zttp"] = "httptools",
    listener: socket.socket | None = None,
) -> Iterator[str]:
    """Serve `app` on the loopback address from a thread of this process; give its base URL."""
    with listener or socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
        url = f"http://{host}:{port}"
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=http,
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            httpx.get(f"{url}/health/ready", trust_env=False).raise_for_status()
            yield url
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
