"""The parts of the benchmark: the contenders, operations and data of each.

Each part takes the URL of the database server and the plan, and gives its settings and figures in a
form that can be written as JSON.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from http.client import HTTPConnection
from itertools import cycle
from json import dumps, loads
from typing import Any, Final
from uuid import uuid4

import psycopg

from benchmarks.compare import CONNECTIONS, Contender, Plan, compare, say
from benchmarks.data import Dataset, create_database
from benchmarks.operations import OPERATIONS, TASKS, Operation, is_list_of
from benchmarks.proxy import far_away
from benchmarks.servers import OURS, running

STANDARD: Final = Dataset("standard", tasks=199_000, users=9_999, long_lists={"bench": 1_000})
"""200,000 tasks of 10,000 users."""

SMALL: Final = Dataset("small", tasks=50_000, users=500)
LARGE: Final = Dataset("large", tasks=5_000_000, users=50_000, long_lists={"million": 1_000_000})
"""Users have 100 tasks in both, so that the answers have the same size."""

CLIENTS: Final = 16
DISTANT_CLIENTS: Final = 2
DISTANT_ROUNDS: Final = 1  # these times hardly vary
MANY_CLIENTS: Final = 64
ROUND_TRIP_MS: Final = 20
PAGE_SIZE: Final = 1_000
LAST_PAGE: Final = 1_000
PAGE_ROUNDS: Final = 30
BATCH_SIZE: Final = 100
BATCH_ROUNDS: Final = 5
STARTS: Final = 5
MEMORY_WARM_UP: Final = 20_000
MEMORY_REQUESTS: Final = 200_000


def operations(server_url: str, plan: Plan) -> dict[str, Any]:
    """Measure every operation on every server, with the database on the same machine."""
    url = create_database(server_url, STANDARD)
    with ExitStack() as stack:
        contenders = {
            name: Contender(stack.enter_context(running(name, url)), STANDARD, url)
            for name in plan.servers
        }
        figures = compare(
            contenders,
            [OPERATIONS[name] for name in plan.operations],
            clients=CLIENTS,
            seconds=plan.seconds,
            rounds=plan.rounds,
        )
    return {"clients": CLIENTS, "connections": CONNECTIONS, "figures": figures}


def distance(server_url: str, plan: Plan) -> dict[str, Any]:
    """Measure every operation on every server, with the database 20 ms away."""
    url = create_database(server_url, replace(STANDARD, name="distant"))
    with ExitStack() as stack:
        far_url = stack.enter_context(far_away(url, ROUND_TRIP_MS))
        contenders = {
            name: Contender(stack.enter_context(running(name, far_url)), STANDARD, url)
            for name in plan.servers
        }
        figures = compare(
            contenders,
            [OPERATIONS[name] for name in plan.operations],
            clients=DISTANT_CLIENTS,
            seconds=plan.seconds,
            rounds=DISTANT_ROUNDS,
            warm_up=2,
        )
        round_trip_ms = _round_trip_ms(far_url)
        batch = _batch_ms(contenders[OURS].server.port) if OURS in contenders else None
    return {
        "rounds": DISTANT_ROUNDS,
        "clients": DISTANT_CLIENTS,
        "connections": CONNECTIONS,
        "round_trip_ms": ROUND_TRIP_MS,
        "measured_round_trip_ms": round_trip_ms,
        "figures": figures,
        "batch": batch,
    }


def _batch_ms(port: int) -> dict[str, Any]:
    """Time a batch of 100 creations, and 100 requests that create one task each."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    task = {"title": "Buy milk", "description": "Two litres"}

    def post(path: str, body: object, status: int) -> None:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", path, dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != status:
            raise SystemExit(f"{path}: {answer.status}")

    def in_a_batch() -> None:
        operations = [{"op": "create", "task": task, "id": str(uuid4())} for _ in range(BATCH_SIZE)]
        post("/api/v1/batches/tasks/batch", {"operations": operations}, 200)

    def one_by_one() -> None:
        for _ in range(BATCH_SIZE):
            post("/api/v1/singles/tasks", task, 201)

    for warm_up in (in_a_batch, one_by_one):
        warm_up()
    batch_ms, singles_ms = [], []
    for _ in range(BATCH_ROUNDS):
        batch_ms.append(_median_ms(in_a_batch, rounds=1))
        singles_ms.append(_median_ms(one_by_one, rounds=1))
    connection.close()
    figures = {
        "batch_ms": statistics.median(batch_ms),
        "singles_ms": statistics.median(singles_ms),
    }
    say(
        f"{BATCH_SIZE} creations: {figures['batch_ms']:.1f} ms in a batch,"
        f" {figures['singles_ms']:.0f} ms one by one"
    )
    return {"size": BATCH_SIZE, **figures}


