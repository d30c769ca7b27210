"""Which folder `DATA_DIRECTORY` names."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from dev.__main__ import DevSettings
from src.config import ROOT

pytestmark = pytest.mark.requirement("FR-099")


@pytest.mark.parametrize(
    ("text", "directory"),
    [
        ("/srv/tasks", Path("/srv/tasks")),
        ("~/tasks data", Path("/home/alice/tasks data")),
        ("~", Path("/home/alice")),
        ("tasks", ROOT / "tasks"),
        ("./tasks", ROOT / "tasks"),
        ("a~b", ROOT / "a~b"),
        ("", ROOT / ".data"),
    ],
)
def test_the_folder_does_not_depend_on_where_the_program_was_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, directory: Path
) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("DATA_DIRECTORY", text)
    monkeypatch.chdir(tmp_path)

    assert DevSettings().data_directory == directory


def test_the_home_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIRECTORY", "~nobody-of-this-name/tasks")

    with pytest.raises(ValidationError) as refused:
        DevSettings()

    ((place, message),) = [(fault["loc"], fault["msg"]) for fault in refused.value.errors()]
    assert place == ("data_directory",)
    assert (
        message
        == "Value error, must be the home directory of a user who exists, if it begins with ~"
    )
