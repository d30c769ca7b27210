"""Every test that a variant leaves out exists, and its reason is given."""

import ast
from pathlib import Path
from typing import Final

import pytest

from tests import variants

INTEGRATION: Final = Path(__file__).parents[1] / "integration"


@pytest.mark.requirement("FR-133")
@pytest.mark.parametrize("variant", variants.LEFT_OUT)
def test_what_a_variant_leaves_out_exists(variant: str) -> None:
    for beginning, reason in variants.LEFT_OUT[variant].items():
        file, *names = beginning.split("::")
        defined = [
            node.name
            for node in ast.walk(ast.parse((INTEGRATION / file).read_text()))
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        assert reason
        for name in names:
            assert any(known.startswith(name) for known in defined), beginning
