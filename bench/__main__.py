"""`python -m bench`, started by `bench/run`: all measurements, the table, `bench/out/results.json` and `.png`."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from pathlib import Path

from bench.harness.measurement import Measure, Options, Section
from bench.harness.processes import BenchError
from bench.measures import (
    backlog,
    batches,
    ceiling,
    core,
    deliveries,
    durable,
    fanout,
    hotspots,
    http,
    large,
    leases,
    links,
    listing,
    loading,
    long_poll,
    memory,
    peers,
    replicated,
    sessions,
    streams,
    sync,
)
from bench.report import plot, table
from common.command_line import Parser
from common.errors import StartError

OUT = Path(__file__).with_name("out")
MEASUREMENTS: dict[str, Measure] = {
    "http": http.measure,
    "core": core.measure,
    "batches": batches.measure,
    "fanout": fanout.measure,
    "deliveries": deliveries.measure,
    "leases": leases.measure,
    "longpoll": long_poll.measure,
    "streams": streams.measure,
    "sessions": sessions.measure,
    "memory": memory.measure,
    "listing": listing.measure,
    "large": large.measure,
    "links": links.measure,
    "peers": peers.measure,
    "durable": durable.measure,
    "sync": sync.measure,
    "loading": loading.measure,
}
OPT_IN: dict[str, Measure] = {"replicated": replicated.measure, "backlog": backlog.measure, "ceiling": ceiling.measure}
"""Run only if named by `--only`: they take long or need much disk space."""


def main() -> int:
    """Return 0 if everything was measured, 1 if a measurement failed. Missed aims do not change the exit code."""
    arguments = _parse(sys.argv[1:])
    options = Options(arguments.seconds or (1 if arguments.quick else 4), arguments.rounds, arguments.quick)
    OUT.mkdir(exist_ok=True)
    gc.disable()  # the load creates no cycles, and a collection would be measured with it
    sections: dict[str, Section] = {}
    failed = False
    for name, measure in _selected(arguments.only, arguments.profile).items():
        print(f"{name} ...", file=sys.stderr)
        began = time.monotonic()
        try:
            sections[name] = measure(options)
        except (BenchError, StartError) as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            failed = True
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(table.table(list(sections.values())))
    table.write_json(OUT / "results.json", vars(options), sections)
    plot.draw(OUT / "results.png", sections)
    print(f"\nwrote {OUT / 'results.json'} and {OUT / 'results.png'}", file=sys.stderr)
    return int(failed)


def _selected(only: list[str], profile: bool) -> dict[str, Measure]:
    selected = {name: measure for name, measure in MEASUREMENTS.items() if not only or name in only}
    selected |= {name: measure for name, measure in OPT_IN.items() if name in only}
    if profile or "profile" in only:
        selected["profile"] = lambda options: hotspots.measure(options, OUT)
    return selected


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser("Measure this checkout; see bench/README.md.", ["--quick --only http"], prog="bench/run")
    names = [*MEASUREMENTS, *OPT_IN, "profile"]
    parser.add_argument("--quick", action="store_true", help="short runs and small numbers, for a first look")
    parser.add_argument("--only", metavar="NAME", action="append", default=[], choices=names, help=", ".join(names))
    parser.add_argument("--rounds", type=int, help="number of interleaved rounds; default 5, 2 with --quick")
    parser.add_argument("--seconds", type=int, help="seconds per HTTP load; default 4, 1 with --quick")
    parser.add_argument("--profile", action="store_true", help="also profile a front and a broker (py-spy)")
    arguments: argparse.Namespace = parser.parse_args(argv)
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    if arguments.rounds < 1 or (arguments.seconds or 1) < 1:
        parser.error("--rounds and --seconds must be at least 1")
    return arguments


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
