"""`python -m tests.soak [SECONDS]`, which is `bin/soak`: load and faults for as long as is wished, and the checker.

Exits with 1 where a promise was broken, and says how; the figures come in any case.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from contextlib import closing

from tqdm import tqdm  # type: ignore[import-untyped]

from common.command_line import Parser
from common.units import size
from tests.e2e.hosts import FRONTS, Network, need_namespaces
from tests.soak.growing import measure_growth, measure_pauses
from tests.soak.moving import MovingSoak
from tests.soak.moving_replicated import ReplicatedMovingSoak
from tests.soak.partitions import PartitionedSoak
from tests.soak.power import PowerSoak
from tests.soak.replicated import start_replicated
from tests.soak.rounds import Rounds, Soak
from tests.soak.sessions import cut_many_sessions
from tests.soak.streams import cut_many

SHOWN = 20
"""Violations that are printed."""


def main() -> int:
    """Run what the command line says."""
    options = parse(sys.argv[1:])
    if options.streams:
        return cut_many(options.streams)
    if options.forward:
        from tests.soak.forwarding import forward_to_many  # the client is needed here only, and not for --help

        return forward_to_many(options.forward)
    if options.growth:
        print(*measure_pauses(options.moved, options.message), sep="\n", flush=True)
        print(*measure_growth(), sep="\n")
        return 0
    if options.sessions:
        return cut_many_sessions(options.sessions)
    if not options.hosts:
        return run(options, None)
    need_namespaces()
    with closing(Network()) as network, network.on(FRONTS):
        return run(options, network)


def run(options: argparse.Namespace, network: Network | None) -> int:
    """Run rounds until the time is over, Ctrl-C, or a violation."""
    seconds = options.hours * 3600 if options.hours else options.seconds
    kinds = [name for name in ("durable", "replicated", "hosts", "power", "moves") if getattr(options, name)]
    kind = kinds[0] if kinds else "in memory"
    print(f"soak: {seconds:,.0f} s, {kind}, seed {options.seed}", flush=True)
    soak = make(options, network)
    began = time.monotonic()
    found: list[str] = []
    try:
        with tqdm(total=round(seconds), unit="s", mininterval=2) as bar:

            def report() -> None:
                bar.set_postfix(
                    faults=soak.figures.faults.total(), acknowledged=soak.figures.counts["messages acknowledged"]
                )
                bar.update(min(round(seconds), int(time.monotonic() - began)) - bar.n)

            number = 0
            while time.monotonic() < began + seconds and not found:
                number += 1
                found = soak.round(number, began + seconds, report)
                report()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    except Exception as error:
        found.append(f"{error!r}")
    finally:
        if found:
            print(found, soak.about(), sep="\n", file=sys.stderr)
        soak.close()
    print(soak.figures.table(time.monotonic() - began))
    print("\n".join(["", f"VIOLATIONS: {len(found)}", *found[:SHOWN]]) if found else "\nno violations")
    return 1 if found else 0


def make(options: argparse.Namespace, network: Network | None) -> Rounds:
    """Start what the options name."""
    rest = (options.seed, options.round, options.pause)
    soak: Rounds
    if options.power:
        soak = PowerSoak(*rest, sync_interval=options.sync_interval)
    elif network is not None:
        soak = PartitionedSoak(network, *rest)
    elif options.moves:
        soak = ReplicatedMovingSoak(*rest) if options.store == "replicated" else MovingSoak(*rest)
    elif options.replicated:
        soak = start_replicated(*rest)
    else:
        soak = Soak(options.durable, *rest)
    if options.faults:
        soak.faults = {name: soak.faults[name] for name in options.faults.split(",")}
    return soak


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = Parser("Load and faults against a cluster of its own.", ["600 --durable", "600 --replicated"], "soak")
    parser.add_argument("seconds", nargs="?", type=float, default=60.0, metavar="SECONDS", help="how long [60]")
    parser.add_argument("--hours", type=float, default=0.0, help="how long, instead of SECONDS")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--durable", action="store_true", help="with stores, and brokers are killed, too")
    kinds.add_argument("--replicated", action="store_true", help="on NATS servers, which are killed, too")
    kinds.add_argument("--moves", action="store_true", help="with stores; slots move, and all processes are killed")
    kinds.add_argument("--growth", action="store_true", help="figures instead: pauses of moves, 4 to 5 to 4 brokers")
    parser.add_argument("--moved", type=size(1, 2**40), default=10**7, metavar="SIZE", help="of --growth: slot [10M]")
    parser.add_argument("--message", type=size(1, 2**20), default=10**4, metavar="SIZE", help="its messages [10K]")
    kinds.add_argument("--hosts", action="store_true", help="replicated; hosts are cut off from each other (root)")
    kinds.add_argument(
        "--power", action="store_true", help="replicated; disks lose what was not synced (root, libfuse)"
    )
    parser.add_argument("--store", choices=("sqlite", "replicated"), default="sqlite", help="of --moves [sqlite]")
    parser.add_argument("--sync-interval", default="always", help="of the NATS servers of --power [always]")
    parser.add_argument("--faults", default="", metavar="NAMES", help="only these, named as in the table [all]")
    parser.add_argument("--streams", type=int, default=0, metavar="N", help="cut N streams instead, durable [0]")
    parser.add_argument("--forward", type=int, default=0, metavar="N", help="webhooks to N targets instead [0]")
    parser.add_argument("--sessions", type=int, default=0, metavar="N", help="cut N sessions instead, durable [0]")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="chooses the faults [by chance]")
    parser.add_argument("--round", type=float, default=30.0, metavar="S", help="seconds of a round of topics [30]")
    parser.add_argument("--pause", type=float, default=0.0, metavar="S", help="of a publisher after each publish [0]")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
