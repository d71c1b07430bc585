"""Waits until a burst is settled. Long waits are not silent: fronts are answered that nothing is executed meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable

import zmq

from broker.dispatch.dispatcher import Dispatcher
from broker.errors import StoreError
from broker.server.outbox import Outbox
from broker.store.base import Store
from common.clock import Clock
from common.process.descriptors import drain_fd

STALLED_US = 1_000_000
"""Microseconds that a burst is waited for before requests are refused: G9, an answer within a second or two."""
TICK_MS = 20
"""Milliseconds between two rounds while fronts are answered."""
REPAIR_MS = 100
"""Milliseconds between two looks at a store that may have something to do by itself, as sending an entry again."""
BLIND_MS = 1
"""Milliseconds between two looks at a store that has no descriptor."""


class Settling:
    """Waits for one store, in the loop's thread."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        outbox: Outbox,
        clock: Clock,
        wake_fd: int,
        receive: Callable[[], list[list[bytes]]],
        give_up: Callable[[int], bool],
    ) -> None:
        """Create it; `receive` takes what has arrived. The wait fails when `give_up(began)` returns True."""
        self._store = store
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._clock = clock
        self._wake_fd = wake_fd
        self._receive = receive
        self._give_up = give_up
        self._poller = zmq.Poller()
        self.sources = [store.fileno] if store.fileno is not None and store.fileno >= 0 else []
        """What becomes readable when the store has something to say."""
        for source in (*self.sources, wake_fd):
            self._poller.register(source, zmq.POLLIN)

    def wait(self, began: int) -> None:
        """Return when the burst is settled; refuse what arrives from a second after `began` on. Raise `StoreError`.

        `began` in microseconds of the monotonic clock.
        """
        try:
            while not self._store.settled():
                left_us = began + STALLED_US - self._clock.now().mono
                self._poll(TICK_MS if left_us <= 0 else min(REPAIR_MS, math.ceil(left_us / 1000)))
                if left_us <= 0:
                    self._dispatcher.stalled = True
                    self._refuse()
                if self._give_up(began):
                    raise StoreError("stopped while the log did not answer: whether it has the last burst is unknown")
        finally:
            self._dispatcher.stalled = False

    def _poll(self, most_ms: int) -> None:
        for source, _ in self._poller.poll(most_ms if self.sources else BLIND_MS):
            if source == self._wake_fd:
                drain_fd(self._wake_fd)

    def _refuse(self) -> None:
        """Answer PING, GOODBYE and STATS; all else is `log-stalled`, and parked requests end at their deadlines."""
        now = self._clock.now()
        for peer_id, *frames in self._receive():
            arrived = self._dispatcher.handle(frames, now, peer_id)
            self._outbox.peers.heard(peer_id, now.mono, arrived.goodbye)
            self._outbox.reply(peer_id, arrived.replies)
        for peer_id, answer in self._dispatcher.turn(now):
            self._outbox.reply(peer_id, [answer])
        self._outbox.retry_blocked()
