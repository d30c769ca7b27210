"""The app on a real socket, for what only happens there: browsers and attackers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from src.api.protocol import StrictHttpProtocol
from tests.processes import PATIENCE, wait_until


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """Serve `app` on the loopback address from a thread of this process; give its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        url = f"http://{host}:{port}"
        server = uvicorn.Server(
            uvicorn.Config(app, loop="uvloop", http=StrictHttpProtocol, log_config=None)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            httpx.get(f"{url}/health/ready", trust_env=False).raise_for_status()
            yield url
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
