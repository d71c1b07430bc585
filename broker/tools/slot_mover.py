"""Moves one slot: asks its broker to, and waits until it says how that ended. Holds nothing that must survive."""

from __future__ import annotations

import time
from typing import NamedTuple

from broker.tools.slot_links import UNDER_WAY, Links
from common.cluster.slot_plan import PlannedMove
from common.errors import FanmailError
from common.protocol import move_ops
from common.protocol.ops import Op

ATTEMPTS = 3
"""How often a move that was refused is tried."""
AGAIN_S = 1.0
"""Time between two attempts, and between two questions to a broker that does not answer."""
PATIENCE_S = 120.0
"""Time that a broker may be away during a move."""
FIRST_POLL_S, LONGEST_POLL_S, POLL_GROWTH = 0.003, 0.1, 1.5
PAUSED_POLL_S = 0.5


class MoveFailedError(Exception):
    """The slot is where it was; the text says why."""


class Moved(NamedTuple):
    """A slot that has moved."""

    slot: int
    records: int
    bytes: int
    """Sent, as far as that was seen."""
    seconds: float


class SlotMover:
    """Moves slots one after the other."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def move(self, planned: PlannedMove) -> Moved:
        """Move one slot. Repeated, go on with a move that was begun. Raises `MoveFailedError`."""
        began, reason = time.monotonic(), ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(AGAIN_S)
            row = self._follow(planned)
            if row.state == "left":
                return Moved(planned.slot, row.records, row.bytes, time.monotonic() - began)
            reason = row.reason or "it was aborted"
        raise MoveFailedError(reason)

    def is_paused(self, broker: str) -> bool:
        """Return whether an operator has paused moves at a broker; a broker that does not answer is not."""
        try:
            table: move_ops.SlotTable = self._links.ask(broker, Op.SLOTS, move_ops.ListSlots())
        except FanmailError:
            return False
        return table.paused

    def _follow(self, planned: PlannedMove) -> move_ops.MoveRow:
        """Begin a move and wait for its end; return its last row, which is `left` or `refused`."""
        until = time.monotonic() + PATIENCE_S
        row: move_ops.MoveRow | None = None
        pause_s = FIRST_POLL_S
        while row is None or row.state in UNDER_WAY:
            try:
                if row is None:
                    row = self._links.ask(planned.source, Op.MOVE, move_ops.MoveSlot(planned.slot, planned.to))
                    continue
                time.sleep(pause_s)
                pause_s = min(POLL_GROWTH * pause_s, LONGEST_POLL_S)
                row = self._row(planned, row)
                until = time.monotonic() + PATIENCE_S
            except FanmailError as error:
                if error.code == "move-refused":
                    return _refused(planned, error.detail)
                if time.monotonic() > until:
                    raise MoveFailedError(f"broker {planned.source}: {error.detail or error.code}") from None
                time.sleep(AGAIN_S)
        return row

    def _row(self, planned: PlannedMove, last: move_ops.MoveRow) -> move_ops.MoveRow:
        """Return where a move is now."""
        table: move_ops.SlotTable = self._links.ask(planned.source, Op.SLOTS, move_ops.ListSlots())
        for row in table.moves:
            if row.slot == planned.slot and row.source == planned.source:
                return row
        for pointer in table.left:
            if pointer.slot == planned.slot:
                if pointer.to != planned.to:
                    return _refused(planned, f"it has moved to broker {pointer.to}")
                return move_ops.MoveRow(
                    planned.slot, planned.to, planned.source, last.move, "left", last.records, last.bytes
                )
        return _refused(planned, f"broker {planned.source} was restarted")


def _refused(planned: PlannedMove, reason: str) -> move_ops.MoveRow:
    return move_ops.MoveRow(planned.slot, planned.to, planned.source, 0, "refused", reason=reason)
