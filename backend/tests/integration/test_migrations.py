"""The migrations: up, down and up again; no drift; two at once; and the limits that they set."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import alembic.config
import psycopg
import pytest
import pytest_alembic.tests
from alembic import command
from alembic.util import CommandError
from psycopg.sql import SQL, Identifier
from pytest_alembic.runner import MigrationContext
from sqlalchemy import Column, Connection, Table, create_engine, event, pool
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import AutoString

from src import revisions
from src.config import ROOT
from src.exceptions import DatabaseUnavailable
from src.models.task import metadata
from tests.processes import PATIENCE, wait_until

pytestmark = pytest.mark.unscoped  # a migration is for all users

BACKEND: Final = ROOT / "backend"

_UPGRADE: Final = "import sys; from src import revisions; revisions.upgrade(sys.argv[1])"

_TIME_LIMITS: Final = {
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
}

# All that a migration can say of a table, in PostgreSQL's own words. A model that says the
# same has the same words here; alembic's comparison knows neither CHECKs nor collations.
_SCHEMA: Final = {
    "columns": """
        SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,
            collname, pg_get_expr(adbin, adrelid)
        FROM pg_attribute
        LEFT JOIN pg_collation ON pg_collation.oid = attcollation
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r'
                AND relnamespace = 'public'::regnamespace)
            AND attnum > 0""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "indexes": """
        SELECT indrelid::regclass::text, pg_get_indexdef(indexrelid)
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE relnamespace = 'public'::regnamespace""",
    "enums": """
        SELECT typname, array_agg(enumlabel::text ORDER BY enumsortorder)
        FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid GROUP BY typname""",
}


@pytest.fixture
def empty_database_url(make_empty_database: Callable[[], str]) -> str:
    return make_empty_database()


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(
        "postgresql+psycopg://", poolclass=pool.NullPool, creator=lambda: psycopg.connect(url)
    )
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def alembic_config() -> alembic.config.Config:
    """What pytest-alembic is to run."""
    return alembic.config.Config(BACKEND / "alembic.ini")


@pytest.fixture
def alembic_engine(empty_database_url: str) -> Iterator[Connection]:
    """Where pytest-alembic is to run it."""
    with connected(empty_database_url) as connection:
        yield connection


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def schema_of(url: str, part: str) -> list[tuple[Any, ...]]:
    """One part of the schema, without alembic's own table."""
    rows = ask(url, _SCHEMA[part])
    return sorted((row for row in rows if row[0] != "task_api_version"), key=repr)


def time_limits_of(url: str) -> dict[str, str]:
    """What the role gets by itself in a new session in this database."""
    (settings,) = ask(
        url,
        "SELECT coalesce(array_agg(setting ORDER BY setting), '{}') FROM pg_db_role_setting,"
        " unnest(setconfig) AS setting WHERE setrole = current_user::regrole"
        " AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )[0]
    return dict(setting.split("=", 1) for setting in settings)


@pytest.mark.requirement("FR-033")
class TestTheHistory:
    def test_has_one_end(self, alembic_runner: MigrationContext) -> None:
        pytest_alembic.tests.test_single_head_revision(alembic_runner)

    def test_leads_from_an_empty_database_to_the_newest(
        self, alembic_runner: MigrationContext
    ) -> None:
        pytest_alembic.tests.test_upgrade(alembic_runner)
        assert alembic_runner.current == revisions.newest()

    def test_goes_up_and_down_and_up_again(self, alembic_runner: MigrationContext) -> None:
        pytest_alembic.tests.test_up_down_consistency(alembic_runner)

    def test_leads_to_the_tables_of_the_models(self, alembic_runner: MigrationContext) -> None:
        pytest_alembic.tests.test_model_definitions_match_ddl(alembic_runner)

    def test_leaves_nothing_behind_on_the_way_down(
        self, alembic_runner: MigrationContext, empty_database_url: str
    ) -> None:
        alembic_runner.migrate_up_to("heads")
        assert time_limits_of(empty_database_url)

        alembic_runner.migrate_down_to("base")

        assert {part: schema_of(empty_database_url, part) for part in _SCHEMA} == {
            part: [] for part in _SCHEMA
        }
        assert time_limits_of(empty_database_url) == {}


@pytest.mark.requirement("FR-032", "FR-033")
@pytest.mark.parametrize("part", _SCHEMA)
def test_the_migrated_schema_is_that_of_the_models(
    make_empty_database: Callable[[], str], part: str
) -> None:
    migrated, created = make_empty_database(), make_empty_database()
    revisions.upgrade(migrated)
    with connected(created) as connection, connection.begin():
        metadata.create_all(connection)

    assert schema_of(migrated, part) == schema_of(created, part) != []


@pytest.mark.requirement("FR-033")
def test_an_index_that_was_half_built_by_hand_is_built_again(
    alembic_runner: MigrationContext, empty_database_url: str, postgres_url: str
) -> None:
    alembic_runner.migrate_up_to("0002")
    index = "tasks_user_id_updated_at_id_idx"
    name = urlsplit(empty_database_url).path
    superuser_url = urlsplit(postgres_url)._replace(path=name).geturl()
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("UPDATE task_api_version SET version_num = '0001'")
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [index]
        )

    revisions.upgrade(empty_database_url)

    is_valid = f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{index}'::regclass"  # noqa: S608 — ours
    assert ask(empty_database_url, is_valid) == [(True,)]


