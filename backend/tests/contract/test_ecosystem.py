"""What others build with: generated clients, AI agents, linters. `make clients` installs the tools,
which are not part of the application, and runs these tests.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from src.main import create_app
from tests.conftest import make_settings
from tests.contract.generated import OPENAPI
from tests.contract.markdown import fences, section
from tests.contract.test_clients import NODE
from tests.contract.test_openapi import OPERATIONS
from tests.listening import listening

pytestmark = pytest.mark.clients

HERE: Final = Path(__file__).parents[1] / "clients"
CLIENTS: Final = OPENAPI.parents[1] / "clients.md"
PYTHON: Final = HERE / ".venv" / "bin"
MODULES: Final = HERE / "node_modules"
PATIENCE: Final = 250  # s


@pytest.fixture(scope="module")
def url(shared_database_url: str) -> Iterator[str]:
    with listening(create_app(make_settings(shared_database_url))) as url:
        yield url


def run(*command: str | Path, directory: Path = HERE) -> str:
    """Run a tool, which must succeed and have nothing to complain of; give what it prints."""
    environment = {
        "PATH": f"{PYTHON}:{os.environ['PATH']}",
        "HOME": str(directory),
        "REDOCLY_TELEMETRY": "off",
        "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
    }
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    return done.stdout


def run_node(program: str, *arguments: str | Path, directory: Path = HERE) -> str:
    return run(NODE, MODULES / program, *arguments, directory=directory)


@pytest.mark.requirement("FR-138")
def test_a_day_with_the_client_that_openapi_python_client_generates(
    url: str, tmp_path: Path
) -> None:
    output = tmp_path / "task_api_client"
    options = (f"--path={OPENAPI}", f"--output-path={output}", "--meta=none")
    run("openapi-python-client", "generate", "--fail-on-warning", *options, directory=tmp_path)
    # A program of its own, with the generated package beside it.
    story = tmp_path / "python_story.py"
    story.write_text((HERE / "python_story.py").read_text())
    run("python", story, url)


@pytest.mark.requirement("FR-142")
def test_a_day_with_openapi_fetch_and_the_types_of_openapi_typescript(
    url: str, tmp_path: Path
) -> None:
    for name in ("typescript_story.mts", "tsconfig.json", "package.json"):
        (tmp_path / name).write_text((HERE / name).read_text())
    (tmp_path / "node_modules").symlink_to(MODULES)
    run_node("openapi-typescript/bin/cli.js", OPENAPI, "-o", "task-api.ts", directory=tmp_path)
    run_node("typescript/bin/tsc", directory=tmp_path)
    run(NODE, "typescript_story.mts", url, directory=tmp_path)


@pytest.mark.requirement("FR-143")
class TestLinters:
    def test_spectral_finds_nothing(self) -> None:
        program = "@stoplight/spectral-cli/dist/index.js"
        run_node(program, "lint", "--ruleset=.spectral.yaml", "--fail-severity=hint", OPENAPI)

    def test_redocly_finds_nothing(self) -> None:
        run_node("@redocly/cli/bin/cli.js", "lint", "--config=redocly.yaml", OPENAPI)


@pytest.mark.requirement("FR-139")
def test_an_agent_works_with_tools_that_fastmcp_makes(url: str, tmp_path: Path) -> None:
    (program,) = fences(section(CLIENTS, "Generated clients and AI agents"))
    text = program.text.replace("http://127.0.0.1:8000", url)
    (tmp_path / "tasks_server.py").write_text(text)
    (tmp_path / "agent_story.py").write_text((HERE / "agent_story.py").read_text())
    shown = json.loads(run("python", "agent_story.py", directory=tmp_path))

    arguments = {name: {*schema["properties"]} for name, schema in shown["tools"].items()}
    needed = {name: schema["required"] for name, schema in shown["tools"].items()}
    assert {*arguments} == {*OPERATIONS} - {"get_health", "get_readiness"}
    # Where a body and the path had a name in common, one of them would get a suffix.
    assert not [name for names in arguments.values() for name in names if "__" in name]
    assert needed["create_task"] == ["user_id", "title"]
    assert needed["update_task"] == needed["delete_task"] == ["user_id", "task_id"]
    no_prio, no_status, no_title = shown["explanations"]
    assert "prio" in no_prio
    assert "status" in no_status
    assert '"pointer": "/title"' in no_title
