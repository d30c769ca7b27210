"""Writes the raw figures: one JSON file per part, with the machine, versions and settings."""

import json
import os
import subprocess
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks import RESULTS
from benchmarks.compare import Plan
from benchmarks.servers import PEERS, PEERS_NODE, SERVERS

PACKAGES_OF: Final = """
import importlib.metadata, json, platform, sys
packages = {name: importlib.metadata.version(name) for name in sys.argv[1:]}
print(json.dumps({"python": platform.python_version(), **packages}))
"""


def _output(*command: str) -> str:
    # `wrk --version` prints the version and exits with an error.
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _of_server(name: str) -> dict[str, str]:
    server = SERVERS[name]
    interpreter = server.command[0]
    if interpreter == PEERS_NODE:
        modules = PEERS / "fastify" / "node_modules"
        return {"node": _output(interpreter, "--version").strip()} | {
            package: json.loads((modules / package / "package.json").read_text())["version"]
            for package in server.packages
        }
    versions: dict[str, str] = json.loads(_output(interpreter, "-c", PACKAGES_OF, *server.packages))
    return versions


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _versions(servers: Collection[str], database_url: str) -> dict[str, Any]:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return {
        "postgresql": row[0] if row else "unknown",
        "wrk": _output("wrk", "--version").partition(" [")[0],
        "servers": {name: _of_server(name) for name in servers},
    }


def write(part: str, plan: Plan, content: Mapping[str, object], database_url: str) -> None:
    """Replace the results of one part."""
    document = {
        "part": part,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": _cpu_model(), "cores": os.cpu_count()},
        "versions": _versions(plan.servers, database_url),
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        **content,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (RESULTS / f"{part}.json").write_text(text + "\n")