@pytest.mark.requirement("FR-016", "FR-033")
def test_a_list_that_knows_nothing_of_its_first_version_began_with_1(
    alembic_runner: MigrationContext, empty_database_url: str
) -> None:
    """Whether it was there before, or a server of the previous revision made it since."""
    insert = "INSERT INTO task_lists (user_id, version) VALUES ('{}', {}) RETURNING version"
    alembic_runner.migrate_up_to("0002")
    ask(empty_database_url, insert.format("alice", 7))

    alembic_runner.migrate_up_to("0003")
    ask(empty_database_url, insert.format("bob", 3))

    first = "SELECT user_id, version, first_version FROM task_lists ORDER BY user_id"
    assert ask(empty_database_url, first) == [("alice", 7, 1), ("bob", 3, 1)]
    alembic_runner.migrate_down_to("0002")
    versions = "SELECT * FROM task_lists ORDER BY user_id"
    assert ask(empty_database_url, versions) == [("alice", 7), ("bob", 3)]
    alembic_runner.migrate_up_to("0003")
    assert ask(empty_database_url, first) == [("alice", 7, 1), ("bob", 3, 1)]


_INSERT_TASK: Final = """
    WITH change AS (
        INSERT INTO task_lists (user_id, version, first_version) VALUES (%(user)s, 1, 1)
        ON CONFLICT (user_id) DO UPDATE SET version = task_lists.version + 1
        RETURNING version)
    INSERT INTO tasks
        (user_id, id, title, is_completed, priority, tags, version, created_at, updated_at)
    SELECT %(user)s, gen_random_uuid(), %(title)s, false, 'none', '{}', version, at, at
    FROM change, coalesce(%(at)s, clock_timestamp()) AS at
    RETURNING id"""
"""What a server of the revision 0003 writes."""


