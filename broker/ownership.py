"""Which topics a broker owns: those whose slots the cluster's map assigns to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from common.cluster.slots import ClusterMap
from common.errors import FanmailError

log = logging.getLogger("fanmail.broker")


class Ownership:
    """The map that a broker uses."""

    def __init__(self, broker: str, cluster_map: ClusterMap) -> None:
        self._broker = broker
        self.map = cluster_map
        self.newest_seen = cluster_map.epoch
        """The greatest epoch of a map that a front has named. Above `map.epoch` the description is read again."""

    def saw_epoch(self, epoch: int) -> None:
        """Record the epoch of the map that a front uses."""
        self.newest_seen = max(self.newest_seen, min(epoch, 2**62))

    def check(self, topic: bytes) -> None:
        """Raise `not-owner` (503) for a topic of another broker."""
        if self.map.owner(topic) != self._broker:
            raise FanmailError("not-owner", f"broker {self._broker} does not own this topic")

    def change_map(self, newer: ClusterMap, topics: Iterable[bytes]) -> bool:
        """Take a newer map and return True, unless it gives away one of the `topics` that this broker holds."""
        lost = count_foreign(newer, self._broker, topics)
        if lost:
            log.error("newer map refused: it gives away topics that this broker holds", extra={"topics": lost})
            return False
        log.info("newer map taken", extra={"epoch": newer.epoch})
        self.map = newer
        return True


def count_foreign(cluster: ClusterMap, broker: str, topics: Iterable[bytes]) -> int:
    """Return how many of the topics a map assigns to other brokers."""
    return sum(cluster.owner(name) != broker for name in topics)
