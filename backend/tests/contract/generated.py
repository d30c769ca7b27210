"""The parts of the documents that are generated from the code.

They stand between `<!-- NAME:start -->` and `<!-- NAME:end -->`. `make contract` writes them, and a
test compares them. The OpenAPI document is generated as a whole.
"""

import ast
import importlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import date
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final

from pydantic import SecretStr

from src.api.problems import RULES, Kind
from src.api.violations import UNFORESEEN, VIOLATIONS
from src.config import ROOT, Settings
from src.main import create_app
from src.models import limits
from tests import http_edge

SOURCES: Final = ROOT / "backend" / "src"
CONTRACTS: Final = ROOT / "specs" / "002-backend-database" / "contracts"
OPENAPI: Final = CONTRACTS / "openapi.json"


def openapi() -> dict[str, Any]:
    """Make the document that the app serves. No database is needed for that."""
    settings = Settings(database_url=SecretStr("postgresql://127.0.0.1/none"))
    return create_app(settings).openapi()


def openapi_text() -> str:
    return json.dumps(openapi(), indent=2) + "\n"


def limits_table() -> str:
    """Make the table of all named limits, with the words that stand below each."""
    return _table(
        ("limit", "value", "what it says"),
        [
            (f"`{name}`", _value(getattr(limits, name)), note)
            for name, note in _noted_constants(limits).items()
        ],
    )


def problems_table() -> str:
    """Make the two tables of codes: of the problems, and of the violations that a 422 lists."""
    kinds = _table(
        ("status", "code", "title", "what it says"),
        [(str(kind.status), f"`{kind.code}`", kind.title, kind.detail) for kind in Kind],
    )
    rules = _table(
        ("code", "what it says"),
        [
            (
                f"`{code}`",
                "<br>".join(dict.fromkeys(re.sub(r"\{\w+\}", "…", text) for text in texts)),
            )
            for code, texts in sorted(violations().items())
        ],
    )
    return f"{kinds}\n\nThe codes in `errors`; in a batch, also those above:\n\n{rules}"


BLOCKS: Final = MappingProxyType(
    {"limits": limits_table, "problems": problems_table, "http_edge": http_edge.table}
)


def documents() -> Iterator[tuple[Path, str]]:
    """Give every document that holds something generated, and the text that it should have."""
    yield OPENAPI, openapi_text()
    for path in markdown_files():
        text = path.read_text()
        if any(_block(name).search(text) for name in BLOCKS):
            yield path, _with_blocks(text)


def markdown_files() -> Iterator[Path]:
    """Give every Markdown file of the repository that is ours."""
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            is_ours = not path.name.startswith(".") and path.name != "node_modules"
            if path.is_dir() and is_ours and not path.is_symlink():
                folders.append(path)
            elif path.suffix == ".md":
                yield path


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)", re.DOTALL)


def _with_blocks(text: str) -> str:
    for name, generate in BLOCKS.items():
        text = _block(name).sub(_between_marks(generate), text)
    return text


def _between_marks(generate: Callable[[], str]) -> Callable[[re.Match[str]], str]:
    return lambda marks: f"{marks[1]}\n{generate()}\n\n{marks[2]}"


def _noted_constants(module: ModuleType) -> dict[str, str]:
    """Give the constants of a module, each with the first sentence of the text below it."""
    statements = ast.parse(Path(str(module.__file__)).read_text()).body
    notes: dict[str, str] = {}
    for constant, below in zip_longest(statements, statements[1:]):
        if isinstance(constant, ast.AnnAssign):
            text = ast.literal_eval(below.value) if isinstance(below, ast.Expr) else ""
            sentence = " ".join(text.split()).split(". ")[0].rstrip(".")
            notes[ast.unparse(constant.target)] = sentence
    return notes


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    if isinstance(value, date):
        return f"`{value.isoformat()}`"
    if isinstance(value, str) and not value.isascii():
        return ", ".join(f"U+{ord(character):04X}" for character in value)
    return f"`{value}`" if isinstance(value, str) else str(value)


def violations() -> dict[str, list[str]]:
    """Give every code that an entry of `errors` can have, each with its details."""
    found: dict[str, list[str]] = {}
    for code, detail in (*VIOLATIONS.values(), *_own_rules(), *_failures(), UNFORESEEN):
        # Some pass on what a rule says: they have no text of their own.
        if not detail.startswith("{") and detail not in found.setdefault(code, []):
            found[code].append(detail)
    return found


def _own_rules() -> Iterator[tuple[str, str]]:
    """Give the code and the detail of each `broken_rule(...)` in the sources."""
    for path in sorted(SOURCES.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "broken_rule"):
                continue
            name = ".".join(path.relative_to(SOURCES.parent).with_suffix("").parts)
            # Evaluated in its own module, an f-string shows its limits.
            words = vars(importlib.import_module(name))
            code, detail = (eval(ast.unparse(part), words) for part in call.args)  # noqa: S307 — our own code
            yield code, detail


def _failures() -> Iterator[tuple[str, str]]:
    """Give the failures of the domain that break a rule."""
    for failure, (_, detail) in RULES.items():
        yield failure.code, detail


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
