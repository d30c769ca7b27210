"""What the tests read from Markdown: fences, sections, links and anchors, as GitHub has them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_HEADING: Final = re.compile(r"^(#+) +(.+?)(?: +#+)?$", re.MULTILINE)
_LINK: Final = re.compile(r"\]\(<?([^)>\s]+)>?(?: \"[^\"]*\")?\)|^\[[^\]]+\]: +(\S+)", re.MULTILINE)


class Fence(NamedTuple):
    """A fenced block: the line on which it starts, its language and its text."""

    line: int
    language: str
    text: str


def fences(text: str) -> list[Fence]:
    return [
        Fence(text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in _FENCE.finditer(text)
    ]


def section(path: Path, title: str) -> str:
    """Give what stands under a heading, up to the next one of its level or above."""
    text = path.read_text()
    headings = list(_HEADING.finditer(_blanked(text)))
    (start,) = (found for found in headings if found[2] == title)
    after = (found.start() for found in headings if found.start() > start.start())
    level = {found.start(): len(found[1]) for found in headings}
    end = next((place for place in after if level[place] <= len(start[1])), len(text))
    return text[start.end() : end]


def links(path: Path) -> Iterator[str]:
    """Give the target of every link and image."""
    prose = _CODE.sub("", _blanked(path.read_text()))
    for inline, reference in _LINK.findall(prose):
        yield inline or reference


def anchors(path: Path) -> set[str]:
    """Give the names of the headings, as GitHub makes them."""
    names: list[str] = []
    for found in _HEADING.finditer(_blanked(path.read_text())):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", found[2])
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        again = sum(
            re.fullmatch(rf"{re.escape(name)}(-\d+)?", other) is not None for other in names
        )
        names.append(f"{name}-{again}" if again else name)
    return set(names)


def _blanked(text: str) -> str:
    """Put blanks where the fences are: a comment in a shell block is no heading."""
    return _FENCE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
