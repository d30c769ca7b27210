# ruff: noqa: RUF001 — the multiplication sign is meant
"""The targets, and whether the results reach them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.servers import FIRST, OURS, SERVERS

Results = Mapping[str, Any]
"""The results of each part."""

FASTAPI: Final = "fastapi-sqlmodel"
TIMES_FASTAPI: Final = {
    "get": 2.2,
    "list of 50": 3.0,
    "create": 3.2,
    "complete": 4.0,
    "list of 1,000": 8.0,
}
AHEAD_OF: Final = ("litestar", "django-ninja")
TIMES_FASTIFY: Final = {"list of 1,000": 1.5}
CHEAPER_THAN_FIRST_BUILD: Final = ("list of 50", "list of 1,000")
AIM_AGAINST_FIRST_BUILD: Final = (0.9, 1.0)
"""An aim for the throughput. The report shows it, but it is not a target."""
ABOVE_ROUND_TRIP_MS: Final = 3.0
BATCH: Final = 50.0
FAIRNESS: Final = 3.0
GROWTH: Final = 1.2
PAGE_GROWTH: Final = 1.5
TWO_WORKERS: Final = 1.6
MEMORY_GROWTH: Final = 1.05
START_SECONDS: Final = 2.5


@dataclass(frozen=True)
class Outcome:
    """A target, and the figure that was measured."""

    what: str
    target: str
    figure: str
    is_reached: bool


def outcomes(results: Results) -> Iterator[Outcome]:
    """Compare the results with every target to which they belong."""
    if "operations" in results:
        yield from _operations(results["operations"]["figures"])
    if "distance" in results:
        yield from _distance(results["distance"])
    if "growth" in results:
        yield from _growth(results["growth"])
    if "checks" in results:
        yield from _checks(results["checks"])


def total_cpu_us(figures: Mapping[str, float]) -> float:
    """Give the CPU time of a request in the server and in PostgreSQL together."""
    return figures["server_cpu_us"] + figures["database_cpu_us"]


def at_least(what: str, figure: float, target: float) -> Outcome:
    return Outcome(what, f"at least {target:g}×", f"{figure:.2f}×", figure >= target)


def at_most(what: str, figure: float, target: float) -> Outcome:
    return Outcome(what, f"at most {target:g}×", f"{figure:.2f}×", figure <= target)


def _operations(figures: Mapping[str, Any]) -> Iterator[Outcome]:
    def throughput(operation: str, peer: str) -> float:
        servers = figures[operation]
        return float(servers[OURS]["throughput"] / servers[peer]["throughput"])

    for operation, target in TIMES_FASTAPI.items():
        what = f"{operation}: throughput against {SERVERS[FASTAPI].label}"
        yield at_least(what, throughput(operation, FASTAPI), target)
    for peer in AHEAD_OF:
        shared = [operation for operation, servers in figures.items() if peer in servers]
        worst = min(shared, key=lambda operation: throughput(operation, peer))
        what = f"every operation: throughput against {SERVERS[peer].label} (least: {worst})"
        yield at_least(what, throughput(worst, peer), 1)
    for operation, target in TIMES_FASTIFY.items():
        what = f"{operation}: throughput against {SERVERS['fastify'].label}"
        yield at_least(what, throughput(operation, "fastify"), target)
    for operation in CHEAPER_THAN_FIRST_BUILD:
        servers = figures[operation]
        if FIRST in servers:
            ratio = total_cpu_us(servers[OURS]) / total_cpu_us(servers[FIRST])
            what = f"{operation}: CPU of server and PostgreSQL against the {SERVERS[FIRST].label}"
            yield at_most(what, ratio, 1)


def _distance(part: Results) -> Iterator[Outcome]:
    round_trip = part["measured_round_trip_ms"]
    limit = round_trip + ABOVE_ROUND_TRIP_MS
    for operation, servers in part["figures"].items():
        p50 = servers[OURS]["p50_ms"]
        yield Outcome(
            f"{operation}: p50 with the database {round_trip:.1f} ms away",
            f"at most {limit:.1f} ms",
            f"{p50:.1f} ms",
            p50 <= limit,
        )
    if batch := part.get("batch"):
        what = f"a batch of {batch['size']} creations against as many requests, at that distance"
        yield at_least(what, batch["singles_ms"] / batch["batch_ms"], BATCH)


def _growth(part: Results) -> Iterator[Outcome]:
    tasks = part["tasks"]
    for operation, datasets in part["figures"].items():
        ratio = datasets["small"]["throughput"] / datasets["large"]["throughput"]
        what = f"{operation}: time with {tasks['large']:,} tasks against {tasks['small']:,}"
        yield at_most(what, ratio, GROWTH)
    pages = part["pages"]
    yield at_most(
        f"page {pages['last']:,} of {pages['last'] * pages['size']:,} tasks against page 1",
        pages["last_ms"] / pages["first_ms"],
        PAGE_GROWTH,
    )


def _checks(part: Results) -> Iterator[Outcome]:
    fairness = part["fairness"]
    yield at_most(
        f"get: p99 against p50, {fairness['clients']} clients on {part['connections']} connections",
        fairness["p99_ms"] / fairness["p50_ms"],
        FAIRNESS,
    )
    for operation, workers in part["workers"].items():
        ratio = workers["2"]["throughput"] / workers["1"]["throughput"]
        yield at_least(f"{operation}: two workers against one", ratio, TWO_WORKERS)
    memory = part["memory"]
    yield at_most(
        f"memory after {memory['points'][-1]['requests']:,.0f} requests against warm",
        memory["rss_mib"] / memory["warm_rss_mib"],
        MEMORY_GROWTH,
    )
    start = part["start_seconds"]
    yield Outcome(
        "start with existing data, until the first 200",
        f"at most {START_SECONDS:g} s",
        f"{start:.2f} s",
        start <= START_SECONDS,
    )
