"""The plan and the time of each kind of list in PostgreSQL: `python -m benchmarks.explain --help`.

It fills a database of its own with made-up tasks and runs EXPLAIN (ANALYZE, BUFFERS) on the
statements of the service. `--index` adds an index first, to show what it is worth. ADR 0010 uses
these figures.
"""

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from dev.postgres import local_postgres
from src import revisions
from src.schemas.query import TaskListQuery
from src.services import listing
from src.services.changes import LIST_CHANGES
from src.services.cursors import encode_cursor
from src.services.statements import USER, tasks

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
USER_ID = "user-1"
REPEAT = 3
CHUNK = 250_000

# A third of the tasks has no due date, a third a `due_date`, a third a `due_at`. Three of five are
# completed, one in a hundred is tagged `rare`, and one in ten `often`. Ids are in the order of
# creation, as UUIDv7s are.
FILL = """
    INSERT INTO tasks (user_id, id, title, description, is_completed, completed_at, priority,
                       due_date, due_at, tags, version, created_at, updated_at)
    SELECT 'user-' || n %% %(users)s + 1,
           (lpad(to_hex(n), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid,
           initcap(substr(md5(n::text), 1, 8)) || ' ' || repeat(substr(md5(n::text), 9, 6), 4),
           CASE WHEN n %% 2 = 0 THEN repeat(md5(n::text) || ' ', 4) END,
           n %% 5 < 3, CASE WHEN n %% 5 < 3 THEN at + interval '1 day' END,
           (enum_range(NULL::task_priority))[1 + (hashint8(n) & 3)],
           CASE WHEN n %% 3 = 1 THEN (at + shift)::date END,
           CASE WHEN n %% 3 = 2 THEN at + shift END,
           CASE WHEN n %% 100 = 0 THEN '{rare}'::text[] WHEN n %% 10 = 0 THEN '{often,home}'
                ELSE '{}' END,
           n / %(users)s + 1, at, at + shift / 8
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) n,
         LATERAL (SELECT timestamptz '2024-01-01 00:00:00Z'
                         + n * interval '30 months' / %(tasks)s AS at,
                         (hashint8extended(n, 7) & 255) * interval '1 day' AS shift) made
"""

LISTS = {
    "newest first": {},
    "-updated_at": {"sort": "-updated_at"},
    "due": {"sort": "due", "tz": "Europe/Berlin"},
    "due, the open ones": {"sort": "due", "is_completed": "false", "tz": "Europe/Berlin"},
    "-priority": {"sort": "-priority"},
    "-priority,due": {"sort": "-priority,due"},
    "title": {"sort": "title"},
    "position": {"sort": "position"},
    "position, limit 1000": {"sort": "position", "limit": "1000"},
    "open": {"is_completed": "false"},
    "priority=high": {"priority": "high"},
    "tag=rare": {"tag": "rare"},
    "tag=none": {"tag": "nowhere"},
    "q, often found": {"q": "Ab"},
    "q, never found": {"q": "not there"},
    "due=overdue": {"due": "overdue", "tz": "Europe/Berlin"},
    "due=today": {"due": "today", "tz": "Europe/Berlin"},
    "due in a week, by due": {"due_after": "2026-06-15", "due_before": "2026-06-22", "sort": "due"},
    "created in a day": {
        "created_after": "2025-06-01T00:00:00Z",
        "created_before": "2025-06-02T00:00:00Z",
    },
    "updated in a day": {"updated_after": "2026-09-30T00:00:00Z", "sort": "updated_at"},
    "newest first, total": {"include_total": "true"},
    "open, total": {"is_completed": "false", "include_total": "true"},
    "newest first, limit 1000": {"limit": "1000"},
}


def compiled(statement, parameters):
    text = statement.compile(dialect=PGDialect_psycopg())
    return str(text), text.construct_params(parameters)


def explain(connection, statement, parameters):
    """Run a statement several times; give the median milliseconds, the pages read and the scans."""
    text, values = compiled(statement, parameters)
    plans = [
        connection.execute(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + text, values
        ).fetchone()[0][0]
        for _ in range(REPEAT)
    ]
    plan = plans[-1]["Plan"]
    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    scans = sorted({scan for scan in _scans(plan) if "task_lists" not in scan})
    return statistics.median(found["Execution Time"] for found in plans), pages, "; ".join(scans)


def _scans(node: dict[str, Any]):
    name = node.get("Index Name") or node.get("Relation Name")
    if name and node["Node Type"] != "Bitmap Index Scan" and node["Actual Loops"]:
        yield f"{node['Node Type']} {name}"
    for child in node.get("Plans", ()):
        yield from _scans(child)


