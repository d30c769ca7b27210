"""Imports only go down, and what stands once in the code stands nowhere else."""

import ast
import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Final

import pytest
from importlinter.cli import lint_imports

from src.config import ROOT
from src.models import limits

BACKEND: Final = ROOT / "backend"
SOURCES: Final = {
    str(path.relative_to(BACKEND)): ast.parse(path.read_text())
    for path in sorted((BACKEND / "src").rglob("*.py"))
}

READS_THE_ENVIRONMENT: Final = ("environ", "getenv", "environb", "dotenv", "pydantic_settings")
"""The names, of modules or in `os`, by which the environment is read."""


def mentions(tree: ast.AST) -> Iterator[ast.AST]:
    """Give every node that names a reader of the environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        else:
            names = [getattr(node, "attr", "")]
        if any(name.split(".")[0] in READS_THE_ENVIRONMENT for name in names):
            yield node


def numbers(tree: ast.AST) -> Iterator[ast.Constant]:
    """Give every number that is written out, but for the examples of the documentation."""
    if isinstance(tree, ast.Constant) and type(tree.value) is int:
        yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.keyword) and child.arg == "examples"):
            yield from numbers(child)


@pytest.mark.requirement("FR-045")
class TestLayers:
    def test_the_contracts_of_import_linter_are_kept(self) -> None:
        with redirect_stdout(io.StringIO()) as report:
            status = lint_imports(config_filename=str(BACKEND / "pyproject.toml"), no_cache=True)
        assert status == 0, report.getvalue()

    def test_only_the_settings_read_the_environment(self) -> None:
        readers = {name for name, tree in SOURCES.items() if list(mentions(tree))}
        # The second one gives no setting: it finds the faults of `.env`.
        assert readers == {"src/config.py", "src/env_file.py"}


@pytest.mark.requirement("FR-046")
class TestLimits:
    @pytest.mark.parametrize("name", [name for name in SOURCES if "/schemas/" in name])
    def test_the_schemas_repeat_no_named_limit_as_a_number(self, name: str) -> None:
        named = {value for value in vars(limits).values() if isinstance(value, int)}
        repeated = [node for node in numbers(SOURCES[name]) if node.value in named]
        assert not [f"line {node.lineno}: {ast.unparse(node)}" for node in repeated]