def _round_trip_ms(url: str) -> float:
    """Measure the time of the simplest statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        return _median_ms(lambda: connection.execute("SELECT 1"), rounds=30)


def _median_ms(action: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def growth(server_url: str, plan: Plan) -> dict[str, Any]:
    """Measure our server with little and with much data, and at both ends of a very long list."""
    wanted: dict[str, Operation] = {
        "get": OPERATIONS["get"],
        "list-50": Operation(
            "list of 50", "GET", TASKS + "?limit=50", is_list_of(50, user_id="u00001")
        ),
        "create": OPERATIONS["create"],
    }
    with ExitStack() as stack:
        contenders = {}
        for dataset in (SMALL, LARGE):
            say(f"filling the {dataset.name} database: {dataset.tasks:,} tasks")
            url = create_database(server_url, dataset)
            server = stack.enter_context(running(OURS, url))
            contenders[dataset.name] = Contender(server, dataset, url)
        figures = compare(
            contenders,
            [operation for name, operation in wanted.items() if name in plan.operations],
            clients=CLIENTS,
            seconds=plan.seconds,
            rounds=plan.rounds,
        )
        pages = _pages(contenders[LARGE.name].server.port)
    return {
        "clients": CLIENTS,
        "connections": CONNECTIONS,
        "tasks": {dataset.name: dataset.tasks for dataset in (SMALL, LARGE)},
        "figures": figures,
        "pages": pages,
    }


def _pages(port: int) -> dict[str, float]:
    """Follow the cursors of the longest list to its end; then time the first and the last page."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def read(cursor: str) -> bytes:
        connection.request("GET", f"/api/v1/million/tasks?limit={PAGE_SIZE}{cursor}")
        return connection.getresponse().read()

    cursor, seen = "", 0
    for _ in range(LAST_PAGE):
        last = cursor
        page = loads(read(cursor))
        seen += len(page["items"])
        cursor = f"&cursor={page['next_cursor']}"
    if seen != LARGE.long_lists["million"] or page["next_cursor"] is not None:
        raise SystemExit(f"{LAST_PAGE:,} pages gave {seen:,} tasks")
    first_ms, last_ms = [], []
    for _ in range(PAGE_ROUNDS):
        first_ms.append(_median_ms(lambda: read(""), rounds=1))
        last_ms.append(_median_ms(lambda: read(last), rounds=1))
    connection.close()
    pages = {"first_ms": statistics.median(first_ms), "last_ms": statistics.median(last_ms)}
    say(f"page 1: {pages['first_ms']:.2f} ms, page {LAST_PAGE:,}: {pages['last_ms']:.2f} ms")
    return {"size": PAGE_SIZE, "last": LAST_PAGE, **pages}


def checks(server_url: str, plan: Plan) -> dict[str, Any]:
    """Measure the other promises of our server: fairness, two workers, memory and start."""
    url = create_database(server_url, replace(STANDARD, name="checks"))
    return {
        "connections": CONNECTIONS,
        "fairness": _fairness(url, plan),
        "workers": _workers(url, plan),
        "memory": _memory(url),
        "start_seconds": _start_seconds(url),
    }


def _fairness(url: str, plan: Plan) -> dict[str, Any]:
    with running(OURS, url) as server:
        figures = compare(
            {OURS: Contender(server, STANDARD, url)},
            [OPERATIONS["get"]],
            clients=MANY_CLIENTS,
            seconds=plan.seconds,
            rounds=plan.rounds,
        )
    return {"clients": MANY_CLIENTS, **figures["get"][OURS]}


def _workers(url: str, plan: Plan) -> dict[str, Any]:
    with (
        running(OURS, url) as one,
        running(OURS, url, {"WEB_CONCURRENCY": "2"}) as two,
    ):
        return compare(
            {"1": Contender(one, STANDARD, url), "2": Contender(two, STANDARD, url)},
            [OPERATIONS["get"], OPERATIONS["list-50"], OPERATIONS["create"]],
            clients=CLIENTS,
            seconds=plan.seconds,
            rounds=plan.rounds,
        )


def _memory(url: str) -> dict[str, Any]:
    """Run all operations in turn, for 200,000 requests; record the memory after each run."""
    points = []
    with running(OURS, url) as server:
        contender = Contender(server, STANDARD, url)
        requests = 0.0
        for operation in cycle(OPERATIONS.values()):
            figures = contender.drive(operation, clients=CLIENTS, seconds=2)
            requests += figures.requests
            points.append({"requests": requests, "rss_mib": figures.rss_mib})
            if requests > MEMORY_WARM_UP + MEMORY_REQUESTS:
                break
    warm = next(point for point in points if point["requests"] > MEMORY_WARM_UP)["rss_mib"]
    last = points[-1]["rss_mib"]
    say(f"memory, warm: {warm:.1f} MiB, after {requests:,.0f} requests: {last:.1f} MiB")
    return {"warm_rss_mib": warm, "rss_mib": last, "points": points}


def _start_seconds(url: str) -> float:
    starts = []
    for _ in range(STARTS):
        with running(OURS, url) as server:
            starts.append(server.start_seconds)
    say(f"start: {statistics.median(starts):.2f} s")
    return statistics.median(starts)


PARTS: Final[Mapping[str, Callable[[str, Plan], dict[str, Any]]]] = {
    "operations": operations,
    "distance": distance,
    "growth": growth,
    "checks": checks,
}
