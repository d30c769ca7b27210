"""Other ways to run the database, in which the same tests give the same results.

`--variant=partitioned` makes the tables hash-partitioned by `user_id`. `--variant=pooled-1` and
`--variant=pooled-3` put PgBouncer in transaction mode in front of the database, with one and three
connections to the server. `--variant=without-indexes` lets PostgreSQL read no index, so that rows
come in the order in which they are stored, unless a statement asks for another one. What cannot be
tested that way is listed here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

PARTITIONED: Final = "partitioned"
POOLED: Final = {"pooled-1": 1, "pooled-3": 3}
"""The variants with a pooler, and its connections to the server."""
WITHOUT_INDEXES: Final = "without-indexes"

_PARTITIONS: Final = 4
_TABLES: Final = ("task_lists", "tasks", "task_tombstones")

_ELSEWHERE: Final = {
    "test_dev_postgres.py": "is about the embedded PostgreSQL",
    "test_dev_commands.py": "is about the embedded PostgreSQL",
    "test_browsers.py": "is about HTTP",
    "test_check.py": "has its own poolers",
    "test_metrics.py": "is about the metrics",
    "test_tracing.py": "is about spans",
    "test_migrations.py": "is about the tables that the migrations make",
    "test_server.py": "starts programs that make their own connections",
    "test_documentation_pages.py": "reads no table",
    "test_http_edge.py": "is about HTTP",
    "test_cors.py": "is about HTTP",
    "test_logs.py": "is about the log",
    "test_followers.py": "takes minutes",
    "test_order_model.py": "takes minutes",
    "test_state_machine.py": "takes minutes",
    "test_pooler.py": "has its own pooler",
    "test_roles.py": "is about roles on direct connections",
    "test_bodies.py": "is about HTTP",
    "test_slow_clients.py": "is about HTTP",
    "test_hostile.py": "is about HTTP",
}
_IN_PARTITIONS: Final = {
    "test_list_tasks.py::TestListVersion::test_a_client_that_has_this_list_makes_the_database_read"
    "_no_task": "reads the plan of a table that is not partitioned",
    "test_move_task.py::TestSortByPosition::test_a_page_is_read_from_the_index": "the same",
}
_THROUGH_A_POOLER: Final = {
    "test_health.py": "counts lines of the log, where a pooler adds warnings",
    "test_encoding.py": "connects with start-up options, which a pooler refuses",
    "test_database.py": "looks at the connections to the server, which are the pooler's",
    "test_standard_behaviour.py::TestTheApp::test_reports_a_database_that_is_too"
    "_slow": "changes a setting of its session, which other clients would get",
    "test_storms.py::test_requests": "looks at eight connections to the server",
}
_IN_ONE_CONNECTION: Final = {
    "test_standard_behaviour.py::TestATransaction::test_is_begun_by_a_savepoint": "needs two:"
    " while a transaction is open, another session reads",
    "test_standard_behaviour.py::TestATransaction::test_is_committed_at_its_end": "the same",
}
LEFT_OUT: Final = {
    PARTITIONED: _ELSEWHERE | _IN_PARTITIONS,
    "pooled-1": _ELSEWHERE | _THROUGH_A_POOLER | _IN_ONE_CONNECTION,
    "pooled-3": _ELSEWHERE | _THROUGH_A_POOLER,
    WITHOUT_INDEXES: _ELSEWHERE,
}
"""By variant: what it leaves out of tests/integration, by the beginning of the id, and why."""

_routes: Final[dict[str, Callable[[str], str]]] = {}
"""From a server, with its user, to what gives the URL of a pooler in front of it."""


def add_option(parser: pytest.Parser) -> None:
    parser.addoption("--variant", choices=[*LEFT_OUT], help="another way to run the database")


def deselect(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot be tested in the chosen variant."""
    beginnings = tuple(
        f"tests/integration/{test}" for test in LEFT_OUT.get(config.getoption("--variant"), ())
    )
    left_out = [item for item in items if beginnings and item.nodeid.startswith(beginnings)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@contextmanager
def through(url: str, url_of_pooler: Callable[[str], str]) -> Iterator[None]:
    """Let the app connect to all databases of this server and user through a pooler."""
    _routes[urlsplit(url).netloc] = url_of_pooler
    yield
    _routes.clear()


def url_for_app(url: str) -> str:
    """Give the URL by which the app connects to this database."""
    url_of_pooler = _routes.get(urlsplit(url).netloc)
    return url if url_of_pooler is None else url_of_pooler(url)


def read_no_index(url: str, role: str) -> None:
    """Let the statements of this role read no index, on all databases of the server."""
    with psycopg.connect(url) as connection:
        for kind in ("indexscan", "indexonlyscan", "bitmapscan"):
            connection.execute(
                SQL("ALTER ROLE {} SET {} = off").format(
                    Identifier(role), Identifier(f"enable_{kind}")
                )
            )


def partition(url: str) -> None:
    """Make the empty tables of this database partitioned, with the same constraints and indexes."""
    with psycopg.connect(url) as connection:
        for table in _TABLES:
            plain = f"{table}_plain"
            names = connection.execute(
                "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass",
                [table],
            ).fetchall()
            for kind, name in [("TABLE", table), *(("INDEX", name) for (name,) in names)]:
                connection.execute(
                    SQL(f"ALTER {kind} {{}} RENAME TO {{}}").format(
                        Identifier(name), Identifier(f"{name}_plain")
                    )
                )
            connection.execute(
                SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL) PARTITION BY HASH (user_id)").format(
                    Identifier(table), Identifier(plain)
                )
            )
            for number in range(_PARTITIONS):
                connection.execute(
                    SQL(
                        "CREATE TABLE {} PARTITION OF {} FOR VALUES WITH (MODULUS {}, REMAINDER {})"
                    ).format(
                        Identifier(f"{table}_{number}"),
                        Identifier(table),
                        Literal(_PARTITIONS),
                        Literal(number),
                    )
                )
            connection.execute(SQL("DROP TABLE {}").format(Identifier(plain)))
