"""`bin/rebalance run`: moves slots, one after the other. What is done is with the brokers: it can be run again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from tqdm import tqdm  # type: ignore[import-untyped]

from broker.tools.rebalance_frame import Frame, add_choice, choose, load_frame, try_to_write_description
from broker.tools.slot_mover import PAUSED_POLL_S, Moved, MoveFailedError, SlotMover
from common.cluster.slot_plan import PlannedMove, size_of
from common.command_line import About
from common.units import size

HELP = "move slots"
ABOUT = About(
    "Move the slots that the plan has, one after the other, while the brokers serve. Clients see a short delay and no "
    "error. It can be interrupted or killed at any moment, and run again with the same arguments. At the end it writes "
    "the owners into the cluster description, with the next epoch. Exit code 1 where a slot could not be moved.",
    ("--add b4", "--drain b2 --rate 10M", "--slots 0-99 --to b4 --json"),
)
WRITE_S = 10.0
"""Time between two writes of the description."""
MOST_FAILURES = 5
"""Failures one after the other after which the rest is not tried."""


def run(argv: Sequence[str]) -> int:
    """Move slots."""
    with load_frame("run", argv, ABOUT, _options) as frame:
        view = frame.links.view(sizes=True)
        moves = choose(frame, view)
        done, failed = _move_all(frame, moves)
        epoch = try_to_write_description(frame)
    longest = max((each.seconds for each in done), default=0.0)
    if frame.options.json:
        result = {
            "moved": len(done),
            "failed": [{"slot": move.slot, "from": move.source, "reason": reason} for move, reason in failed],
            "bytes": size_of(view.sizes(), [each.slot for each in done])[2],
            "longest_s": round(longest, 3),
            "epoch": epoch,
        }
        print(msgspec.json.encode(result).decode())
    else:
        for move, reason in failed:
            print(f"slot {move.slot} stays at {move.source}: {reason}", file=sys.stderr)
        left = len(moves) - len(done) - len(failed)
        rest = f", {left} not tried" if left else ""
        print(f"{len(done)} of {len(moves)} slots moved{rest}; the longest took {longest:.2f} s")
    return 0 if len(done) == len(moves) else 1


def _options(parser: Any) -> None:
    add_choice(parser)
    parser.add_argument(
        "--rate",
        metavar="SIZE",
        type=_rate,
        default=0,
        help="bytes per second that are moved at most, on average [default: no limit]",
    )


def _rate(text: str) -> int:
    try:
        return size(1, 2**50)(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def _move_all(frame: Frame, moves: Sequence[PlannedMove]) -> tuple[list[Moved], list[tuple[PlannedMove, str]]]:
    """Move what can be moved; return that, and what could not be moved, with the reasons."""
    mover, limit = SlotMover(frame.links), _Limit(frame.options.rate)
    done: list[Moved] = []
    failed: list[tuple[PlannedMove, str]] = []
    in_a_row, written_at = 0, time.monotonic()
    with tqdm(total=len(moves), unit="slot", disable=None, leave=False) as bar:
        for move in moves:
            _await_resume(mover, move.source, bar.set_postfix_str)
            bar.set_postfix_str(f"{move.slot}: {move.source} to {move.to}")
            try:
                done.append(mover.move(move))
            except MoveFailedError as error:
                failed.append((move, str(error)))
                in_a_row += 1
                if in_a_row == MOST_FAILURES:
                    break
                continue
            in_a_row = 0
            bar.update()
            limit.spend(done[-1].bytes)
            if time.monotonic() > written_at + WRITE_S:
                try_to_write_description(frame)
                written_at = time.monotonic()
    return done, failed


def _await_resume(mover: SlotMover, broker: str, say: Callable[[str], None]) -> None:
    while mover.is_paused(broker):
        say("paused")
        time.sleep(PAUSED_POLL_S)


class _Limit:
    """Keeps the average rate."""

    def __init__(self, rate: int) -> None:
        """Set the bytes per second; 0: no limit."""
        self._rate = rate
        self._free_at = time.monotonic()

    def spend(self, size: int) -> None:
        """Wait as long as these bytes take."""
        if not self._rate:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + size / self._rate
        time.sleep(max(0.0, self._free_at - now))
