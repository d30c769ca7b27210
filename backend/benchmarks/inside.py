"""The CPU time of a request inside the application, from ASGI to ASGI, one request at a time.

There is no socket, no load generator and no other client, so a change of a few microseconds shows.
The first build is measured next to the current one: each in a process of its own, round by round in
turn. Of many short rounds the best one counts, because whatever else the machine does only adds to
a round.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final

from benchmarks import BACKEND, first_build
from benchmarks.data import Dataset, create_database, database_server, task_id
from benchmarks.servers import FIRST, OURS, SERVERS

ROUNDS: Final = 40
WARM_UP_ROUNDS: Final = 5
"""So that every statement is prepared on every connection."""

_REQUESTS: Final = 40
_TASKS: Final = "/api/v1/bench/tasks"
_ONE: Final = f"{_TASKS}/{task_id(1)}"


def _round_of(
    method: str, path: str, *, query: str = "", body: str = "", requests: int = _REQUESTS
) -> dict[str, Any]:
    return {"method": method, "path": path, "query": query, "body": body, "requests": requests}


OPERATIONS: Final = {
    "health": _round_of("GET", "/health"),
    "get": _round_of("GET", _ONE),
    "list-50": _round_of("GET", _TASKS, query="limit=50"),
    "list-1000": _round_of("GET", _TASKS, query="limit=1000", requests=10),
    "create": _round_of(
        "POST", "/api/v1/other/tasks", body='{"title": "Buy milk", "description": "Two litres"}'
    ),
    "complete": _round_of("PATCH", f"{_ONE}/complete", body='{"is_completed": true}'),
    "update": _round_of("PATCH", _ONE, body='{"title": "Buy milk"}'),
}


class Application:
    """A build of the application in a process of its own."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests, self._answers = requests, answers

    def measure(self, round_: Mapping[str, Any]) -> float:
        """Give the CPU time of a request, in microseconds."""
        self._requests.write(json.dumps(round_) + "\n")
        self._requests.flush()
        answer = self._answers.readline()
        if not answer:
            raise SystemExit("the application ended; its error is above")
        return float(answer) * 1e6


@contextmanager
def _application(python: str, backend: Path, database_url: str) -> Iterator[Application]:
    script = Path(__file__).with_name("application.py")
    process = subprocess.Popen(
        [python, "-P", str(script), database_url],
        cwd=backend,
        env={**os.environ, "PYTHONPATH": str(backend)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        yield Application(process.stdin, process.stdout)
    finally:
        process.stdin.close()  # it ends when there are no more rounds
        process.wait()


def main(operations: Sequence[str] | None = None, rounds: int | None = None) -> None:
    """Print the CPU time of each operation, for both builds, and how they compare."""
    builds = {OURS: (sys.executable, BACKEND)}
    try:
        first_build.prepare()
        builds[FIRST] = (first_build.FIRST_PYTHON, first_build.FIRST_BACKEND)
    except first_build.FirstBuildUnavailable as unavailable:
        print(f"the first build is left out: {unavailable}", file=sys.stderr)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        server_url = stack.enter_context(database_server(directory))
        dataset = Dataset("inside", tasks=1000, users=100, long_lists={"bench": 1000})
        url = create_database(server_url, dataset)
        applications = {
            name: stack.enter_context(_application(*build, url)) for name, build in builds.items()
        }
        heads = [SERVERS[name].label for name in applications]
        heads += ["ratio", "median ratio"] if FIRST in applications else []
        print("µs of CPU  " + "".join(f"{head:>14}" for head in heads))
        for operation in operations or OPERATIONS:
            _print_row(operation, _measure(applications, operation, rounds or ROUNDS))


def _measure(
    applications: Mapping[str, Application], operation: str, rounds: int
) -> dict[str, list[float]]:
    """Give the figure of every round of every build, after the warm-up."""
    found: dict[str, list[float]] = {name: [] for name in applications}
    for _ in range(WARM_UP_ROUNDS + rounds):
        for name, application in applications.items():
            found[name].append(application.measure(OPERATIONS[operation]))
    return {name: figures[WARM_UP_ROUNDS:] for name, figures in found.items()}


def _print_row(operation: str, found: Mapping[str, Sequence[float]]) -> None:
    row = f"{operation:11}" + "".join(f"{min(figures):14.0f}" for figures in found.values())
    if FIRST in found:
        ratios = [ours / first for ours, first in zip(found[OURS], found[FIRST], strict=True)]
        row += f"{min(found[OURS]) / min(found[FIRST]):14.2f}{statistics.median(ratios):14.2f}"
    print(row, flush=True)
