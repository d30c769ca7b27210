"""The command line: `run` measures, `report` writes the report, `inside` measures without HTTP."""

import argparse
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

QUICK_PARTS: Final = ("operations", "distance")
ALL_PARTS: Final = (*QUICK_PARTS, "growth", "checks")


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def main() -> None:
    """Run the command in the arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, and replace the results")
    length = run.add_mutually_exclusive_group(required=True)
    length.add_argument("--quick", action="store_true", help="minutes: operations and distance")
    length.add_argument("--full", action="store_true", help="the long parts as well")
    run.add_argument("--parts", type=_names, help="only these parts: " + ", ".join(ALL_PARTS))
    run.add_argument("--only", type=_names, help="only these operations; writes no results")
    run.add_argument("--servers", type=_names, help="only these servers; writes no results")
    run.add_argument("--seconds", type=int, help="the length of one run")
    run.add_argument("--rounds", type=int, help="the runs of each server per operation")
    inside = commands.add_parser("inside", help="print the CPU of a request inside the application")
    inside.add_argument("--only", type=_names, help="only these operations")
    inside.add_argument("--rounds", type=int, help="the rounds of each operation")
    commands.add_parser("report", help="write the report and the plots from the results")
    arguments = parser.parse_args()
    if arguments.command == "report":
        # Each command imports only what it needs: the report is made in the peers' environment,
        # which has the plotting library but not the application's packages.
        from benchmarks import report

        report.make()
    elif arguments.command == "inside":
        from benchmarks import inside as inside_the_application

        _stop_on_sigterm()
        inside_the_application.main(arguments.only, arguments.rounds)
    else:
        _run(arguments)


def _run(arguments: argparse.Namespace) -> None:
    from benchmarks import results
    from benchmarks.compare import Plan, say
    from benchmarks.data import database_server
    from benchmarks.operations import OPERATIONS
    from benchmarks.parts import PARTS
    from benchmarks.servers import SERVERS

    if shutil.which("wrk") is None:
        raise SystemExit("the load generator wrk is missing: apt-get install wrk")
    _check(arguments.only or (), OPERATIONS)
    _check(arguments.servers or (), SERVERS)
    _stop_on_sigterm()
    plan = Plan(
        seconds=arguments.seconds or (2 if arguments.quick else 5),
        rounds=arguments.rounds or (3 if arguments.quick else 5),
        operations=arguments.only or tuple(OPERATIONS),
        servers=_servers(arguments.servers),
    )
    parts = arguments.parts or (QUICK_PARTS if arguments.quick else ALL_PARTS)
    _check(parts, PARTS)
    is_whole = not (arguments.only or arguments.servers)
    with (
        TemporaryDirectory(prefix="bench-") as directory,
        database_server(Path(directory)) as server_url,
    ):
        for part in parts:
            say(f"== {part}")
            content = PARTS[part](server_url, plan)
            if is_whole:
                results.write(part, plan, content, server_url)


def _check(names: Iterable[str], known: Iterable[str]) -> None:
    unknown = set(names) - set(known)
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; use one of {', '.join(known)}")


def _servers(wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """Choose the servers. The first build is prepared, or left out if that is impossible."""
    from benchmarks import first_build
    from benchmarks.compare import say
    from benchmarks.servers import FIRST, SERVERS

    chosen = wanted or tuple(SERVERS)
    if FIRST not in chosen:
        return chosen
    try:
        first_build.prepare()
    except first_build.FirstBuildUnavailable as unavailable:
        if wanted:
            raise SystemExit(f"the first build cannot be measured: {unavailable}") from None
        say(f"the first build is left out: {unavailable}")
        return tuple(name for name in chosen if name != FIRST)
    return chosen


def _stop_on_sigterm() -> None:
    """Leave every `with` block on SIGTERM, so that every server is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


main()
