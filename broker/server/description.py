"""The cluster description, while the broker runs: who may connect, where other brokers are, and the map."""

from __future__ import annotations

import logging

from broker.dispatch.dispatcher import Dispatcher
from broker.server.links import BrokerLinks, admitted
from broker.server.listener import Listener
from broker.server.process import Process

log = logging.getLogger("fanmail.broker")


class Description:
    """Reads the description again where it is asked to, or a front has named a greater epoch."""

    def __init__(self, process: Process, listener: Listener, dispatcher: Dispatcher) -> None:
        self._process = process
        self._listener = listener
        self._dispatcher = dispatcher
        self.links: BrokerLinks | None = None
        """The connections to other brokers."""
        self._refused_epoch = 0

    def look(self) -> None:
        """Read it where a front has a newer one."""
        ownership = self._dispatcher.ownership
        if ownership.newest_seen > max(ownership.map.epoch, self._refused_epoch):
            ownership.newest_seen = ownership.map.epoch
            self.read()

    def read(self) -> None:
        """Take those who may connect from the description, and the map of topics if its epoch is greater."""
        newer = self._process.reload_map()
        if newer is None:
            return
        reason = self._dispatcher.ownership.why_refused(newer)
        if reason:
            log.error("the cluster description is refused", extra={"reason": reason})
            self._refused_epoch = newer.epoch  # not tried again every turn
            return
        self._listener.admit(admitted(newer, self._dispatcher.identity.broker))
        if self.links is not None:
            self.links.take(newer)
        ownership, topics = self._dispatcher.ownership, self._dispatcher.context.state.names
        if newer.epoch > ownership.map.epoch and not ownership.change_map(newer, topics):
            self._refused_epoch = newer.epoch  # not tried again every turn
