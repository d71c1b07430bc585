"""Which topics a broker serves: those of the slots that its store owns; one in memory owns what its map gives it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Protocol

from common.cluster.replacement import why_refused
from common.cluster.slots import SLOTS, ClusterMap, slot_of
from common.errors import FanmailError

log = logging.getLogger("fanmail.broker")


class Gone(Protocol):
    """Where a slot has gone."""

    @property
    def to(self) -> str: ...

    @property
    def epoch(self) -> int: ...


class ServedSlots(Protocol):
    """What is needed here of `broker.state.slots.Slots`."""

    known: bool
    served: bytearray

    @property
    def leaving(self) -> Mapping[int, object]: ...

    @property
    def left(self) -> Mapping[int, Gone]: ...


class Ownership:
    """The map that a broker uses, and its answer for topics that it does not serve."""

    def __init__(self, broker: str, cluster_map: ClusterMap, slots: ServedSlots) -> None:
        self._broker = broker
        self._slots = slots
        self.map = cluster_map
        self.newest_seen = cluster_map.epoch
        """The greatest epoch of a map that a front has named. Above `map.epoch` the description is read again."""
        self._follow()

    def saw_epoch(self, epoch: int) -> None:
        """Record the epoch of the map that a front uses."""
        self.newest_seen = max(self.newest_seen, min(epoch, 2**62))

    def check(self, topic: bytes) -> None:
        """Raise `not-owner` or `moving` (503) for a topic that is not served here: one look-up."""
        slot = slot_of(topic)
        if not self._slots.served[slot]:
            raise self._refusal(slot)

    def why_refused(self, newer: ClusterMap) -> str:
        """Return why a description must not be used in place of the one that is; "" where it may."""
        owned = sum(map(bool, self._slots.served)) + len(self._slots.leaving)
        left_out = owned and all(each.id != self._broker for each in newer.brokers)
        return why_refused(self.map, newer, {self._broker: owned} if left_out else {})

    def change_map(self, newer: ClusterMap, topics: Iterable[bytes]) -> bool:
        """Take a newer map and return True.

        Where the store does not say what it owns, a map that gives away one of the `topics` is refused.
        """
        lost = 0 if self._slots.known else count_foreign(newer, self._broker, topics)
        if lost:
            log.error("newer map refused: it gives away topics that this broker holds", extra={"topics": lost})
            return False
        log.info("newer map taken", extra={"epoch": newer.epoch})
        self.map = newer
        self._follow()
        return True

    def _refusal(self, slot: int) -> FanmailError:
        if slot in self._slots.leaving:
            return FanmailError("moving", f"slot {slot} of broker {self._broker} is on the move", slot=slot)
        gone = self._slots.left.get(slot)
        if gone is None:
            return FanmailError("not-owner", f"broker {self._broker} does not own this topic", slot=slot)
        detail = f"slot {slot} of this topic has moved from broker {self._broker} to {gone.to}"
        return FanmailError("not-owner", detail, slot=slot, owner=gone.to, slot_epoch=gone.epoch)

    def _follow(self) -> None:
        if not self._slots.known:
            owners = self.map.owners
            self._slots.served[:] = bytes(owners[slot] == self._broker for slot in range(SLOTS))


def count_foreign(cluster: ClusterMap, broker: str, topics: Iterable[bytes]) -> int:
    """Return how many of the topics a map assigns to other brokers."""
    return sum(cluster.owner(name) != broker for name in topics)


def digest_of(cluster: ClusterMap) -> str:
    """Return a digest of the name of a cluster and the owners of its slots."""
    return blake2b("\n".join((cluster.name, *cluster.owners)).encode(), digest_size=8).hexdigest()
