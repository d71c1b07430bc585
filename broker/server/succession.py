"""The part of the loop that candidates of a replicated log have: they stand by, take over, and hand over."""

from __future__ import annotations

import logging
from collections.abc import Callable

from broker.dispatch.dispatcher import Dispatcher
from broker.errors import BrokenInvariantError
from broker.records import PiecesFreed, Record
from broker.replica.space import Report
from broker.replica.store import ReplicaStore
from broker.server.outbox import Outbox
from broker.store.base import Store
from common.clock import Clock, Mark
from common.errors import FanmailError
from common.protocol import log_stats, ops
from common.protocol.wire import BrokerState

log = logging.getLogger("fanmail.broker")

HAND_OVER_US = 500_000
"""Microseconds that a hand-over waits for the goodbyes of fronts: what they have sent later is then 504."""
LAST_BURST_US = 2_000_000
"""Microseconds that a broker which stops waits at least for a burst, and for the log to take its release."""


class Succession:
    """Of one candidate. Implements `ReplicaControl`."""

    def __init__(
        self,
        replica: ReplicaStore,
        dispatcher: Dispatcher,
        outbox: Outbox,
        clock: Clock,
        new_life: Callable[[Mark], int],
    ) -> None:
        """Create it; `new_life` makes the clock continue from a mark, and returns a new incarnation."""
        self._replica = replica
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._clock = clock
        self._new_life = new_life
        self.to: str | None = None
        """The candidate that the log is handed over to, "" for any; None: it is not."""
        replica.attach(dispatcher.context.state, dispatcher.counters)
        dispatcher.context.replica = self

    @property
    def owns(self) -> bool:
        """Return whether this candidate is the owner, as far as the loop was told."""
        return self._replica.owns

    @property
    def unproven(self) -> bool:
        """Return whether a server of the log is not known to sync before it acknowledges."""
        info = self._replica.duties.info
        return info is None or bool(info.unproven)

    @property
    def heartbeat_due(self) -> bool:
        """Return whether the owner is to begin a burst, if only an empty one."""
        return self._replica.heartbeat_due

    @property
    def wait_ms(self) -> float:
        """Return the milliseconds that the loop may wait for events."""
        return self._replica.wait_s() * 1000

    def turn(self) -> bool:
        """Follow the log; return whether this candidate has just become the owner."""
        taken_over = self._replica.turn()
        self._outbox.term = self._replica.candidate.position.term
        if taken_over:
            self._take_over()
        return taken_over

    def keep(self, records: list[Record]) -> list[Record]:
        """Give records to the local store that concern nobody else; return those that must go to the log."""
        if any(type(each) is not PiecesFreed for each in records):
            return records
        self._replica.free(records)
        return []

    def leave(self) -> bool:
        """Begin to release the log before the process ends; return False where there is nothing to release."""
        self._replica.leaving = True
        if not self.owns:
            return False
        if not self._replica.settled():
            raise BrokenInvariantError("a broker that has drained has a burst under way")
        self._replica.release(self.to or "", self._clock.mark())
        return True

    def hand_over(self, to: str) -> None:
        """Give the log to a candidate when the present requests are answered. Raise `handover-failed`."""
        ready = {each.candidate: each for each in self._reports()}
        if not self.owns:
            raise FanmailError("handover-failed", "this candidate is not the owner")
        if to == self.status().name or (to and to not in ready) or not ready:
            raise FanmailError("handover-failed", f"no such standby follows the log: there are {', '.join(ready) or 0}")
        self.to = to

    def status(self) -> ops.Replica:
        """Return where this candidate stands."""
        replica, candidate = self._replica, self._replica.candidate
        at, info = candidate.position, replica.duties.info
        others = [(each.candidate, each.position, each.stored, each.room) for each in self._reports()]
        return ops.Replica(
            name=replica.name,
            role=candidate.role.value,
            owner=candidate.owner_name,
            log_id=replica.log_id.hex(),
            term=at.term,
            position=at.position,
            number=at.number,
            stored=replica.local.stored,
            silent_ms=replica.silent_ms,
            room=replica.room(),
            used=replica.duties.space.used,
            problems=list(info.problems) if info else [],
            others=others,
        )

    def gauges(self) -> dict[str, int]:
        """Return the gauges of `common/protocol/log_stats.py`."""
        replica, candidate, duties = self._replica, self._replica.candidate, self._replica.duties
        info = duties.info
        return {
            log_stats.TOPICS: self._dispatcher.context.state.rules.digest,
            log_stats.TERM: candidate.position.term,
            log_stats.POSITION: candidate.position.position,
            log_stats.APPLIED: replica.local.stored,
            log_stats.FIRST: info.first if info else 0,
            log_stats.SILENCE_MS: replica.silent_ms,
            log_stats.UNDER_WAY_MS: int(candidate.under_way_s * 1000),
            log_stats.CONNECTED: int(duties.connected),
            log_stats.BYTES: info.bytes if info else 0,
            log_stats.LIMIT_BYTES: info.max_bytes if info else 0,
            log_stats.ONE_COPY: int(self.owns and duties.one_copy),
            log_stats.PROBLEMS: len(info.problems) if info else 0,
            log_stats.UNPROVEN: int(self.unproven),
        }

    def _reports(self) -> list[Report]:
        return self._replica.reports()

    def _take_over(self) -> None:
        dispatcher = self._dispatcher
        before = self._clock.now().mono
        incarnation = self._new_life(self._replica.clock)
        self._outbox.peers.clock_moved(self._clock.now().mono - before)
        dispatcher.identity = dispatcher.identity._replace(incarnation=incarnation)
        dispatcher.counters[log_stats.TAKEOVERS] += 1
        if dispatcher.state is BrokerState.STANDBY:
            dispatcher.state = BrokerState.READY
        self._outbox.announce()
        at = self._replica.candidate.position
        log.info("owns the log", extra={"term": at.term, "position": at.position, "number": at.number})


def succession_of(
    store: Store, dispatcher: Dispatcher, outbox: Outbox, clock: Clock, new_life: Callable[[Mark], int]
) -> Succession | None:
    """Return the part of a candidate, None for a store without a replicated log."""
    return Succession(store, dispatcher, outbox, clock, new_life) if isinstance(store, ReplicaStore) else None
