"""`python -m tests.simulation`: many seeds, or one with its trace. Exits with 1 at the first that breaks a promise."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from functools import partial

from tqdm import tqdm  # type: ignore[import-untyped]

from tests.simulation.candidate_faults import simulate_candidates
from tests.simulation.run import Run, simulate

SHOWN = 120
"""Lines of the trace of a run that failed."""


def main() -> int:
    """Runs what the command line says."""
    options = parse(sys.argv[1:])
    whole = partial(simulate, replicated=options.replicated, moves=options.moves)
    simulate_one = simulate_candidates if options.candidates else whole
    if options.seed is not None:
        run = simulate_one(options.seed)
        print("\n".join(run.lines(None if options.trace else SHOWN)))
        return report(run, options)
    figures: Counter[str] = Counter()
    for seed in tqdm(range(options.start, options.start + options.seeds), unit="seed", mininterval=2):
        run = simulate_one(seed)
        figures += run.figures
        if run.found:
            print("\n".join(run.lines(SHOWN)))
            return report(run, options)
    print("\n".join(f"{name:24}{figures[name]:>12,}" for name in sorted(figures)), "\nno violations")
    return 0


def report(run: Run, options: argparse.Namespace) -> int:
    """Says what was found, and how to see it again."""
    if not run.found:
        print(f"seed {run.seed}: no violations")
        return 0
    print("\n".join([f"seed {run.seed}: VIOLATIONS: {len(run.found)}", *run.found]))
    of = "".join(f"--{each} " for each in ("candidates", "replicated", "moves") if getattr(options, each))
    print(f"again: .venv/bin/python -m tests.simulation {of}--seed {run.seed} --trace")
    return 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulates clusters from seeds.")
    parser.add_argument("--seeds", type=int, default=500, help="how many [500]")
    parser.add_argument("--from", dest="start", type=int, default=1, metavar="SEED", help="the first one [1]")
    parser.add_argument("--seed", type=int, help="only this one, with the end of its trace")
    parser.add_argument("--candidates", action="store_true", help="candidates of one log, without brokers")
    parser.add_argument("--replicated", action="store_true", help="clusters whose brokers have two candidates")
    parser.add_argument("--moves", action="store_true", help="slots move from broker to broker")
    parser.add_argument("--trace", action="store_true", help="with --seed: all of the trace")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
