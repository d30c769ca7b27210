"""The commands of the Makefile, in a folder whose name a shell would take apart."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from src.config import ROOT

pytestmark = pytest.mark.requirement("FR-103")

FOLDER: Final = "Mike's task api & more"
PROGRAMS: Final = ("python", "ruff", "lint-imports", "mypy", "uv")
SHOW: Final = '#!/bin/sh\necho "${PWD##*/}: ${0##*/} $*"\n'
LOCK: Final = (
    "uv pip compile --universal --python-version 3.11 --upgrade --generate-hashes"
    " --no-emit-index-url --custom-compile-command make lock -q"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with nothing but the Makefile and the lists of packages, which are empty."""
    project = tmp_path / FOLDER
    for folder in ("benchmarks", "tests/clients"):
        (project / "backend" / folder).mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", project)
    for name in ("requirements-run.txt", "requirements-dev.txt"):
        (project / "backend" / name).touch()
    return project


@pytest.fixture
def installed(project: Path) -> Path:
    """The same with an environment whose programs show where and with what they are called."""
    programs = project / ".venv" / "bin"
    programs.mkdir(parents=True)
    for program in (*(programs / name for name in PROGRAMS), project / "backend" / "check-lists"):
        program.write_text(SHOW)
        program.chmod(0o755)
    for name in (".run", ".dev"):
        (project / ".venv" / name).touch()
    return project


def make(project: Path, target: str) -> list[str]:
    """Run make; give the lines that the programs have printed."""
    done = subprocess.run(
        ["make", "--silent", target],
        cwd=project,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("target", "calls"),
    [
        ("run", ["backend: python -m dev"]),
        ("test", ["backend: python -m pytest"]),
        ("types", ["backend: mypy "]),
        (
            "lint",
            ["backend: ruff format --check .", "backend: ruff check .", "backend: lint-imports "],
        ),
        (
            "check",
            [
                "backend: ruff format --check .",
                "backend: ruff check .",
                "backend: lint-imports ",
                "backend: mypy ",
                "backend: python -m pytest",
            ],
        ),
        (
            "coverage",
            [
                "backend: python -m pytest -m not chaos and not clients --cov --cov-report=term",
            ],
        ),
        ("format", ["backend: ruff format .", "backend: ruff check --fix ."]),
        ("contract", ["backend: python -m tests.contract.write"]),
        ("picture", ["backend: python -m tests.picture"]),
        (
            "lock",
            [
                f"backend: {LOCK} pyproject.toml --group dev -o requirements-dev.txt",
                f"backend: {LOCK} pyproject.toml --group run -c requirements-dev.txt"
                " -o requirements-run.txt",
                f"backend: {LOCK} pyproject.toml -c requirements-dev.txt -o requirements.txt",
                f"benchmarks: {LOCK} requirements.in -o requirements.txt",
                f"clients: {LOCK} requirements.in -o requirements.txt",
            ],
        ),
        ("lists", [f"{FOLDER}: check-lists ../.venv/bin"]),
    ],
)
def test_each_calls_its_programs(installed: Path, target: str, calls: list[str]) -> None:
    assert make(installed, target) == calls


@pytest.mark.slow
def test_the_environment_is_made_there(project: Path) -> None:
    make(project, ".venv/.run")

    assert (project / ".venv" / ".run").exists()
    program = [str(project / ".venv" / "bin" / "pip"), "--version"]
    shown = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert str(project) in shown
    make(project, "clean")
    assert not (project / ".venv").exists()
