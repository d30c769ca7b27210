"""A proxy in front of PostgreSQL that reads along: what a request costs, counted on the wire.

It knows the framing of the protocol (PostgreSQL manual, "Frontend/Backend Protocol") and passes
on whole messages only, so a fault can be put between any two of them: whatever a message is to
suffer, it suffers in `_Client.message` or `_Server.message`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Final, Self, cast
from urllib.parse import urlsplit, urlunsplit

_LOOPBACK: Final = "127.0.0.1"
_SSL_REQUEST: Final = 80877103
_GSS_REQUEST: Final = 80877104
_CANCEL_REQUEST: Final = 80877102
_LENGTH: Final = 4  # bytes, which count themselves

PARSE: Final = b"P"
BIND: Final = b"B"
EXECUTE: Final = b"E"
QUERY: Final = b"Q"
TERMINATE: Final = b"X"
READY_FOR_QUERY: Final = b"Z"
BACKEND_KEY_DATA: Final = b"K"


_FIELDS: Final = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
_TERMINATING: Final = b"E" + (_LENGTH + len(_FIELDS)).to_bytes(_LENGTH) + _FIELDS


class Fault(Enum):
    """What befalls a statement on its way."""

    LOST = auto()
    """The connection breaks before the server has the statement."""
    SWALLOWED = auto()
    """The server executes and commits it; the connection breaks before the answer arrives."""
    TERMINATED = auto()
    """An administrator ends the connection, and the server says so: nothing is executed."""
    FROZEN = auto()
    """The server executes and commits it, and is never heard of again."""


_ENDS: Final = (b"COMMIT\0", b"ROLLBACK\0")
_UNHEARD: Final = (None, Fault.SWALLOWED, Fault.FROZEN)
"""What lets a statement pass: only its answer is lost, if anything is."""


@dataclass
class Flight:
    """One round trip: what the client sent before it waited, and what it then got."""

    sent: str = ""
    """The types of the client's messages: PBDES is Parse, Bind, Describe, Execute, Sync."""
    received: str = ""
    """The types of the server's messages: the last one is Z, ReadyForQuery."""
    prepared: list[str] = field(default_factory=list)
    """The names of the statements that the client prepared, to execute them later."""

    @property
    def statements(self) -> int:
        """How many statements were executed."""
        return sum(self.sent.count(kind.decode()) for kind in (EXECUTE, QUERY))


class Wire:
    """The proxy. It listens from `async with` on, at `url`, and forwards to the given one."""

    def __init__(self, url: str) -> None:
        self.flights: list[Flight] = []
        """The round trips of all connections that are past their start, in order."""
        self.openings: list[str] = []
        """How connections began: "ssl", "gss", "cancel" or "start"."""
        self.connections: set[_Client] = set()
        self.faults: deque[Fault | None] = deque()
        """What befalls the next statements, also COMMIT and ROLLBACK; None is nothing."""
        self.is_held = False
        self.is_mute = False
        """Whether statements of new connections get no answer."""
        self.unanswered = 0
        """Which round trip gets no answer, counted from 1; 0 is none."""
        self.on_silence: Callable[[], None] = lambda: None
        """Called when a client waits for an answer that will not come."""
        self.is_pooler = False
        """Whether clients get a process id that is not the server's, as from a pooler."""
        self._target = urlsplit(url)
        self._port = 0
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.refuse()

    @property
    def url(self) -> str:
        """The URL of the database, by way of this proxy."""
        return self.url_of_host(_LOOPBACK)

    def url_of_host(self, host: str) -> str:
        """The same, but the client takes the host to have this name."""
        user = self._target.netloc.rpartition("@")[0]
        query = "" if host == _LOOPBACK else f"hostaddr={_LOOPBACK}"
        return urlunsplit(self._target._replace(netloc=f"{user}@{host}:{self._port}", query=query))

    async def listen(self) -> None:
        """Let clients in: at first, and again after `refuse`, under the same URL."""
        loop = asyncio.get_running_loop()
        port = self._target.port
        assert port is not None
        self._listener = await loop.create_server(
            lambda: _Client(self, port), _LOOPBACK, self._port
        )
        self._port = self._listener.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Be a server that is down: cut all connections, and refuse new ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        connections = list(self.connections)
        for connection in connections:
            connection.cut()
        await asyncio.gather(*(connection.closed for connection in connections))

    def hold(self) -> None:
        """Be a server that hangs: accept everything, pass on nothing, until `release`."""
        self._set_held(is_held=True)

    def release(self) -> None:
        """Pass on all that was held back, and go on."""
        self._set_held(is_held=False)

    def _set_held(self, *, is_held: bool) -> None:
        self.is_held = is_held
        for connection in self.connections:
            connection.obey()