class TestPositions:
    """What the revision 0004 does to tasks that exist, and to servers that run meanwhile."""

    @pytest.mark.requirement("FR-094")
    def test_are_in_the_order_of_creation(
        self, alembic_runner: MigrationContext, empty_database_url: str
    ) -> None:
        alembic_runner.migrate_up_to("0003")
        times = {"b": "2026-02-01", "a": "2026-01-01 12:00", "c": "2999-12-31", "0": "1900-01-01"}
        with psycopg.connect(empty_database_url) as connection:
            for title, at in times.items():
                connection.execute(_INSERT_TASK, {"user": "alice", "title": title, "at": f"{at}Z"})

        query = "SELECT title, position FROM tasks ORDER BY position, id"
        for _ in range(2):
            alembic_runner.migrate_up_to("0004")
            assert ask(empty_database_url, query) == [
                ("0", "0000000000000000"),
                ("a", "1767268800000000"),
                ("b", "1769904000000000"),
                ("c", "9999999999999999"),
            ]
            alembic_runner.migrate_down_to("0003")

    @pytest.mark.slow
    @pytest.mark.requirement("FR-094")
    def test_are_filled_in_while_servers_of_the_previous_revision_write(
        self, alembic_runner: MigrationContext, empty_database_url: str
    ) -> None:
        alembic_runner.migrate_up_to("0003")
        with psycopg.connect(empty_database_url) as connection:
            connection.execute("SET statement_timeout = 0")  # this is the set-up, not a request
            connection.execute("INSERT INTO task_lists (user_id, version) VALUES ('bulk', 100000)")
            connection.execute(
                "INSERT INTO tasks (user_id, id, title, is_completed, priority, tags, version,"
                " created_at, updated_at) SELECT 'bulk', gen_random_uuid(), 'Task ' || n, false,"
                " 'none', '{}', n, now(), now() FROM generate_series(1, 100000) AS n"
            )
        is_over = threading.Event()

        def serve(user: str) -> int:
            """Write and read as a server does, with the time limits of its role."""
            requests = 0
            with psycopg.connect(empty_database_url, autocommit=True) as connection:
                while not is_over.is_set():
                    task = {"user": user, "title": f"Task {requests}", "at": None}
                    ((id_,),) = connection.execute(_INSERT_TASK, task).fetchall()
                    for statement in (
                        "UPDATE tasks SET title = 'changed' WHERE user_id = %s AND id = %s",
                        "UPDATE tasks SET title = 'changed' WHERE user_id = 'bulk' AND version ="
                        " (SELECT count(*) FROM tasks WHERE user_id = %s AND id <= %s)",
                        "SELECT title FROM tasks WHERE user_id = %s AND id = %s",
                    ):
                        connection.execute(statement, [user, id_])
                    requests += 1
            return requests

        with ThreadPoolExecutor() as pool:
            servers = [pool.submit(serve, f"user-{number}") for number in range(4)]
            revisions.upgrade(empty_database_url)
            is_over.set()

        assert min(server.result() for server in servers) > 0
        order = "SELECT title FROM tasks WHERE user_id = '{}' ORDER BY {}"
        assert ask(empty_database_url, "SELECT FROM tasks WHERE position IS NULL") == []
        for number in range(4):
            by_position, by_version = (
                ask(empty_database_url, order.format(f"user-{number}", key))
                for key in ("position", "version")
            )
            assert by_position == by_version

    @pytest.mark.requirement("FR-094")
    def test_are_filled_in_again_after_an_interruption(
        self, alembic_runner: MigrationContext, empty_database_url: str
    ) -> None:
        """The first attempt ended when it had filled in some tasks and begun to build the index."""
        alembic_runner.migrate_up_to("0003")
        with psycopg.connect(empty_database_url) as connection:
            for title in "abc":
                connection.execute(_INSERT_TASK, {"user": "alice", "title": title, "at": None})
            for statement in (
                'ALTER TABLE tasks ADD COLUMN position text COLLATE "C"',
                "UPDATE tasks SET position = '0000000000000001' WHERE title = 'a'",
                "CREATE INDEX tasks_user_id_position_id_idx ON tasks (user_id)",
                "ALTER TABLE tasks ADD CONSTRAINT tasks_position_format CHECK (true)",
                "ALTER TABLE tasks ADD CONSTRAINT tasks_position_present CHECK (true)",
            ):
                connection.execute(statement)

        revisions.upgrade(empty_database_url)

        order = "SELECT title FROM tasks ORDER BY position"
        assert ask(empty_database_url, order) == [("a",), ("b",), ("c",)]
        index = "SELECT pg_get_indexdef('tasks_user_id_position_id_idx'::regclass)"
        ((definition,),) = ask(empty_database_url, index)
        assert definition.endswith('(user_id, "position", id)')


