"""The decisions, the records, the changelog, the license and the links: in form, and true."""

import re
import tomllib
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

import src
from src.config import ROOT
from tests.contract.generated import markdown_files
from tests.contract.markdown import anchors, links

pytestmark = pytest.mark.requirement("FR-046")

DECISIONS: Final = ROOT / "history" / "adr"
INDEX: Final = DECISIONS / "README.md"
FEATURE: Final = "002-backend-database"
RECORDS: Final = ROOT / "history" / "prompts" / FEATURE
CHANGELOG: Final = ROOT / "backend" / "CHANGELOG.md"
LICENSE: Final = ROOT / "LICENSE"
PACKAGE: Final = ROOT / "backend" / "pyproject.toml"

_SLUG: Final = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_DECISION: Final = re.compile(rf"(\d{{4}})-{_SLUG}\.md")
_RECORD: Final = re.compile(rf"(\d{{4}})-{_SLUG}\.([a-z]+)\.prompt\.md")
_FRONT_MATTER: Final = re.compile(r"---\n(.*?\n)---\n(.*)", re.DOTALL)
_CHANGES: Final = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def decisions() -> list[Path]:
    return sorted(path for path in DECISIONS.glob("*.md") if path != INDEX)


def records() -> list[Path]:
    return sorted(RECORDS.glob("*"))


def headings(text: str, level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", text, re.MULTILINE)


def numbers(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """Give the number in each name; every one of them must have the form."""
    found = [pattern.fullmatch(path.name) for path in paths]
    assert all(found), [path.name for path in paths if not pattern.fullmatch(path.name)]
    return [match[1] for match in found if match]


def is_day(text: str) -> bool:
    return date.fromisoformat(text).isoformat() == text


def counted(paths: list[Path]) -> list[str]:
    return [f"{number:04}" for number in range(1, len(paths) + 1)]


class TestDecisions:
    def test_they_are_numbered_without_gaps(self) -> None:
        assert decisions()
        assert numbers(_DECISION, decisions()) == counted(decisions())

    @pytest.mark.parametrize("path", decisions(), ids=names(decisions()))
    def test_each_has_a_title_a_status_a_date_and_its_three_sections(self, path: Path) -> None:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]}: ")
        status = re.search(r"^- \*\*Status:\*\* (.+)$", text, re.MULTILINE)
        assert status
        assert re.fullmatch(r"proposed|accepted|superseded by \[\d{4}\]\(.+\)", status[1])
        day = re.search(r"^- \*\*Date:\*\* (.+)$", text, re.MULTILINE)
        assert day
        assert is_day(day[1])
        sections = [name for name in headings(text, 2) if name != "Alternatives"]
        assert sections == ["Context", "Decision", "Consequences"]

    def test_the_index_lists_each_of_them_once_with_its_title(self) -> None:
        listed = re.findall(
            r"^\| \[(\d{4})\]\((.+?)\) \| (.+?) \|", INDEX.read_text(), re.MULTILINE
        )
        titles = [headings(path.read_text(), 1)[0] for path in decisions()]
        assert [file for _, file, _ in listed] == names(decisions())
        assert [f"{number}: {title}" for number, _, title in listed] == titles


class TestRecords:
    def test_they_are_numbered_without_gaps(self) -> None:
        assert records(), "there is no record of the work yet"
        assert numbers(_RECORD, records()) == counted(records())

    @pytest.mark.parametrize("path", records(), ids=names(records()))
    def test_each_tells_what_was_asked_built_and_verified(self, path: Path) -> None:
        match = _FRONT_MATTER.fullmatch(path.read_text())
        assert match, "it begins with front matter between two lines of ---"
        front: dict[str, Any] = yaml.safe_load(match[1])

        assert list(front) == ["id", "title", "stage", "date", "feature", "files"]
        assert f"{front['id']}.{front['stage']}" == ".".join(
            (path.name[:4], path.name.split(".")[-3])
        )
        assert front["feature"] == FEATURE
        assert isinstance(front["date"], date)
        assert front["title"]
        assert front["files"]
        # Older records name the files of their time.
        is_newest = path == records()[-1]
        assert not [name for name in front["files"] if is_newest and not (ROOT / name).exists()]
        assert headings(match[2], 2) == ["Asked", "Built", "Verified"]


class TestChangelog:
    def test_its_newest_version_is_that_of_the_code(self) -> None:
        released = [version for version, _ in self.versions() if version != "Unreleased"]
        assert released[:1] in ([], [src.__version__])

    def test_what_is_unreleased_comes_first(self) -> None:
        assert "Unreleased" not in [version for version, _ in self.versions()[1:]]

    def test_the_versions_are_dated_and_descend(self) -> None:
        released = [entry for entry in self.versions() if entry[0] != "Unreleased"]
        assert all(is_day(day) for _, day in released)
        for (version, day), (older, older_day) in pairwise(released):
            assert [*map(int, version.split("."))] > [*map(int, older.split("."))]
            assert date.fromisoformat(day) >= date.fromisoformat(older_day)

    def test_its_changes_are_of_the_known_kinds(self) -> None:
        assert set(headings(CHANGELOG.read_text(), 3)) <= _CHANGES

    @staticmethod
    def versions() -> list[tuple[str, str]]:
        found = re.findall(r"^## \[(.+?)\](?: - (.+))?$", CHANGELOG.read_text(), re.MULTILINE)
        assert len(found) == len(headings(CHANGELOG.read_text(), 2))
        return found


@pytest.mark.requirement("FR-155")
def test_the_license_the_package_and_the_readme_say_the_same() -> None:
    package = tomllib.loads(PACKAGE.read_text())["project"]
    (author,) = package["authors"]
    title, _, copyright_line, *_ = LICENSE.read_text().splitlines()

    assert title == f"{package['license']} License"
    assert copyright_line.endswith(f" {author['name']}")
    assert f"[{title}](LICENSE)" in (ROOT / "README.md").read_text()


class TestLinks:
    @pytest.mark.parametrize(
        "path", list(markdown_files()), ids=lambda path: str(path.relative_to(ROOT))
    )
    def test_every_relative_link_leads_somewhere(self, path: Path) -> None:
        assert not [link for link in links(path) if not leads_somewhere(link, path)]


def leads_somewhere(link: str, path: Path) -> bool:
    """Whether there is what a link in this document names. The internet is not asked."""
    if re.match(r"[a-z]+:", link):
        return True
    file, _, anchor = link.partition("#")
    target = path.parent / file if file else path
    return target.exists() and (not anchor or anchor in anchors(target))