class _End(asyncio.Protocol):
    """One end of a connection through the proxy. It cuts what it receives into messages."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self.is_unframed = True
        self._received = bytearray()
        self._unsent = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._unsent)
        self.obey()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._pass_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — asyncio's signature
        self.transport = None
        if self.other and self.other.transport:
            self.other.transport.close()

    def message(self, message: bytes) -> None:
        """Deal with one whole message from this end."""
        raise NotImplementedError

    def first_size(self) -> int:
        """How long the message that has no type in front is; 0 if that cannot be told yet."""
        raise NotImplementedError

    def send(self, message: bytes) -> None:
        """Send a message to this end, as soon as there is a connection to it."""
        if self.transport:
            self.transport.write(message)
        else:
            self._unsent += message

    def obey(self) -> None:
        """Read on, or do not, as the proxy is told."""
        if self.transport and self.wire.is_held:
            self.transport.pause_reading()
        elif self.transport:
            self.transport.resume_reading()
            self._pass_on()

    def _pass_on(self) -> None:
        # A new connection may have received something before it could be told not to read.
        if not self.wire.is_held:
            for message in self._messages():
                self.message(message)

    def _messages(self) -> Iterator[bytes]:
        while self._received:
            if self.is_unframed:
                size = self.first_size()
            elif len(self._received) > _LENGTH:
                size = 1 + int.from_bytes(self._received[1 : 1 + _LENGTH])
            else:
                return
            if not size or len(self._received) < size:
                return
            message = bytes(self._received[:size])
            del self._received[:size]
            yield message


class _Client(_End):
    """The end towards the client. It opens the other one, and counts."""

    def __init__(self, wire: Wire, port: int) -> None:
        super().__init__(wire)
        self.server = _Server(wire, self)
        self.other = self.server
        self.flight: Flight | None = None
        self.fault: Fault | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._port = port
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.wire.connections.add(self)
        self._opening = asyncio.get_running_loop().create_task(self._open())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.wire.connections.discard(self)
        self.closed.set_result(None)

    def cut(self) -> None:
        """Break the connection off, both ways."""
        for end in (self, self.server):
            if end.transport:
                end.transport.abort()

    def obey(self) -> None:
        super().obey()
        if self.server.transport:
            self.server.obey()

    def first_size(self) -> int:
        return int.from_bytes(self._received[:_LENGTH]) if len(self._received) >= _LENGTH else 0

    def message(self, message: bytes) -> None:
        if self.is_unframed:
            self._begin(int.from_bytes(message[_LENGTH : 2 * _LENGTH]))
        elif self.server.is_started and message[:1] != TERMINATE:
            self._count(message)
        is_unanswered = self.wire.is_mute or len(self.wire.flights) == self.wire.unanswered
        if is_unanswered and self.server.is_started:
            self.wire.on_silence()
            return
        is_statement = message[:1] == BIND or message[1 + _LENGTH :] in _ENDS
        if is_statement and self.server.is_started and self.wire.faults:
            self.fault = self.wire.faults.popleft()
            if self.fault not in _UNHEARD:
                self._break()
        if self.fault in _UNHEARD:
            self.server.send(message)

    def _break(self) -> None:
        """Break off before the server has the whole statement, so that it executes nothing."""
        if self.fault is Fault.TERMINATED:
            self.send(_TERMINATING)
        for end in (self.server, self):
            if end.transport:
                end.transport.close()

    def _begin(self, request: int) -> None:
        openings = {_SSL_REQUEST: "ssl", _GSS_REQUEST: "gss", _CANCEL_REQUEST: "cancel"}
        opening = openings.get(request, "start")
        self.wire.openings.append(opening)
        if opening == "start":
            self.is_unframed = self.server.is_unframed = False

    def _count(self, message: bytes) -> None:
        # Who speaks after the other has answered must have waited for that: a new round trip.
        if self.flight is None or self.flight.received:
            self.flight = Flight()
            self.wire.flights.append(self.flight)
        kind = message[:1]
        self.flight.sent += kind.decode()
        name = message[1 + _LENGTH :].split(b"\0", 1)[0]
        if kind == PARSE and name:
            self.flight.prepared.append(name.decode())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.server, _LOOPBACK, self._port)
        except OSError:
            self.cut()


class _Server(_End):
    """The end towards the server."""

    def __init__(self, wire: Wire, client: _Client) -> None:
        super().__init__(wire)
        self.client = client
        self.other = client
        self.is_started = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.client.transport is None:  # it has gone meanwhile
            transport.close()

    def first_size(self) -> int:
        return 1  # the answer to a request for encryption: one letter

    def message(self, message: bytes) -> None:
        if self.client.flight is not None:
            self.client.flight.received += message[:1].decode()
        if message[:1] == BACKEND_KEY_DATA and self.client.wire.is_pooler:
            message = message[:5] + bytes(4) + message[9:]
        if message[:1] == READY_FOR_QUERY:
            self.is_started = True
        if self.client.fault is None:
            self.client.send(message)
        elif self.client.fault is Fault.FROZEN:
            if message[:1] == READY_FOR_QUERY:
                self.client.wire.on_silence()
        elif message[:1] == READY_FOR_QUERY:  # sent when the transaction has been committed
            self.client.cut()
