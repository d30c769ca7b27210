"""`python -m src seed`: demo tasks for a user."""

from collections.abc import Callable
from datetime import date

import pytest
from typer.testing import CliRunner, Result

from src import cli
from src.seed import tasks_for
from tests.builders import rows_of
from tests.conftest import make_settings

pytestmark = pytest.mark.requirement("FR-153")


@pytest.fixture
def run(shared_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(cli, "Settings", lambda: make_settings(shared_database_url))
    return lambda *arguments: CliRunner().invoke(cli.app, ["seed", *arguments])


def test_creates_as_many_tasks_as_asked_for(
    run: Callable[..., Result], shared_database_url: str, user: str
) -> None:
    result = run(user, "--tasks", "230")

    assert (result.exit_code, result.output) == (0, f"230 tasks created for {user}\n")
    tasks = rows_of(shared_database_url, user)["tasks"]
    assert len(tasks) == 230
    assert {row["is_completed"] for row in tasks} == {True, False}
    assert {row["priority"] for row in tasks} == {"none", "low", "medium", "high"}
    assert {row["due_date"] is None for row in tasks} == {True, False}


def test_leaves_a_user_alone_who_has_tasks_unless_told_otherwise(
    run: Callable[..., Result], shared_database_url: str, user: str
) -> None:
    run(user, "--tasks", "1")

    refused = run(user)
    forced = run(user, "--tasks", "2", "--force")

    assert refused.exit_code == 2
    assert refused.output == f"task-api: {user} has tasks already; add --force to create more\n"
    assert forced.exit_code == 0
    assert len(rows_of(shared_database_url, user)["tasks"]) == 3


def test_refuses_what_is_no_user(run: Callable[..., Result]) -> None:
    result = run("a/b")

    assert result.exit_code == 2
    assert "must be 1 to 128 characters" in result.output


def test_the_tasks_are_the_same_each_time_and_differ_from_each_other() -> None:
    today = date(2026, 11, 26)

    tasks = [task.model_dump_json() for task in tasks_for(today, 300)]

    assert tasks == [task.model_dump_json() for task in tasks_for(today, 300)]
    assert len({*tasks}) > 250