@pytest.mark.requirement("FR-033", "FR-029")
def test_are_generated_ready_to_run(
    alembic_config: alembic.config.Config, empty_database_url: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(BACKEND / "migrations", tmp_path / "migrations")
    alembic_config.set_main_option("script_location", str(folder))
    alembic_config.attributes["url"] = empty_database_url
    team = Table("team", metadata, Column("name", AutoString()), Column("settings", JSONB()))
    try:
        command.upgrade(alembic_config, "head")
        command.revision(alembic_config, "teams", autogenerate=True, rev_id="9999")
        command.upgrade(alembic_config, "head")
    finally:
        metadata.remove(team)

    assert ask(empty_database_url, "SELECT name, settings FROM team") == []


def test_are_not_written_as_sql(alembic_config: alembic.config.Config) -> None:
    with pytest.raises(CommandError, match="--sql is not supported"):
        command.upgrade(alembic_config, "head", sql=True)


def test_the_role_has_time_limits_afterwards(empty_database_url: str) -> None:
    revisions.upgrade(empty_database_url)

    assert time_limits_of(empty_database_url) == _TIME_LIMITS
    for name, value in _TIME_LIMITS.items():
        assert ask(empty_database_url, f"SHOW {name}") == [(value,)]


# What earlier releases have left: their revision is in Alembic's own table.
_AS_EARLIER: Final = (
    "ALTER TABLE task_api_version RENAME TO alembic_version",
    "ALTER TABLE alembic_version RENAME CONSTRAINT task_api_version_pkc TO alembic_version_pkc",
)
_REVISIONS: Final = "SELECT version_num FROM task_api_version"
_THEIR_REVISIONS: Final = "SELECT version_num FROM alembic_version"
_THEIRS: Final = (
    "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
    "INSERT INTO alembic_version VALUES ('0001')",
)
_THEIR_TASKS: Final = "CREATE TABLE tasks (id int PRIMARY KEY, user_id text, title text)"


@pytest.mark.requirement("FR-121")
class TestOurVersionTable:
    @pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004"])
    def test_takes_over_the_revision_of_an_earlier_release(
        self, alembic_runner: MigrationContext, empty_database_url: str, revision: str
    ) -> None:
        alembic_runner.migrate_up_to(revision)
        execute(
            empty_database_url,
            "INSERT INTO task_lists (user_id, version) VALUES ('alice', 7)",
            *_AS_EARLIER,
        )

        for _ in range(2):
            revisions.upgrade(empty_database_url)

            assert ask(empty_database_url, _REVISIONS) == [(revisions.newest(),)]
            lists = ask(empty_database_url, "SELECT user_id, version FROM task_lists")
            assert lists == [("alice", 7)]
            # Servers of that release look here to see whether they are ready.
            assert ask(empty_database_url, _THEIR_REVISIONS) == [(revision,)]

    def test_is_made_beside_the_one_of_another_application(self, empty_database_url: str) -> None:
        execute(empty_database_url, *_THEIRS)

        revisions.upgrade(empty_database_url)

        assert ask(empty_database_url, _THEIR_REVISIONS) == [("0001",)]
        assert ask(empty_database_url, _REVISIONS) == [(revisions.newest(),)]

    @pytest.mark.parametrize(
        ("theirs", "named"),
        [
            pytest.param([_THEIR_TASKS], "tasks", id="a table"),
            pytest.param([*_THEIRS, _THEIR_TASKS], "tasks", id="a table and a revision like ours"),
            pytest.param(["CREATE VIEW task_lists AS SELECT 1"], "task_lists", id="a view"),
            pytest.param(
                ["CREATE TYPE task_priority AS ENUM ('low')"], "task_priority", id="a type"
            ),
            pytest.param(
                [
                    *_THEIRS,
                    _THEIR_TASKS,
                    "CREATE TABLE task_lists ()",
                    "CREATE TABLE task_tombstones ()",
                    "CREATE TYPE task_priority AS ENUM ('low')",
                ],
                "task_lists and task_priority and task_tombstones and tasks",
                id="all our names and a revision like ours",
            ),
        ],
    )
    def test_is_not_made_where_another_application_has_our_names(
        self, empty_database_url: str, theirs: list[str], named: str
    ) -> None:
        execute(empty_database_url, *theirs)
        before = {part: schema_of(empty_database_url, part) for part in _SCHEMA}

        with pytest.raises(DatabaseUnavailable) as refusal:
            revisions.upgrade(empty_database_url)

        assert str(refusal.value) == (
            f"the schema has {named} of another application; use a database of its own for the"
            " Task API, or a schema"
        )
        assert {part: schema_of(empty_database_url, part) for part in _SCHEMA} == before

    def test_can_be_in_a_schema_beside_the_tables_of_another_application(
        self, empty_database_url: str
    ) -> None:
        execute(empty_database_url, *_THEIRS, _THEIR_TASKS, "CREATE SCHEMA ours")
        url = f"{empty_database_url}?options=-csearch_path%3Dours,public"

        for _ in range(2):
            revisions.upgrade(url)

        assert ask(empty_database_url, "SELECT version_num FROM ours.task_api_version") == [
            (revisions.newest(),)
        ]
        assert ask(empty_database_url, _THEIR_REVISIONS) == [("0001",)]
        assert ask(empty_database_url, "SELECT * FROM tasks") == []


class TestAnUpgrade:
    @pytest.mark.requirement("FR-033")
    def test_does_nothing_the_second_time(self, empty_database_url: str) -> None:
        revisions.upgrade(empty_database_url)
        before = ask(empty_database_url, "SELECT oid FROM pg_class ORDER BY oid")

        revisions.upgrade(empty_database_url)

        assert ask(empty_database_url, "SELECT oid FROM pg_class ORDER BY oid") == before

    @pytest.mark.requirement("FR-033")
    def test_never_waits_long_for_a_lock_that_others_queue_behind(
        self, alembic_runner: MigrationContext, alembic_engine: Connection
    ) -> None:
        limits = set()

        def look(_c: object, cursor: Any, statement: str, *_: object) -> None:
            if statement.lstrip().startswith(("CREATE", "ALTER", "DROP")):
                shown = cursor.connection.cursor()
                limits.add(
                    tuple(
                        shown.execute(f"SHOW {name}").fetchone()[0]
                        for name in ("lock_timeout", "statement_timeout")
                    )
                )

        event.listen(alembic_engine, "before_cursor_execute", look)
        alembic_runner.migrate_up_to("heads")
        alembic_runner.migrate_down_to("base")

        assert limits == {("5s", "0")}

    @pytest.mark.requirement("FR-033")
    def test_may_run_twice_at_once(self, empty_database_url: str) -> None:
        with (
            migrating_elsewhere(empty_database_url) as finish,
            upgrading(empty_database_url, times=2) as upgrades,
        ):
            wait_until(lambda: is_waited_for(empty_database_url, 2))
            finish()

            assert [upgrade.wait(PATIENCE) for upgrade in upgrades] == [0, 0]
        assert ask(empty_database_url, "SELECT version_num FROM task_api_version") == [
            (revisions.newest(),)
        ]

    @pytest.mark.requirement("FR-033")
    def test_waits_for_another_one_for_as_long_as_that_takes(self, empty_database_url: str) -> None:
        """The limits of the role are for the statements of the app, not for this."""
        revisions.upgrade(empty_database_url)
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            connection.execute(
                SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET lock_timeout = '1ms'").format(
                    Identifier(connection.info.dbname)
                )
            )

        with (
            migrating_elsewhere(empty_database_url) as finish,
            upgrading(empty_database_url, times=1) as (upgrade,),
        ):
            wait_until(lambda: is_waited_for(empty_database_url, 1) or upgrade.poll() is not None)
            finish()

            assert upgrade.wait(PATIENCE) == 0, "it gave up instead of waiting"


