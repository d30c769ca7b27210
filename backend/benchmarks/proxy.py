"""A TCP proxy that delays both directions, to simulate a database that is far away.

It adds nothing but the delay: data that arrives during a delay is not held up any longer, so
pipelining and throughput stay the same. `python -m benchmarks.proxy PORT MILLISECONDS` forwards to
a port on the loopback address, and prints the port on which it listens.

It runs on asyncio's own event loop, because timers of uvloop may fire up to a millisecond early.
"""

import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast
from urllib.parse import urlsplit, urlunsplit

LOOPBACK: Final = "127.0.0.1"


class End(asyncio.Protocol):
    """One end of a connection: what it receives leaves at the other end after the delay."""

    def __init__(self, delay: float) -> None:
        self.other: End | None = None
        self.transport: asyncio.Transport | None = None
        self._delay = delay
        self._late: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._late.append(data)
        self._loop.call_later(self._delay, self._pass_on)

    def _pass_on(self) -> None:
        # From a queue, because timers that are due at the same time fire in any order.
        data = self._late.popleft()
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other and self.other.transport:
            self._loop.call_later(self._delay, self.other.transport.close)


class NearEnd(End):
    """The client's end. It opens the connection to the database."""

    def __init__(self, port: int, delay: float) -> None:
        super().__init__(delay)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.other = End(self._delay)
        self.other.other = self
        self._opening = self._loop.create_task(self._open(self.other))

    async def _open(self, other: End) -> None:
        await self._loop.create_connection(lambda: other, LOOPBACK, self._port)


async def serve(port: int, delay: float) -> None:
    """Forward to `port`, with a delay of `delay` seconds in each direction."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: NearEnd(port, delay), LOOPBACK, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def far_away(url: str, round_trip_ms: float) -> Iterator[str]:
    """Yield a URL of the same database where each round trip takes `round_trip_ms` longer."""
    parts = urlsplit(url)
    arguments = [str(parts.port), str(round_trip_ms / 2)]
    command = [sys.executable, "-m", __name__, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline())  # type: ignore[union-attr]  # it is a pipe
        credentials = parts.netloc.rpartition("@")[0]
        yield urlunsplit(parts._replace(netloc=f"{credentials}@{LOOPBACK}:{port}"))
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
