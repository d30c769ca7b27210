"""Every requirement has a test and a task, and no test and no task names one that is none."""

import ast
import re
from collections.abc import Iterator
from typing import Final

import pytest

from src.config import ROOT

pytestmark = pytest.mark.requirement("FR-046")

_SPECIFICATION: Final = ROOT / "specs" / "002-backend-database" / "spec.md"
_TASKS: Final = _SPECIFICATION.with_name("tasks.md")
_TESTS: Final = ROOT / "backend" / "tests"
_DEFINITION: Final = re.compile(r"^- \*\*((?:FR|SC)-\d{3})\*\*", re.MULTILINE)
_NAMED: Final = re.compile(r"\b(FR|SC)-(\d{3})(?: to \1-(\d{3}))?")


def defined() -> list[str]:
    return _DEFINITION.findall(_SPECIFICATION.read_text())


def claimed() -> Iterator[tuple[str, str]]:
    """Give each id that a requirement mark names, wherever it stands, and the place."""
    for path in sorted(_TESTS.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("mark.requirement"):
                place = f"{path.relative_to(_TESTS)}:{call.lineno}"
                assert not call.keywords, f"{place}: the mark takes ids only"
                for argument in call.args:
                    yield str(ast.literal_eval(argument)), place


def planned() -> Iterator[str]:
    """Give each id in the list of tasks, and those between the two ends of a range."""
    for kind, first, last in _NAMED.findall(_TASKS.read_text()):
        for number in range(int(first), int(last or first) + 1):
            yield f"{kind}-{number:03}"


def test_every_requirement_is_shown_to_hold_by_a_test() -> None:
    assert not sorted(set(defined()) - {name for name, _ in claimed()}), "no test is marked"


def test_every_mark_names_a_requirement() -> None:
    known = set(defined())
    assert not [f"{place}: {name}" for name, place in claimed() if name not in known]


def test_the_tasks_name_every_requirement_and_nothing_else() -> None:
    assert set(planned()) == set(defined())


@pytest.mark.parametrize("kind", ["FR", "SC"])
def test_the_requirements_are_numbered_in_order_and_without_gaps(kind: str) -> None:
    names = [name for name in defined() if name.startswith(kind)]
    assert names == [f"{kind}-{number:03}" for number in range(1, len(names) + 1)]
    assert names
