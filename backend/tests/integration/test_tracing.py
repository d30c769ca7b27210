"""OpenTelemetry: FastAPI's own spans, and those of the standard instrumentation of psycopg."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from src.config import ROOT

SECRET = "hunter2"  # noqa: S105 — what tests/tracing.py sends


@pytest.fixture(scope="module")
def seen(shared_database_url: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.tracing"],
        cwd=ROOT / "backend",
        env={**os.environ, "DATABASE_URL": shared_database_url, "LOG_LEVEL": "error"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert SECRET not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.requirement("FR-151")
def test_a_request_is_one_span_and_each_of_its_statements_is_one_below_it(
    seen: list[dict[str, Any]],
) -> None:
    tasks = "/api/v1/{user_id}/tasks"
    shown = []
    for request in seen:
        (root,) = (span for span in request["spans"] if span["kind"] == "SpanKind.SERVER")
        statements = [span for span in request["spans"] if span is not root]
        for statement in statements:
            assert statement["kind"] == "SpanKind.CLIENT"
            assert statement["parent_id"] == root["context"]["span_id"]
            assert statement["attributes"]["db.system"] == "postgresql"
        assert request["records"] == 0
        shown.append((request["status"], root["name"], len(statements)))

    assert shown == [
        (201, f"POST {tasks}", 1),
        (200, f"GET {tasks}", 1),
        (422, f"POST {tasks}", 0),
        (200, f"POST {tasks}/batch", 2),
    ]
