"""Compares servers. They take turns, run by run, so that noise on the machine affects them all."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

from benchmarks.data import Dataset, postmaster, tidy
from benchmarks.load import Figures, drive, median
from benchmarks.operations import Operation
from benchmarks.process_tree import ProcessTree
from benchmarks.servers import RunningServer

CONNECTIONS: Final = 8
"""Of each server to the database."""


@dataclass(frozen=True)
class Plan:
    """What to measure: how long, how often, which operations and which servers."""

    seconds: int
    rounds: int
    operations: tuple[str, ...]
    servers: tuple[str, ...]


@dataclass(frozen=True)
class Contender:
    """A running server and the data that it serves."""

    server: RunningServer
    dataset: Dataset
    database_url: str

    def drive(self, operation: Operation, *, clients: int, seconds: int) -> Figures:
        return drive(
            self.server, operation, self.dataset, self.database, clients=clients, seconds=seconds
        )

    @cached_property
    def database(self) -> ProcessTree:
        """All processes of the database server."""
        return ProcessTree(postmaster(self.database_url))


def say(line: str) -> None:
    """Print progress to standard error."""
    print(line, file=sys.stderr, flush=True)


def compare(
    contenders: Mapping[str, Contender],
    operations: Iterable[Operation],
    *,
    clients: int,
    seconds: int,
    rounds: int,
    warm_up: int = 1,
) -> dict[str, Any]:
    """Measure every operation on every contender; give the medians and each run.

    During `warm_up` seconds, every server opens its connections and prepares its statements.
    """
    return {
        operation.label: _compare(
            {
                name: contender
                for name, contender in contenders.items()
                if contender.server.name in operation.offered_by
            },
            operation,
            clients=clients,
            seconds=seconds,
            rounds=rounds,
            warm_up=warm_up,
        )
        for operation in operations
    }


def _compare(
    contenders: Mapping[str, Contender],
    operation: Operation,
    *,
    clients: int,
    seconds: int,
    rounds: int,
    warm_up: int,
) -> dict[str, Any]:
    for contender in contenders.values():
        operation.verify(contender.server)
    for url in {contender.database_url for contender in contenders.values()}:
        tidy(url)
    for contender in contenders.values():
        contender.drive(operation, clients=max(clients, CONNECTIONS), seconds=warm_up)
    runs: dict[str, list[Figures]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            runs[name].append(contender.drive(operation, clients=clients, seconds=seconds))
    medians = {name: median(its_runs) for name, its_runs in runs.items()}
    for name, figures in medians.items():
        say(
            f"{operation.label:14}{name:18}{figures.throughput:8.0f}/s"
            f"{figures.p50_ms:9.2f} ms{figures.p99_ms:9.2f} ms"
            f"{figures.server_cpu_us:8.0f} µs server{figures.database_cpu_us:7.0f} µs database"
            f"{figures.rss_mib:6.0f} MiB"
        )
    return {
        name: {**asdict(medians[name]), "runs": [asdict(run) for run in runs[name]]}
        for name in contenders
    }
