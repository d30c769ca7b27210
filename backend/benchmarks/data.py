"""The database of a run: an embedded PostgreSQL with the application's tables, full of tasks."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks import BACKEND
from dev.postgres import local_postgres

SETTINGS: Final = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
}
"""The data fits into memory, and nothing runs in the background during a run: the harness vacuums
and writes checkpoints between the operations. Commits are durable: fsync is on, the default."""

FIRST_MILLISECOND: Final = 1_735_689_600_000  # 2025-01-01; the same number is in wrk.lua


@dataclass(frozen=True)
class Dataset:
    """How many tasks there are, of how many users.

    Task number n belongs to user n modulo `users`, was created in second n, and has the id that
    `task_id` gives. So wrk.lua can compute the id of a random task, and needs no table of them.
    """

    name: str
    tasks: int
    users: int
    long_lists: Mapping[str, int] = field(default_factory=dict)
    """More users, each with this number of tasks. Their tasks are numbered from 0 too."""


def task_id(number: int) -> str:
    """Give the id of the task with this number; wrk.lua and FILL compute the same."""
    milliseconds = f"{FIRST_MILLISECOND + number * 1000:012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-7000-8000-{number:012x}"


# A task is created in second n, at a microsecond that is never 0, because clock_timestamp() gives
# microseconds: writing a whole second as JSON is a special case that real tasks almost never meet.
# `due_at` is a whole second, because people choose it.
FILL: Final = """
    INSERT INTO tasks (user_id, id, title, description, is_completed, completed_at, priority,
                       due_date, due_at, tags, position, version, created_at, updated_at)
    SELECT coalesce(%(user_id)s, 'u' || lpad((n %% %(users)s)::text, 5, '0')),
           (lpad(to_hex(%(first)s + n * 1000), 12, '0')
               || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
           'Task number ' || n,
           CASE WHEN luck %% 3 > 0 THEN 'What there is to say about task ' || n || ': '
                                     || repeat('a few words more, ', luck %% 5) || 'done.' END,
           luck %% 7 = 0,
           CASE WHEN luck %% 7 = 0 THEN at + interval '1 hour' END,
           (enum_range(NULL::task_priority))[luck %% 4 + 1],
           CASE WHEN luck %% 4 = 1 THEN at::date + 7 END,
           CASE WHEN luck %% 4 = 2 THEN second + interval '7 days' END,
           (ARRAY['home', 'work', 'errand'])[1:luck %% 4],
           lpad((extract(epoch FROM at) * 1000000)::bigint::text, 16, '0'),
           n / %(users)s + 1,
           at,
           at
    FROM generate_series(0::bigint, %(tasks)s - 1) AS n,
         to_timestamp(%(first)s / 1000 + n) AS second,
         LATERAL (SELECT second + (1 + n * 7919 %% 999999) * interval '1 microsecond') made(at),
         abs(hashint8(n) / 2) AS luck
    ORDER BY n
"""
COUNT_VERSIONS: Final = """
    INSERT INTO task_lists (user_id, version)
    SELECT user_id, max(version) FROM tasks GROUP BY user_id
"""


@contextmanager
def database_server(directory: Path) -> Iterator[str]:
    """Run PostgreSQL in `directory`; yield the URL of its first database."""
    with local_postgres(directory, SETTINGS) as server:
        yield server.superuser_url


def create_database(server_url: str, dataset: Dataset) -> str:
    """Create a database, migrate it and fill it; give its URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{dataset.name}"')
    url = urlunsplit(urlsplit(server_url)._replace(path=f"/{dataset.name}"))
    environment = {**os.environ, "DATABASE_URL": url, "DATABASE_URL_UNPOOLED": url}
    migrate = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(migrate, cwd=BACKEND, env=environment, check=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        lists = {None: (dataset.tasks, dataset.users)} | {
            user_id: (tasks, 1) for user_id, tasks in dataset.long_lists.items()
        }
        for user_id, (tasks, users) in lists.items():
            connection.execute(
                FILL,
                {"user_id": user_id, "tasks": tasks, "users": users, "first": FIRST_MILLISECOND},
            )
        connection.execute(COUNT_VERSIONS)
    tidy(url)
    return url


def tidy(url: str) -> None:
    """Bring the tables to the same state before every operation.

    There are no dead rows and no dirty pages, and the planner's statistics are fresh.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def postmaster(url: str) -> int:
    """Give the process id of the database server, the parent of all its processes."""
    with psycopg.connect(url) as connection:
        stat = Path(f"/proc/{connection.info.backend_pid}/stat").read_text()
    return int(stat.rsplit(")", 1)[1].split()[1])
