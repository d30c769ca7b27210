"""What the command line refuses before it starts anything."""

import socket

import pytest
from pydantic import SecretStr

from src import cli
from src.config import Settings


@pytest.mark.requirement("FR-069")
def test_a_parser_that_is_not_installed_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(database_url=SecretStr("postgresql://localhost/db"), http_parser="zttp")
    monkeypatch.setattr(cli, "find_spec", lambda _: None)

    with socket.socket() as taken, pytest.raises(SystemExit) as ended:
        cli.serve(settings, taken, "from DATABASE_URL")

    assert ended.value.code == 2
    assert capsys.readouterr() == (
        "",
        "task-api: HTTP_PARSER: zttp is not installed; install it with `pip install zttp`\n",
    )