def deep_cursor(connection, query: TaskListQuery, count: int) -> str:
    """Make the cursor of the row in the middle of the user's tasks."""
    columns = listing.sort_columns(query.sort_keys)
    keys = (
        select(*(column.value.label(f"key_{n}") for n, column in enumerate(columns)))
        .where(tasks.c.user_id == USER)
        .order_by(*(column.order(column.value) for column in columns))
        .offset(count // 2)
        .limit(1)
    )
    values = {"the_user": USER_ID, **listing.time_parameters(NOW, query.tz)}
    row = connection.execute(*compiled(keys, values)).fetchone()
    return encode_cursor(list(row), user_id=USER_ID, query=query.identity)


def fill(connection, users: int, count: int) -> None:
    started = time.monotonic()
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count) - 1
        connection.execute(FILL, {"users": users, "tasks": count, "first": first, "last": last})
    connection.execute(
        "INSERT INTO task_lists SELECT user_id, max(version) FROM tasks GROUP BY user_id"
    )
    # One task in ten was deleted.
    connection.execute(
        "WITH gone AS (DELETE FROM tasks WHERE version % 10 = 0 RETURNING *)"
        " INSERT INTO task_tombstones SELECT user_id, id, version, updated_at FROM gone"
    )
    for table in ("tasks", "task_lists", "task_tombstones"):
        connection.execute(f"VACUUM ANALYZE {table}")
    print(f"{count} tasks of {users} users in {time.monotonic() - started:.0f} s\n", flush=True)


def show(connection, count: int) -> None:
    print("| list | first page, ms | pages read | page in the middle, ms | pages read | scans |")
    print("|---|---|---|---|---|---|")
    for name, parameters in LISTS.items():
        query = TaskListQuery.model_validate(parameters)
        cells = []
        for cursor in (None, deep_cursor(connection, query, count)):
            page = query.model_copy(update={"cursor": cursor})
            statement, values = listing.list_tasks(USER_ID, page, now=NOW, seen=frozenset())
            ms, pages, scans = explain(connection, statement, values)
            cells += [f"{ms:.1f}", str(pages)]
        print(f"| {name} | {' | '.join(cells)} | {scans} |", flush=True)
    values = {"the_user": USER_ID, **listing.time_parameters(NOW, "Europe/Berlin")}
    ms, pages, scans = explain(connection, listing.GET_SUMMARY, values)
    print(f"| summary | {ms:.1f} | {pages} | | | {scans} |", flush=True)


def show_changes(connection, count: int) -> None:
    """Show what the changes cost a client that was away for 30 days, and one that starts."""
    newest = connection.execute("SELECT max(version) FROM tasks").fetchone()[0]
    away = newest - count // 30  # the tasks are of 30 months
    print("\n| changes | limit | ms | pages read | scans |")
    print("|---|---|---|---|---|")
    for name, since in (("after 30 days away", away), ("from the start", 0)):
        for limit in (50, 1000):
            values = {"the_user": USER_ID, "since": since, "limit": limit, "versions": []}
            ms, pages, scans = explain(connection, LIST_CHANGES, values)
            print(f"| {name} | {limit:,} | {ms:.2f} | {pages} | {scans} |", flush=True)


def show_writes(connection) -> None:
    """Show the cost of a change of one task: one statement changes up to two thousand."""
    change = """
        EXPLAIN (ANALYZE, WAL, FORMAT JSON)
        UPDATE tasks SET title = title || '.', version = version + 1,
                         updated_at = updated_at + interval '1 second'
        WHERE (user_id, id) IN (SELECT user_id, id FROM tasks WHERE user_id = %s
                                ORDER BY created_at DESC LIMIT 2000)"""
    with connection.transaction(force_rollback=True):
        ((plan,),) = connection.execute(change, [USER_ID]).fetchone()
    count = plan["Plan"]["Plans"][0]["Actual Rows"]
    us, wal = plan["Execution Time"] * 1000 / count, plan["Plan"]["WAL Bytes"] / count
    print(f"\na change: {us:.0f} us, {wal:.0f} bytes of WAL\n", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.explain")
    arguments.add_argument("--tasks", type=int, default=1_000_000)
    arguments.add_argument("--users", type=int, default=1)
    arguments.add_argument("--index", action="append", default=[], help="SQL after CREATE INDEX ON")
    arguments.add_argument("--bare", action="store_true", help="first without these indexes")
    chosen = arguments.parse_args()
    # The data fits into memory, as it would on a small server.
    options = {"shared_buffers": "512MB", "max_wal_size": "4GB", "fsync": "off"}
    with tempfile.TemporaryDirectory() as folder, local_postgres(Path(folder), options) as server:
        url = server.superuser_url
        revisions.upgrade(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET statement_timeout = 0")
            fill(connection, chosen.users, chosen.tasks)
            count = chosen.tasks // chosen.users
            if chosen.bare or not chosen.index:
                show(connection, count)
                show_changes(connection, count)
                show_writes(connection)
            for index in chosen.index:
                started = time.monotonic()
                connection.execute(f"CREATE INDEX ON tasks {index}")
                print(f"index {index}: {time.monotonic() - started:.0f} s")
            if chosen.index:
                connection.execute("VACUUM ANALYZE tasks")
                show(connection, count)
                show_writes(connection)
            for row in connection.execute(
                "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) / 1048576"
                " FROM pg_index WHERE indrelid = 'tasks'::regclass"
            ):
                print(*row, "MB")
            print(
                "tasks",
                connection.execute("SELECT pg_relation_size('tasks') / 1048576").fetchone()[0],
                "MB",
            )


if __name__ == "__main__":
    main()
