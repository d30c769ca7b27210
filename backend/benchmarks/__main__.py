"""The command line: `run` measures, `report` draws, `inside` looks closer."""

import argparse
import shutil
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

QUICK_PARTS: Final = ("operations", "distance")
ALL_PARTS: Final = (*QUICK_PARTS, "growth", "checks")


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, and replace the results")
    length = run.add_mutually_exclusive_group(required=True)
    length.add_argument("--quick", action="store_true", help="minutes: operations and distance")
    length.add_argument("--full", action="store_true", help="the long parts as well")
    run.add_argument("--parts", type=_names, help="some parts only: " + ", ".join(ALL_PARTS))
    run.add_argument("--only", type=_names, help="some operations only; nothing is written")
    run.add_argument("--servers", type=_names, help="some servers only; nothing is written")
    run.add_argument("--seconds", type=int, help="of one run")
    run.add_argument("--rounds", type=int, help="runs of each server per operation")
    commands.add_parser("inside", help="print the CPU of a request inside the application")
    commands.add_parser("report", help="make the tables and the plots from the results")
    arguments = parser.parse_args()
    if arguments.command == "report":
        # Each command imports only its own needs: the report is drawn in the peers' environment,
        # which has the plotting library and not the application's packages.
        from benchmarks import report

        report.make()
    elif arguments.command == "inside":
        from benchmarks import inside

        inside.main()
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
        raise SystemExit("wrk is needed, the load generator: apt-get install wrk")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every server is stopped
    plan = Plan(
        seconds=arguments.seconds or (2 if arguments.quick else 5),
        rounds=arguments.rounds or (3 if arguments.quick else 5),
        operations=arguments.only or tuple(OPERATIONS),
        servers=arguments.servers or tuple(SERVERS),
    )
    parts = arguments.parts or (QUICK_PARTS if arguments.quick else ALL_PARTS)
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


main()
