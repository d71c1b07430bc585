"""`python -m tests.long reopening|damage`: any number of the cases of which the gate runs some. Prints figures."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Callable

from tqdm import tqdm  # type: ignore[import-untyped]

from tests.unit.broker.store.test_damage import spoil
from tests.unit.broker.store.test_reopening import REOPENINGS, reopen


def reopened(seed: int) -> str:
    """Ten reopenings of one history."""
    reopen(seed)
    return f"histories, {REOPENINGS} reopenings each"


WORK: dict[str, Callable[[int], str]] = {"reopening": reopened, "damage": spoil}


def main() -> int:
    """1 at the first seed that breaks a promise, which is raised."""
    parser = argparse.ArgumentParser(prog="python -m tests.long", description=(__doc__ or "").split(": ")[1])
    parser.add_argument("what", choices=WORK)
    parser.add_argument("--seeds", type=int, default=1000, help="how many [1000]")
    parser.add_argument("--from", dest="start", type=int, default=0, metavar="SEED", help="the first one [0]")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    figures: Counter[str] = Counter()
    for seed in tqdm(range(options.start, options.start + options.seeds), unit="seed", mininterval=2):
        try:
            figures[WORK[options.what](seed)] += 1
        except Exception:
            print(f"seed {seed}:", flush=True)
            raise
    print("\n".join(f"{count:>8,}  {what}" for what, count in sorted(figures.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