@contextmanager
def upgrading(url: str, times: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Upgrade in processes of their own, as servers that start do."""
    upgrades = [
        subprocess.Popen(
            [sys.executable, "-c", _UPGRADE, f"{url}?application_name=upgrade"],
            cwd=BACKEND,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(times)
    ]
    try:
        yield upgrades
    finally:
        for upgrade in upgrades:
            upgrade.kill()
            upgrade.wait()


@contextmanager
def migrating_elsewhere(url: str) -> Iterator[Callable[[], None]]:
    """Hold the lock of an upgrade that is under way, until it is told to finish."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [0x7461736B73])
        yield connection.close


def is_waited_for(url: str, count: int) -> bool:
    """Whether so many upgrades have asked for the lock, and not got it."""
    return ask(
        url,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'upgrade' AND state = 'idle' AND query = 'COMMIT'",
    ) == [(count,)]


@pytest.mark.requirement("FR-044")
@pytest.mark.parametrize(("query", "expected"), [("", 7), ("?connect_timeout=8", "8")])
def test_a_migration_waits_for_the_connection_as_long_as_it_is_told(
    make_empty_database: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    expected: object,
) -> None:
    url = make_empty_database() + query
    waited: list[object] = []
    connect = psycopg.connect

    def note(*arguments: Any, **options: Any) -> psycopg.Connection[Any]:
        waited.append(options["connect_timeout"])
        return connect(*arguments, **options)

    monkeypatch.setattr(psycopg, "connect", note)

    revisions.upgrade(url, connect_timeout=7)

    assert waited == [expected]
