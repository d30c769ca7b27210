# ruff: noqa: RUF001 — the multiplication sign is meant
"""Writes the tables and the plots from the raw figures."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl  # type: ignore[import-not-found]  # it is in the peers' environment
from matplotlib.figure import Figure  # type: ignore[import-not-found]  # the same

from benchmarks import RESULTS
from benchmarks.servers import FIRST, OURS, SERVERS
from benchmarks.targets import AIM_AGAINST_FIRST_BUILD, FASTAPI, outcomes, total_cpu_us

BLUE: Final = "#0072b2"
LIGHT_BLUE: Final = "#80b8d8"
GREY: Final = "#9a9a9a"
LIGHT_GREY: Final = "#d0d0d0"
INK: Final = "#333333"
"""Blue and grey are easy to tell apart for everyone, and every bar has its name beside it."""

OURS_LABEL: Final = SERVERS[OURS].label
FIRST_LABEL: Final = SERVERS[FIRST].label
FLOOR_LABEL: Final = SERVERS["floor"].label
PEER_LABELS: Final = {server.label for server in SERVERS.values()} - {OURS_LABEL}


def make() -> None:
    """Write report.md and the plots next to the raw figures."""
    results = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    if "operations" in results:
        for servers in results["operations"]["figures"].values():
            for its in servers.values():
                its["total_cpu_us"] = total_cpu_us(its)
    (RESULTS / "report.md").write_text("\n".join(_lines(results)) + "\n")
    if "operations" in results:
        figures = results["operations"]["figures"]
        _plot_bars(
            "throughput",
            f"Requests per second, relative to {SERVERS[FASTAPI].label}",
            {
                operation: {
                    SERVERS[name].label: its["throughput"] / servers[FASTAPI]["throughput"]
                    for name, its in servers.items()
                }
                for operation, servers in figures.items()
                if FASTAPI in servers
            },
            "{:.1f}×".format,
        )
        _plot_bars(
            "cpu",
            "CPU time of the server and PostgreSQL per request, in microseconds: less is better",
            _by_label(figures, "total_cpu_us"),
            "{:,.0f}".format,
        )
    if "distance" in results:
        round_trip = results["distance"]["round_trip_ms"]
        _plot_bars(
            "distance",
            f"Median time of a request in milliseconds, with the database {round_trip} ms away:"
            " less is better\n(each line is one round trip)",
            _by_label(results["distance"]["figures"], "p50_ms"),
            "{:.0f}".format,
            grid=round_trip,
        )
    if "growth" in results:
        _plot_bars(
            "growth",
            "Median time of a request in milliseconds, with little and with much data",
            _growth_panels(results["growth"]),
            "{:.2f}".format,
        )


def _by_label(figures: Mapping[str, Any], key: str) -> dict[str, dict[str, float]]:
    return {
        operation: {SERVERS[name].label: its[key] for name, its in servers.items()}
        for operation, servers in figures.items()
    }


def _growth_panels(part: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    panels = {
        operation: {
            f"{part['tasks'][dataset]:,} tasks": its["p50_ms"] for dataset, its in datasets.items()
        }
        for operation, datasets in part["figures"].items()
    }
    pages = part["pages"]
    panels[f"page of {pages['size']:,}, of {pages['size'] * pages['last']:,}"] = {
        "page 1": pages["first_ms"],
        f"page {pages['last']:,}": pages["last_ms"],
    }
    return panels


def _plot_bars(
    name: str,
    title: str,
    panels: Mapping[str, Mapping[str, float]],
    write: Callable[[float], str],
    *,
    grid: float | None = None,
) -> None:
    """Draw a panel of named bars for each operation."""
    mpl.rcParams.update(
        {
            "svg.hashsalt": "benchmarks",
            "svg.fonttype": "none",
            "font.size": 8,
            "text.color": INK,
            "axes.edgecolor": GREY,
        }
    )
    columns = 3 if len(panels) > 4 else 2  # as many as fit the width of a page
    rows = -(-len(panels) // columns)
    height = 0.8 + rows * (0.45 + 0.19 * max(map(len, panels.values())))
    figure = Figure(figsize=(9, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=bool(grid)).flat
    for (panel, bars), axis in zip(panels.items(), axes, strict=False):
        labels = list(bars)
        drawn = axis.barh(labels, list(bars.values()), color=[_colour(label) for label in labels])
        axis.bar_label(drawn, [write(value) for value in bars.values()], padding=3)
        axis.set_title(panel, loc="left", fontsize=9, fontweight="bold", color=INK)
        axis.invert_yaxis()
        axis.margins(x=0.18)
        axis.set_xticks([])
        axis.tick_params(length=0, labelcolor=INK)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        if grid:
            for line in range(1, int(max(bars.values()) / grid) + 1):
                axis.axvline(line * grid, color=LIGHT_GREY, linewidth=0.8, zorder=0)
        for label in axis.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == OURS_LABEL else "normal")
    for axis in axes:
        axis.remove()
    figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})


def _colour(label: str) -> str:
    if label in (FIRST_LABEL, FLOOR_LABEL):
        return LIGHT_BLUE if label == FIRST_LABEL else LIGHT_GREY
    return GREY if label in PEER_LABELS else BLUE


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield "`python -m benchmarks report` writes this file from the raw figures next to it."
    yield ""
    for name, part in results.items():
        machine = part["machine"]
        runs = f"medians of {part['rounds']} runs" if part["rounds"] > 1 else "one run"
        yield (
            f"- {name}: {part['date']}, {machine['cpu']}, {machine['cores']} cores,"
            f" PostgreSQL {part['versions']['postgresql']}; {runs} of {part['seconds']} s"
        )
    yield from _section("Targets")
    yield from _table(
        ("what", "target", "reached", ""),
        (
            (outcome.what, outcome.target, outcome.figure, "yes" if outcome.is_reached else "no")
            for outcome in outcomes(results)
        ),
    )
    if "operations" in results:
        figures = results["operations"]["figures"]
        if any(FIRST in servers for servers in figures.values()):
            yield from _section(f"Against the {FIRST_LABEL}")
            yield (
                f"The Task API divided by the {FIRST_LABEL}. The aim, which is no target, is a"
                " throughput of {} to {} times.".format(*AIM_AGAINST_FIRST_BUILD)
            )
            yield ""
            yield from _first_build_table(figures)
        for title, key, form in (
            ("Requests per second", "throughput", "{:,.0f}"),
            ("p50 in ms", "p50_ms", "{:.2f}"),
            ("p99 in ms", "p99_ms", "{:.2f}"),
            ("CPU time of the server per request in µs", "server_cpu_us", "{:,.0f}"),
            ("CPU time of PostgreSQL per request in µs", "database_cpu_us", "{:,.0f}"),
            ("CPU time of the server and PostgreSQL per request in µs", "total_cpu_us", "{:,.0f}"),
            ("Memory of the server in MiB", "rss_mib", "{:,.0f}"),
        ):
            yield from _section(title)
            yield from _servers_table(figures, key, form)
    if "distance" in results:
        part = results["distance"]
        yield from _section(
            f"p50 in ms with the database {part['round_trip_ms']} ms away"
            f" (measured: {part['measured_round_trip_ms']:.1f} ms)"
        )
        yield from _servers_table(part["figures"], "p50_ms", "{:.1f}")
    if "checks" in results:
        yield from _section("Two workers: which process used the CPU, in cores")
        yield from _workers_table(results["checks"]["workers"])
    yield from _section("Versions")
    for name, versions in _versions(results).items():
        packages = ", ".join(f"{package} {version}" for package, version in versions.items())
        yield f"- {SERVERS[name].label}: {packages}"


def _section(title: str) -> tuple[str, ...]:
    return ("", f"## {title}", "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _servers_table(figures: Mapping[str, Any], key: str, form: str) -> Iterator[str]:
    names = [name for name in SERVERS if any(name in servers for servers in figures.values())]
    yield from _table(
        ("", *(SERVERS[name].label for name in names)),
        (
            (
                operation,
                *(form.format(servers[name][key]) if name in servers else "" for name in names),
            )
            for operation, servers in figures.items()
        ),
    )


def _first_build_table(figures: Mapping[str, Any]) -> Iterator[str]:
    keys = ("throughput", "server_cpu_us", "database_cpu_us", "total_cpu_us")
    yield from _table(
        ("", "throughput", "CPU of the server", "CPU of PostgreSQL", "CPU of both"),
        (
            (operation, *(f"{servers[OURS][key] / servers[FIRST][key]:.2f}×" for key in keys))
            for operation, servers in figures.items()
            if FIRST in servers
        ),
    )


def _workers_table(figures: Mapping[str, Any]) -> Iterator[str]:
    yield from _table(
        ("", "requests per second", "server", "PostgreSQL", "wrk"),
        (
            (
                f"{operation}, {workers} worker{'s' if workers > '1' else ''}",
                f"{its['throughput']:,.0f}",
                *(
                    f"{its[key] * its['throughput'] / 1e6:.2f}"
                    for key in ("server_cpu_us", "database_cpu_us", "load_cpu_us")
                ),
            )
            for operation, contenders in figures.items()
            for workers, its in contenders.items()
        ),
    )


def _versions(results: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    latest = max(results.values(), key=lambda part: str(part["date"]), default=None)
    return latest["versions"]["servers"] if latest else {}
