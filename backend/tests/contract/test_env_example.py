"""`.env.example` lists exactly the settings, with their defaults, and the README explains them."""

from pathlib import Path
from typing import Final

import pytest
from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from dev.__main__ import DevSettings
from src.config import ROOT, Settings
from tests.contract.markdown import section

pytestmark = pytest.mark.requirement("FR-036", "FR-046")

EXAMPLE: Final = ROOT / ".env.example"
SETTINGS: Final = {
    name.upper(): field
    for name, field in (DevSettings.model_fields | Settings.model_fields).items()
}


@pytest.fixture
def shown() -> dict[str, str | None]:
    return dotenv_values(EXAMPLE, interpolate=False)


def test_its_keys_are_the_settings_in_their_order(shown: dict[str, str | None]) -> None:
    assert sorted(shown) == sorted(SETTINGS)
    assert [name for name in shown if name != "DATA_DIRECTORY"] == [
        name.upper() for name in Settings.model_fields
    ]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_value_it_shows_is_the_default(name: str, shown: dict[str, str | None]) -> None:
    default = SETTINGS[name].default
    is_empty = default in (None, (), PydanticUndefined) or isinstance(default, Path)
    assert shown[name] == ("" if is_empty else str(default))


def test_as_it_stands_it_changes_no_setting() -> None:
    given = SecretStr("postgresql://127.0.0.1/none")
    assert Settings(_env_file=EXAMPLE, database_url=given) == Settings(database_url=given)
    assert DevSettings(_env_file=EXAMPLE) == DevSettings()


def test_every_setting_has_a_comment_above_it() -> None:
    lines = EXAMPLE.read_text().splitlines()
    first_of_group = [
        line for above, line in zip(["", *lines], lines, strict=False) if not above.strip()
    ]
    assert all(line.startswith("#") for line in first_of_group if line.strip())


def test_the_readme_names_every_setting_under_configuration() -> None:
    told = section(ROOT / "README.md", "Configuration")
    assert not [name for name in SETTINGS if f"`{name}`" not in told]
