"""What the documents hold of the code is what the code says now."""

import re

import pytest

from src.config import ROOT
from tests.contract import generated

pytestmark = pytest.mark.requirement("FR-046")


def test_every_generated_text_in_the_documents_is_current() -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in generated.documents()
        if not path.exists() or path.read_text() != text
    ]
    assert not stale, "`make contract` brings these up to date"


@pytest.mark.parametrize("name", generated.BLOCKS)
def test_every_block_stands_in_exactly_one_document(name: str) -> None:
    mark = f"<!-- {name}:start -->"
    assert sum(path.read_text().count(mark) for path in generated.markdown_files()) == 1


def test_every_mark_in_the_documents_belongs_to_a_block_that_is_known() -> None:
    texts = [path.read_text() for path in generated.markdown_files()]
    assert {name for text in texts for name in re.findall(r"<!-- (\w+):start -->", text)} == set(
        generated.BLOCKS
    )
