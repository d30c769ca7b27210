"""The files in `deploy`, as far as they can be tested without systemd and Docker running.

The image is not built: its files are copied as the Dockerfile says, and its commands are run on
them. `deploy/nginx.conf` is tested with nginx, in `test_slow_clients.py`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import psutil
import pytest
import yaml
from pydantic import SecretStr

from src import cli
from src.config import ROOT, Settings
from tests.processes import PATIENCE, free_port, wait_until

DEPLOY: Final = ROOT / "deploy"
UNITS: Final = sorted(DEPLOY.glob("*.service"))
PYTHON: Final = "/opt/task-api/.venv/bin/python"
COMMANDS: Final = {command.name for command in cli.app.registered_commands}


def seconds(text: str) -> float:
    """Read a time such as `20`, `20s` or `1m`."""
    number, unit = re.fullmatch(r"(\d+)(s|m|)", text).groups()  # type: ignore[union-attr]  # or the test fails
    return float(number) * (60 if unit == "m" else 1)


@pytest.mark.requirement("FR-157")
class TestTheUnits:
    @pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
    def test_each_is_valid(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / path.name).write_text(path.read_text().replace(PYTHON, sys.executable))
        done = subprocess.run(
            [systemd_analyze(), "verify", "--man=no", tmp_path / path.name],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    @pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
    def test_each_runs_a_command_as_a_user_without_rights(self, path: Path) -> None:
        service = section_of(path, "Service")
        *_, python, option, module, command = service["ExecStart"].split()
        assert (python, option, module) == (PYTHON, "-m", "src")
        assert command in COMMANDS
        assert service["DynamicUser"] == "yes"

    def test_each_server_has_its_own_port_whatever_the_settings_say(self) -> None:
        service = section_of(DEPLOY / "task-api@.service", "Service")
        assert service["ExecStart"].startswith("/usr/bin/env PORT=%i ")

    def test_requests_have_time_to_finish(self) -> None:
        service = section_of(DEPLOY / "task-api@.service", "Service")
        assert seconds(service["TimeoutStopSec"]) > cli._SHUTDOWN_TIMEOUT + 5


def section_of(path: Path, name: str) -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keeps the case of names
    parser.read(path)
    return dict(parser[name])


def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None and "CI" not in os.environ:
        pytest.skip("there is no systemd-analyze here")
    assert found, "the units are tested with systemd-analyze: install systemd"
    return found


class Instruction(NamedTuple):
    name: str
    rest: str


def stages() -> list[list[Instruction]]:
    """Read the Dockerfile; each stage begins with a FROM."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    found: list[list[Instruction]] = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, rest = line.split(maxsplit=1)
            if name == "FROM":
                found.append([])
            found[-1].append(Instruction(name, rest))
    return found


def copied(stage: list[Instruction]) -> list[tuple[Path, str]]:
    """What a stage copies from the repository, and where to."""
    copies = [one.rest.split() for one in stage if one.name == "COPY"]
    return [
        (ROOT / source, target)
        for source, target in (words[-2:] for words in copies if not words[0].startswith("--from"))
    ]


class Image:
    """The last stage of the Dockerfile, in a folder instead of a container."""

    def __init__(self, root: Path) -> None:
        self._root = root
        *_, stage = stages()
        self._has = {one.name: one.rest for one in stage}
        for source, target in copied(stage):
            place = self._at(target)
            place.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, dirs_exist_ok=True)
            else:
                shutil.copy(source, place)
        python = self._at("/venv/bin/python")
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)

    def start(self, *command: str, **settings: str) -> psutil.Popen:
        """Run a command, or the one that a container runs if none is given."""
        entry_point = json.loads(self._has["ENTRYPOINT"])
        return self._run([*entry_point, *(command or json.loads(self._has["CMD"]))], settings)

    def check_health(self, **settings: str) -> int:
        """Run the health check; give its exit code."""
        _, check = self._has["HEALTHCHECK"].split(" CMD ")
        return int(self._run(json.loads(check), settings).wait(PATIENCE))

    def _run(self, command: list[str], settings: dict[str, str]) -> psutil.Popen:
        environment = dict(word.split("=", 1) for word in self._has["ENV"].split())
        environment["PATH"] = environment["PATH"].replace("/venv", f"{self._root}/venv")
        with (self._root / "output").open("ab") as output:
            return psutil.Popen(
                command,
                cwd=self._at(self._has["WORKDIR"]),
                env={**environment, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _at(self, path: str) -> Path:
        return self._root / path.removeprefix("/")


@pytest.mark.requirement("FR-158")
class TestTheImage:
    def test_has_all_files_that_the_commands_need(
        self, make_empty_database: Callable[[], str], tmp_path: Path
    ) -> None:
        image = Image(tmp_path)
        port = str(free_port())
        settings = {"DATABASE_URL": make_empty_database(), "PORT": port, "HOST": "127.0.0.1"}

        assert image.start("migrate", **settings).wait(PATIENCE) == 0
        process = image.start(**settings)
        try:
            wait_until(lambda: image.check_health(**settings) == 0 or process.poll() is not None)
            assert process.poll() is None, (tmp_path / "output").read_text()
            assert httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
        finally:
            process.terminate()

        assert process.wait(PATIENCE) == 0
        assert image.check_health(**settings) != 0

    def test_is_built_from_files_that_are_there_and_from_no_others(self) -> None:
        *_, name = (DEPLOY / "Dockerfile.dockerignore").read_text().partition("*\n")
        allowed = [ROOT / line[1:] for line in name.splitlines() if line.startswith("!")]
        sources = [source for stage in stages() for source, _ in copied(stage)]

        assert sorted(sources) == sorted(allowed)
        assert all(source.exists() for source in sources)

    def test_runs_as_a_user_without_rights(self) -> None:
        *_, stage = stages()
        (user,) = (one.rest for one in stage if one.name == "USER")
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@pytest.mark.requirement("FR-158")
class TestTheComposeFile:
    @pytest.fixture
    def services(self) -> dict[str, Any]:
        text = (DEPLOY / "compose.yaml").read_text()
        services: dict[str, Any] = yaml.safe_load(
            re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: found[1].lower(), text)
        )["services"]
        return services

    @pytest.mark.parametrize("name", ["migrate", "api"])
    def test_builds_and_runs_the_image(self, services: dict[str, Any], name: str) -> None:
        service = services[name]
        context = (DEPLOY / service["build"]["context"]).resolve()
        assert context == ROOT
        assert (context / service["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
        assert set(service.get("command", [])) <= COMMANDS
        settings = {name.lower(): value for name, value in service["environment"].items()}
        url = SecretStr(settings.pop("database_url"))
        assert set(settings) <= set(Settings.model_fields)
        assert Settings(database_url=url, **settings).database_url == url

    def test_migrates_before_it_serves(self, services: dict[str, Any]) -> None:
        assert services["migrate"]["command"] == ["migrate"]
        assert services["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
        order = {"migrate": {"condition": "service_completed_successfully"}}
        assert services["api"]["depends_on"] == order

    def test_serves_this_machine_only(self, services: dict[str, Any]) -> None:
        ports = [port for service in services.values() for port in service.get("ports", [])]
        assert ports == ["127.0.0.1:8000:8000"]

    def test_requests_have_time_to_finish(self, services: dict[str, Any]) -> None:
        assert seconds(services["api"]["stop_grace_period"]) > cli._SHUTDOWN_TIMEOUT + 5
