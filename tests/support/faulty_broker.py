"""`python -m tests.support.faulty_broker POINT ARGUMENT [settings]`: a broker whose store fails at a point.

Everything but the store is the broker's own (`broker/__main__.py`). The points are in `tests/support/faulty_store.py`.
"""

from __future__ import annotations

import sys
from functools import partial

from broker.__main__ import main
from common.process.start import run_service
from tests.support.faulty_store import FaultyStore, Point


def faulty_main() -> int:
    """Serve until the store fails. Raises `StartError`."""
    _, point, argument, *flags = sys.argv
    sys.argv[1:] = flags
    return main(partial(FaultyStore, point=Point(point), argument=argument))


if __name__ == "__main__":
    run_service(faulty_main, "broker")
