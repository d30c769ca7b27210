"""What is refused in `.env`, and in which words."""

from pathlib import Path
from typing import Final

import pytest

from dev.__main__ import DevSettings
from src import cli, env_file
from src.config import Settings
from src.env_file import EnvFileError

pytestmark = pytest.mark.requirement("FR-098")

NAMES: Final = [name.upper() for name in (Settings.model_fields | DevSettings.model_fields)]
URL: Final = "postgresql://alice:S3cret@localhost/db"
NO_PAIR: Final = "must be NAME=value"
QUOTES: Final = "must be NAME=value, with a quote at both ends of the value or at none"
LINE_BREAK: Final = "the value has a line break: is a quote missing?"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def refusal(file: Path) -> str:
    with pytest.raises(EnvFileError) as refused:
        env_file.check(file, NAMES)
    assert refused.value.__cause__ is None
    assert "S3cret" not in str(refused.value)
    return str(refused.value).removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp037"]
)
def test_another_encoding_is_refused(file: Path, encoding: str) -> None:
    file.write_bytes(f"# für uns\nDATABASE_URL={URL}\n".encode(encoding))

    assert refusal(file) == "is not UTF-8 text: save it as UTF-8"


def test_a_folder_in_its_place_is_refused(file: Path) -> None:
    file.mkdir()  # as docker makes one where a file to mount is missing

    assert refusal(file) == "cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f'DATABASE_URL="{URL}', f"line 1: {QUOTES}"),
        (f"# ours\n\n\nDATABASE_URL='{URL}\nPORT=8001\n", f"line 4: {QUOTES}"),
        (f'PORT=8001\r\n\r\nDATABASE_URL="{URL}\r\nHOST="::1"\r\n', f"line 3: {QUOTES}"),
        (f'DATABASE_URL={URL}\nDATABASE_URL_UNPOOLED="{URL}\nHOST="\n', f"line 2: {LINE_BREAK}"),
        (f"DATABASE_URL {URL}\n", f"line 1: {QUOTES}"),
        (f"DATABASE_URL: {URL}\n", f"line 1: {QUOTES}"),
        (f"DATABASE_URL:{URL}?sslmode=require\n", f"line 1: {NO_PAIR}"),
        ("PORT\n", f"line 1: {NO_PAIR}"),
        ("S3cret\n", f"line 1: {NO_PAIR}"),
        ("=1\n", f"line 1: {QUOTES}"),
    ],
)
def test_a_line_that_would_be_misread_is_refused(file: Path, text: str, fault: str) -> None:
    file.write_text(text, newline="")

    assert refusal(file) == fault


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABSE_URL", "DATABASE_URL"),
        ("database_uri", "DATABASE_URL"),
        ("DATABASE-URL", "DATABASE_URL"),
        ("DATABASEURL", "DATABASE_URL"),
        ("DATABASE_URL_UNPOOLD", "DATABASE_URL_UNPOOLED"),
        ("DATA_DIRECTROY", "DATA_DIRECTORY"),
        ("PROT", "PORT"),
        ("HOSTS", "HOST"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("LOGLEVEL", "LOG_LEVEL"),
    ],
)
def test_a_misspelled_name_is_refused(file: Path, name: str, meant: str) -> None:
    file.write_text(f"export {name}=S3cret\n")

    assert refusal(file) == f"line 1: {name} is not a setting: did you mean {meant}?"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\ufeffDATABASE_URL=postgresql://localhost/db\n",
        "# Für uns\n\n  export PORT = 8001 # not 8000\nHOST=\nLOG_LEVEL='debug'\r\n",
        'KEY="-----BEGIN KEY-----\nabc\n-----END KEY-----"\n',
        "PGHOST=a\nPGPORT=1\nDATABASE_HOST=a\nDATABASE_NAME=a\nDATABASE_USER=a\nPOSTGRES_HOST=a\n",
        "TEST_DATABASE_URL=a\nDB_HOST=a\nDB_PORT=1\nSMTP_PORT=1\nSECRET_KEY=a\nmy-app.key=a\n",
        "".join(f"{name}=\n" for name in NAMES),
    ],
)
def test_what_can_be_read_is_accepted_with_the_settings_of_other_programs(
    file: Path, text: str
) -> None:
    file.write_text(text, newline="")

    env_file.check(file, NAMES)


def test_each_line_at_fault_is_named(file: Path) -> None:
    file.write_text("DATABSE_URL=S3cret\n\nPORT=1\nLOG_FROMAT=json\nno pair\n")

    faults = refusal(file).replace(f"{file}: ", "").splitlines()

    assert [fault.partition(":")[0] for fault in faults] == ["line 1", "line 4", "line 5"]


def test_the_start_ends_with_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("DATABSE_URL=S3cret\n")
    monkeypatch.setitem(Settings.model_config, "env_file", file)

    with pytest.raises(SystemExit) as ended:
        cli.migrate_command()

    assert ended.value.code == 2
    assert capsys.readouterr() == (
        "",
        f"task-api: {file}: line 1: DATABSE_URL is not a setting: did you mean DATABASE_URL?\n",
    )


def test_make_run_checks_it_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("DATABSE_URL=S3cret\n")
    monkeypatch.setitem(DevSettings.model_config, "env_file", file)

    with pytest.raises(EnvFileError):
        DevSettings()
