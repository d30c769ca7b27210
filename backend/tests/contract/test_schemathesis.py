"""An attack on the API that is derived from its own OpenAPI document finds nothing.

schemathesis runs as a command, not as pytest tests of its own: only the command has all
phases in one run, lets the later ones build on what the earlier ones created, infers the
links for the stateful one, and can hold its own warnings against us.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from src.main import create_app
from tests.conftest import make_settings
from tests.contract.generated import openapi
from tests.listening import listening

HERE: Final = Path(__file__).parent
PHASES: Final = ("examples", "coverage", "fuzzing", "stateful")
PATIENCE: Final = 500  # s: it takes about ten


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.requirement("FR-034", "SC-004")
def test_an_attack_with_all_checks_in_all_phases_finds_nothing(
    database_url: str, tmp_path: Path
) -> None:
    with listening(create_app(make_settings(database_url))) as url:
        # The attacker is not what is to be measured, and is several times slower when it is.
        environment = {k: v for k, v in os.environ.items() if k != "COVERAGE_PROCESS_CONFIG"}
        attack = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                f"--config-file={HERE / 'schemathesis.toml'}",
                *("run", f"{url}/openapi.json"),
                *("--checks=all", f"--phases={','.join(PHASES)}"),
                *("--report=json", "--report-json-path=report.json"),
            ],
            cwd=tmp_path,
            env={**environment, "SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py")},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert attack.returncode == 0, attack.stdout + attack.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert {name: phase["status"] for name, phase in report["phases"].items()} == dict.fromkeys(
        PHASES, "success"
    )
    assert report["operations"]["tested"] == sum(len(path) for path in openapi()["paths"].values())
    assert report["failures"] == report["errors"] == []
