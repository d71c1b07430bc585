"""The owner of every slot as a front knows it: from the description, and from what brokers say. No sockets here.

Of two statements about a slot the one with the greater epoch holds; of one epoch, that of a broker and not that of the
description. A description without a table of slots is a guess (epoch 0), which whatever a broker says replaces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from common.cluster.slots import SlotOwner


class SlotTable:
    """Belongs to the hub's thread."""

    def __init__(self) -> None:
        self.owners: list[str] = []
        """Broker ids by slot; empty while there is no description. Always the same list."""
        self._ranks: list[int] = []
        """Twice the epoch of each slot, and one more where a broker has said so."""

    def take(self, table: Sequence[SlotOwner]) -> None:
        """Take what a description says of every slot. A new guess replaces an old one."""
        if not self.owners:
            self.owners += [owner.broker for owner in table]
            self._ranks += [2 * owner.epoch for owner in table]
            return
        for slot, (broker, epoch) in enumerate(table):
            if 2 * epoch > self._ranks[slot] or epoch == self._ranks[slot] == 0:
                self.owners[slot], self._ranks[slot] = broker, 2 * epoch

    def learn(self, slot: int, broker: str, epoch: int) -> bool:
        """Take what a broker says of a slot; return whether that is newer than what was known."""
        rank = 2 * epoch + 1
        if not self.owners or rank <= self._ranks[slot]:
            return False
        self.owners[slot], self._ranks[slot] = broker, rank
        return True

    def hear(self, broker: str, owned: Mapping[int, int], left: Iterable[tuple[int, str, int]]) -> None:
        """Take what a broker says: the slots that it owns with their epochs, and slot, owner, epoch of what has left.

        What was thought to be its own and is not gives way to whatever another broker says.
        """
        if not self.owners:
            return
        for slot, owner in enumerate(self.owners):
            if owner == broker and slot not in owned:
                self._ranks[slot] = 0
        for slot, epoch in owned.items():
            self.learn(slot, broker, epoch)
        for slot, to, epoch in left:
            self.learn(slot, to, epoch)

    def counts(self) -> dict[str, int]:
        """Return the number of slots of each broker that has any."""
        return dict(Counter(self.owners))

    def orphaned_by(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the brokers that are not in `ids` and have slots for certain, with the number of these slots."""
        known = set(ids)
        certain = (owner for owner, rank in zip(self.owners, self._ranks, strict=True) if rank)
        return dict(Counter(owner for owner in certain if owner not in known))
