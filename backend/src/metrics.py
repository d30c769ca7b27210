"""What the server measures, in Prometheus's format.

With several workers, each process writes to files that all of them read: the multiprocess mode of
prometheus_client, which is on if the environment has `PROMETHEUS_MULTIPROC_DIR` when it is
imported. No label has a user, an id, or anything else that a client can make up.
"""

from collections.abc import Sequence
from functools import cache
from http import HTTPMethod
from pathlib import Path
from typing import Any, Final

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

_METHODS: Final = frozenset(HTTPMethod)
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

# The times at which series began would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types

_requests: Final = Counter("http_requests", "Requests.", ("method", "route", "status"))
_durations: Final = Histogram(
    "http_request_duration_seconds",
    "Time from a request's head to the end of its answer.",
    ("method", "route"),
    buckets=_SECONDS,
)

POOL_SIZE: Final = Gauge(
    "db_pool_size", "Connections that may be open: DB_POOL_SIZE.", multiprocess_mode="livesum"
)
POOL_IN_USE: Final = Gauge(
    "db_pool_in_use",
    "Requests that hold a connection, or may open one.",
    multiprocess_mode="livesum",
)
POOL_WAITING: Final = Gauge(
    "db_pool_waiting", "Requests that wait for a connection.", multiprocess_mode="livesum"
)
POOL_WAITS: Final = Histogram(
    "db_pool_wait_seconds",
    "Time that requests waited for a connection, if they had to.",
    buckets=_SECONDS,
)
SHED: Final = Counter("db_requests_shed", "Requests that got no connection.", ("reason",))
RETRIES: Final = Counter("db_retries", "Statements that were sent again after a failure.")


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request that was answered; `route` is a template."""
    requests, durations = _series_of(method if method in _METHODS else "other", route, status)
    requests.inc()
    durations.observe(seconds)


@cache
def _series_of(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return _requests.labels(method, route, status), _durations.labels(method, route)


class Collector(MultiProcessCollector):
    """Collects the values of all processes, except from files that are still empty.

    A process makes its file before it writes to it. prometheus_client 0.26 cannot read an empty
    file, and would fail for good if the process were killed in between (its issue 1199).
    """

    @staticmethod
    def merge(files: Sequence[str], accumulate: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002 — as in the base class
        with_values = [file for file in files if _has_values(Path(file))]
        return MultiProcessCollector.merge(with_values, accumulate)  # type: ignore[no-untyped-call]  # it has no types


def _has_values(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # its process has ended meanwhile
        return False


def exposition() -> bytes:
    """Write the values of all processes in Prometheus' text format."""
    registry = CollectorRegistry()
    try:
        Collector(registry)  # type: ignore[no-untyped-call]  # it has no types
    except ValueError:  # there is no directory, so there is one process
        registry = REGISTRY
    return generate_latest(registry)
