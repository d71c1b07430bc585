"""`bin/rebalance pause`, `resume` and `abort`: for moves that are under way, whoever has begun them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from broker.tools.rebalance_frame import add_slots, load_frame
from common.cluster.slot_table import parse_slots
from common.command_line import About
from common.errors import FanmailError, StartError
from common.protocol import move_ops
from common.protocol.ops import Op

PAUSE_HELP, RESUME_HELP, ABORT_HELP = "begin no more moves", "go on after pause", "end moves that are under way"
PAUSE = About(
    "Let no broker begin another move, until resume or its restart. Moves under way go on; `run` waits.", ("",)
)
RESUME = About("Let all brokers begin moves again.", ("",))
ABORT = About(
    "End the moves that are under way, or those of some slots. A slot stays where it was, unless it has arrived "
    "already; then its move is complete.",
    ("", "--slots 17"),
)


def _pause(on: bool, argv: Sequence[str]) -> int:
    with load_frame("pause" if on else "resume", argv, PAUSE if on else RESUME) as frame:
        failed = {}
        for broker in frame.ids:
            try:
                frame.links.ask(broker, Op.MOVES_PAUSE, move_ops.PauseMoves(on))
            except FanmailError as error:
                failed[broker] = error.detail or error.code
        for broker, reason in failed.items():
            print(f"{broker}: {reason}")
    return int(bool(failed))


pause, resume = partial(_pause, True), partial(_pause, False)


def abort(argv: Sequence[str]) -> int:
    """End moves. Raises `StartError`."""
    with load_frame("abort", argv, ABORT, add_slots) as frame:
        view = frame.links.view()
        try:
            wanted = parse_slots(frame.options.slots)
        except ValueError as error:
            raise StartError(f"--slots: {error}") from None
        rows = [row for row in view.moves() if not wanted or row.slot in wanted]
        failed = 0
        for row in rows:
            try:
                ended: move_ops.MoveRow = frame.links.ask(row.source, Op.MOVE_ABORT, move_ops.AbortMove(row.slot))
                print(f"slot {row.slot}: {row.source} to {row.to}, {ended.state}")
            except FanmailError as error:
                print(f"slot {row.slot}: {error.detail or error.code}")
                failed = 1
        if not rows:
            print("no moves are under way")
    return failed
