"""Moves of single slots in a soak, as the tool makes them, and what they came to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

from broker.tools.slot_links import Links, View
from broker.tools.slot_mover import MoveFailedError, SlotMover
from common.cluster.slot_plan import PlannedMove
from common.cluster.slots import ClusterMap, slot_of
from common.errors import FanmailError
from common.protocol import move_ops
from common.protocol.ops import Op
from tests.e2e.cluster import wait_for
from tests.soak.figures import Figures

SOON_S = 0.06
"""Maximum time from the start of a move to the kill of a process."""


class SlotMoves:
    """Of one cluster."""

    def __init__(self, cluster: ClusterMap, figures: Figures) -> None:
        self._ids = [broker.id for broker in cluster.brokers]
        self._links = Links(cluster, None)
        self._figures = figures

    def close(self) -> None:
        """Leave no connection behind."""
        for broker in self._ids:
            self._links.forget(broker)

    def choose(self, rng: Random, topics: Sequence[str]) -> PlannedMove:
        """Return the move of a topic's slot to another broker."""
        slot = slot_of(rng.choice(topics).encode())
        view = wait_for(lambda: view if (view := self._links.view()).owners[slot] else None, "an owner of the slot")
        source = view.owners[slot]
        return PlannedMove(slot, source, rng.choice([each for each in self._ids if each != source]))

    def begin(self, planned: PlannedMove) -> None:
        """Ask the source to begin."""
        try:
            self._links.ask(planned.source, Op.MOVE, move_ops.MoveSlot(planned.slot, planned.to))
        except FanmailError:
            self._figures.counts["moves refused at first"] += 1

    def finish(self, planned: PlannedMove) -> None:
        """Let the move end, perhaps by another attempt."""
        wait_for(lambda: not self._links.view([planned.source, planned.to]).silent, "source and target to answer")
        began = time.monotonic()
        try:
            moved = SlotMover(self._links).move(planned)
        except MoveFailedError as error:
            self._figures.counts["moves that stayed"] += 1
            self._figures.notes.append(f"slot {planned.slot} stays: {error}")
            return
        self._figures.counts["moves"] += 1
        self._figures.counts["bytes moved"] += moved.bytes
        self._figures.outages["move, to its end"].append(time.monotonic() - began)

    def wrong(self) -> list[str]:
        """Return the slots that have no owner or two, when all moves have ended."""
        view = wait_for(self._settled, "all moves to end")
        owners = [sum(_owns(table, slot) for table in view.tables.values()) for slot in range(len(view.owners))]
        return [f"slot {slot} has {count} owners" for slot, count in enumerate(owners) if count != 1][:3]

    def _settled(self) -> View | None:
        view = self._links.view()
        return None if view.silent or view.moves() or view.unowned else view


def _owns(table: move_ops.SlotTable, slot: int) -> bool:
    return any(run.first <= slot <= run.last for run in table.owned)
