"""The real PgBouncer in transaction mode, in front of a test's PostgreSQL."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.processes import PATIENCE, free_port, wait_until

_LOOPBACK: Final = "127.0.0.1"
_CONFIGURATION: Final = """\
[databases]
* = {server}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {server_connections}
max_client_conn = 500
"""


class Pooler(NamedTuple):
    """A PgBouncer that serves every database of one server, as one role."""

    port: int

    def url_of(self, url: str) -> str:
        """Give the URL of the same database, by way of the pooler."""
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{user}@{_LOOPBACK}:{self.port}").geturl()


@contextmanager
def pooler(url: str, directory: Path, *, server_connections: int) -> Iterator[Pooler]:
    """Run PgBouncer in front of the server of `url`, as the role of `url`.

    Each database gets at most this many connections to the server, however many clients there are.
    """
    program = _program()
    configuration, log = directory / "pgbouncer.ini", directory / "pgbouncer.log"
    running = Pooler(free_port())
    wanted = ("host", "port", "user", "password")
    server = {name: str(value) for name, value in conninfo_to_dict(url).items() if name in wanted}
    configuration.write_text(
        _CONFIGURATION.format(
            server=make_conninfo(**server),
            host=_LOOPBACK,
            port=running.port,
            server_connections=server_connections,
        )
    )
    # It refuses to run as root.
    account = ["-u", "nobody"] if os.geteuid() == 0 else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *account, configuration],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                psycopg.connect(running.url_of(url)).close()
            except psycopg.OperationalError:
                return False
            return True

        wait_until(is_ready)
        yield running
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _program() -> str:
    # Debian keeps it where only root's PATH leads.
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None and "CI" not in os.environ:
        pytest.skip("there is no PgBouncer here")
    assert found, "the pooler is tested with PgBouncer: install pgbouncer"
    return found
