"""One run: wrk repeats one operation on one server, and the harness records what that cost."""

import json
import resource
import statistics
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from benchmarks.data import Dataset
from benchmarks.operations import Operation
from benchmarks.process_tree import ProcessTree
from benchmarks.servers import RunningServer

SCRIPT: Final = Path(__file__).with_name("wrk.lua")
REQUEST_TIMEOUT: Final = 30  # s


@dataclass(frozen=True)
class Figures:
    """The figures of one run, or the medians of several."""

    requests: float
    throughput: float
    """Per second."""
    p50_ms: float
    p99_ms: float
    server_cpu_us: float
    """Per request, user and system, of the server's whole process tree."""
    database_cpu_us: float
    """The same for all processes of PostgreSQL."""
    load_cpu_us: float
    """The same for wrk."""
    rss_mib: float


def median(runs: Iterable[Figures]) -> Figures:
    """Give the median of each figure."""
    several = list(runs)
    return Figures(
        *(statistics.median(getattr(run, f.name) for run in several) for f in fields(Figures))
    )


def _settled_cpu(processes: ProcessTree) -> float:
    """Wait until the server has finished its last requests; give its CPU seconds."""
    before = -1.0
    while (now := processes.cpu_seconds()) - before > 0.01:
        before = now
        time.sleep(0.1)
    return now


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def drive(
    server: RunningServer,
    operation: Operation,
    dataset: Dataset,
    database: ProcessTree,
    *,
    clients: int,
    seconds: float,
) -> Figures:
    """Let `clients` repeat the operation without a pause, each on a connection of its own."""
    command = ["wrk", "--threads", "1", "--connections", str(clients)]
    command += ["--duration", f"{seconds:g}s", "--timeout", f"{REQUEST_TIMEOUT}s"]
    command += ["--script", str(SCRIPT), f"http://127.0.0.1:{server.port}", "--"]
    command += [operation.request(), str(dataset.tasks), str(dataset.users)]

    server_cpu, database_cpu = server.processes.cpu_seconds(), database.cpu_seconds()
    load_cpu = _own_cpu()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    load_cpu = _own_cpu() - load_cpu
    server_cpu = _settled_cpu(server.processes) - server_cpu
    database_cpu = database.cpu_seconds() - database_cpu

    result = json.loads(output.splitlines()[-1])
    if result["refused"] or result["broken"] or not result["requests"]:
        raise SystemExit(f"{server.name}, {operation.label}: {result}")
    # When the time is up, each client waits for one more answer. wrk does not count those requests,
    # but the server still works on them, so they count where CPU time is divided by requests.
    microseconds = 1e6 / (result["requests"] + clients)
    return Figures(
        requests=result["requests"],
        throughput=result["requests"] / result["seconds"],
        p50_ms=result["p50"] * 1e3,
        p99_ms=result["p99"] * 1e3,
        server_cpu_us=server_cpu * microseconds,
        database_cpu_us=database_cpu * microseconds,
        load_cpu_us=load_cpu * microseconds,
        rss_mib=server.processes.rss_mib(),
    )
