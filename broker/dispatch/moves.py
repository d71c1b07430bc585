"""All that a broker does about its slots beside serving them: it finds out what it owns, and takes part in moves."""

from __future__ import annotations

from broker.dispatch.dispatcher import Dispatcher
from broker.dispatch.founding import Founding, described
from broker.dispatch.links import Links
from broker.dispatch.mover import Mover
from broker.dispatch.residue import end_residue, find_residue
from broker.operations.taking import drop
from broker.ownership import digest_of
from common.clock import Now
from common.cluster.slots import ClusterMap
from common.protocol.move_ops import MoveRow
from common.protocol.wire import BrokerState

SILENT_US = 30_000_000
"""Microseconds without a part after which what has come of a slot is dropped: its source was restarted, and has
forgotten it, or will ask. One that waits for an answer gives up earlier.
"""
TICK_MS = 20
"""Milliseconds until a move is looked at again if nothing is heard."""


class Moves:
    """Of one broker. Implements `MoveControl`; used by the loop."""

    def __init__(self, dispatcher: Dispatcher, links: Links) -> None:
        context, self.broker = dispatcher.context, dispatcher.identity.broker
        self.paused = False
        self._dispatcher = dispatcher
        self._context = context
        self._mover = Mover(self.broker, context, dispatcher.waiters, links)
        self._founding = Founding(self.broker, context, links)
        self._digest: tuple[ClusterMap, str] | None = None
        context.max_body = dispatcher.identity.max_body

    @property
    def status(self) -> str:
        """Return the status of `SlotTable`."""
        return self._founding.status

    @property
    def map_epoch(self) -> int:
        """Return the epoch of the description."""
        return self._dispatcher.ownership.map.epoch

    @property
    def map_digest(self) -> str:
        """Return the digest of the description's owners."""
        cluster = self._dispatcher.ownership.map
        if self._digest is None or self._digest[0] is not cluster:
            self._digest = (cluster, digest_of(cluster))
        return self._digest[1]

    def described(self) -> list[int]:
        """Return the slots that the description gives this broker."""
        return sorted(described(self.broker, self._dispatcher.ownership.map))

    def begin(self, now: Now) -> None:
        """Begin, when the store is loaded or the log is owned: what had come is dropped, what was leaving is asked."""
        self._context.moves = self
        self._founding.begin(self._dispatcher.ownership.map, now)
        for slot, it in list(self._context.state.slots.coming.items()):
            drop(self._context, slot, it.source, it.move)
        find_residue(self._context)
        self._go_on(now)

    def turn(self, now: Now) -> None:
        """Go on as far as possible now."""
        if self._founding.status in ("founding", "unproven"):
            self._founding.turn(self._dispatcher.ownership.map, now)
            self._go_on(now)
        elif self._dispatcher.state is BrokerState.READY:
            self._mover.turn(now)
            self._drop_silent(now)
            if self._context.residue:
                end_residue(self._context, self._context.thresholds.due)

    @property
    def wait_ms(self) -> int | None:
        """Return the milliseconds that the loop may wait, None for any time."""
        if self.status in ("founding", "unproven"):
            return TICK_MS
        if self._dispatcher.state is not BrokerState.READY:
            return None
        if self._context.residue or self._mover.sends:
            return 0
        return TICK_MS if self._mover.busy else None

    def move(self, slot: int, to: str, now: Now) -> MoveRow:
        """Begin to move a slot, or say how its move stands. Raise `move-refused`."""
        return self._mover.move(slot, to, now, self.paused)

    def abort(self, slot: int, now: Now) -> MoveRow:
        """End the move of a slot, unless it has arrived. Raise `move-refused`."""
        return self._mover.abort(slot, now)

    def give_up(self, slot: int, now: Now) -> None:
        """Serve a frozen slot again without the consent of its target, which is lost for good."""
        self._mover.give_up(slot, now)

    def rows(self) -> list[MoveRow]:
        """Return the moves from here."""
        return self._mover.rows()

    def _go_on(self, now: Now) -> None:
        """Be loading while it is not known which slots are served; then go on with the moves of a former process."""
        if self.status in ("founding", "unproven"):
            if self._dispatcher.state is BrokerState.READY:
                self._dispatcher.state = BrokerState.LOADING
            return
        if self._dispatcher.state is BrokerState.LOADING:
            self._dispatcher.state = BrokerState.READY
        self._mover.resume(now)

    def _drop_silent(self, now: Now) -> None:
        for slot, adoption in list(self._context.adoptions.items()):
            if now.mono > adoption.heard_us + SILENT_US:
                drop(self._context, slot, self._context.state.slots.coming[slot].source, adoption.move)
