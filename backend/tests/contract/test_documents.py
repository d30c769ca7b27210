"""The commands of the documents work as they stand, and answer what the documents say.

Each document is one bash; its `sh` and `bash` blocks run from top to bottom. A `json` or `text`
block is what the shell block before it prints, where `…` stands for anything: in JSON as a whole
value, as a part of a string, or as the name of further members; in text for any characters. A
`version` stands for any version.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from src.config import ROOT
from tests.contract.markdown import Fence, fences, section
from tests.processes import free_port, server

DOCUMENTS: Final = ("README.md", "specs/002-backend-database/quickstart.md")
ADDRESS: Final = "127.0.0.1:8000"
ANYTHING: Final = "…"
_RATES: Final = "Requests per second"
PATIENCE: Final = 250  # s

NOT_RUN: Final = {
    "make": "starts the server, which the test has done, or the tests themselves",
    "git": "fetches the repository, which is here",
}
"""The commands that are not run again, and why."""


class Step(NamedTuple):
    """A shell block and, if the document shows it, what the block prints."""

    shell: Fence
    output: Fence | None


def steps(text: str) -> list[Step]:
    found: list[Step] = []
    for fence in fences(text):
        if fence.language in ("sh", "bash"):
            found.append(Step(fence, None))
        elif fence.language in ("json", "text"):
            is_printed = found and found[-1].output is None
            assert is_printed, f"line {fence.line}: there is no shell block that prints this"
            found[-1] = found[-1]._replace(output=fence)
    return found


def is_run(line: str) -> bool:
    return not NOT_RUN.keys() & set(command(line)[:1])


def command(line: str) -> list[str]:
    """Give the words of a command, without the variables that are set for it."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # a quote that goes on in the next line
        return []
    while words and re.match(r"\w+=", words[0]):
        words.pop(0)
    return words


def script(blocks: list[Step], checkout: Path, printed: Path) -> str:
    """Write one script of all blocks, each of which prints into a file of its own."""
    lines = [f"cd {shlex.quote(str(checkout))}"]
    for number, block in enumerate(blocks):
        run = filter(is_run, block.shell.text.splitlines())
        lines += ["{", ":", *run, f"}} >{shlex.quote(str(printed))}/{number}"]
    return "\n".join(lines) + "\n"


def is_like(actual: Any, expected: Any) -> bool:
    """Whether a JSON value is the expected one, where `…` stands for anything."""
    if expected == ANYTHING:
        return True
    if isinstance(expected, dict) and isinstance(actual, dict):
        named = expected.keys() - {ANYTHING}
        return (actual.keys() >= named if ANYTHING in expected else actual.keys() == named) and all(
            type(actual[name]) is int
            if name == "version"
            else is_like(actual[name], expected[name])
            for name in named
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(is_like, actual, expected))
    if isinstance(expected, str) and isinstance(actual, str):
        return is_like_text(actual, expected)
    return type(actual) is type(expected) and bool(actual == expected)


def is_like_text(actual: str, expected: str) -> bool:
    pattern = ".*".join(map(re.escape, expected.split(ANYTHING)))
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


def check_output(output: str, expected: Fence) -> None:
    if expected.language == "json":
        assert is_like(json.loads(output), json.loads(expected.text)), output
    else:
        lines = "\n".join(line.rstrip() for line in output.splitlines())
        assert is_like_text(lines, expected.text.rstrip("\n")), output


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the repository: what a block makes there is not left behind."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.name not in (".git", ".env", ".data"):
            (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.requirement("SC-001")
def test_the_commands_work_and_print_what_the_documents_show(
    checkout: Path, tmp_path: Path
) -> None:
    """As a person tries them: one document after the other, on one server."""
    with server(tmp_path / "server", PORT=str(port := free_port())) as running:
        running.wait_until_it_serves()
        for name in DOCUMENTS:
            blocks = steps((ROOT / name).read_text().replace(ADDRESS, f"127.0.0.1:{port}"))
            printed = tmp_path / Path(name).stem
            printed.mkdir()
            shell = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script(blocks, checkout, printed)],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE,
                check=False,
            )

            last = blocks[len(list(printed.iterdir())) - 1].shell
            assert shell.returncode == 0, f"{name}, line {last.line}: {last.text}{shell.stderr}"
            for number, block in enumerate(blocks):
                if block.output:
                    check_output((printed / str(number)).read_text(), block.output)


@pytest.mark.requirement("SC-001")
@pytest.mark.parametrize("name", DOCUMENTS)
class TestDocument:
    def test_it_shows_what_some_of_its_commands_print(self, name: str) -> None:
        blocks = steps((ROOT / name).read_text())
        assert [block for block in blocks if block.output]

    def test_the_targets_of_make_that_it_names_are_there(self, name: str) -> None:
        makes = re.compile(r"^(?:[^\n`]*`|\w+=\S+ +)?make (\w+)", re.MULTILINE)
        named = makes.findall((ROOT / name).read_text())
        makefile = (ROOT / "Makefile").read_text()
        assert named
        assert not [target for target in named if f"\n{target}:" not in makefile]


@pytest.mark.requirement("SC-001")
def test_the_figures_of_performance_are_those_of_the_last_benchmark() -> None:
    rows = re.compile(r"^\| ([a-z][^|]+?) \| (\d.*) \|$", re.MULTILINE)
    report = section(ROOT / "backend" / "benchmarks" / "results" / "report.md", _RATES)
    measured = {name: figures.split(" | ") for name, figures in rows.findall(report)}

    shown = rows.findall((ROOT / "specs/002-backend-database/performance.md").read_text())

    assert len(shown) == 7
    for name, figures in shown:
        task_api, _first_build, *others = measured[name]
        assert figures.split(" | ") == [task_api, *others]


class TestComparison:
    """What the comparison of the outputs takes for the same, and what not."""

    @pytest.mark.parametrize(
        ("actual", "expected"),
        [
            ({"id": "x", "n": 1}, {"id": "…", "n": 1}),
            ({"at": "2026-01-01T00:00:00Z"}, {"at": "2026-…Z"}),
            ([{"id": 1}], ["…"]),
            ({"a": [1, None]}, {"a": "…"}),
            ({"id": 1, "a": 2}, {"id": "…", "…": "…"}),
            ({"version": 2}, {"version": 1}),
        ],
    )
    def test_an_ellipsis_stands_for_anything(self, actual: object, expected: object) -> None:
        assert is_like(actual, expected)

    @pytest.mark.parametrize(
        ("actual", "expected"),
        [
            ({"id": "x"}, {}),
            ({}, {"id": "…"}),
            ([1, 2], ["…"]),
            ([], ["…"]),
            ("2025-01-01", "2026-…"),
            (1, True),
            (None, {}),
            ({"a": 2}, {"id": "…", "…": "…"}),
            ({"version": "2"}, {"version": 1}),
        ],
    )
    def test_all_else_is_compared(self, actual: object, expected: object) -> None:
        assert not is_like(actual, expected)
