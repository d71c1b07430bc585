"""The owner of every slot as a front knows it: from the description, and from what brokers say. No sockets here.

Of two statements about a slot the one with the greater epoch holds. A description without a table of slots is a guess
(epoch 0), which whatever a broker says replaces.
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
        self.epochs: list[int] = []

    def take(self, table: Sequence[SlotOwner]) -> None:
        """Take what a description says of every slot. A new guess replaces an old one."""
        if not self.owners:
            self.owners += [owner.broker for owner in table]
            self.epochs += [owner.epoch for owner in table]
            return
        for slot, (broker, epoch) in enumerate(table):
            if epoch > self.epochs[slot] or epoch == self.epochs[slot] == 0:
                self.owners[slot], self.epochs[slot] = broker, epoch

    def learn(self, slot: int, broker: str, epoch: int) -> bool:
        """Take what a broker says of a slot; return whether that is newer than what was known."""
        if not self.owners or epoch <= self.epochs[slot]:
            return False
        self.owners[slot], self.epochs[slot] = broker, epoch
        return True

    def hear(self, broker: str, owned: Mapping[int, int], left: Iterable[tuple[int, str, int]]) -> None:
        """Take what a broker says: the slots that it owns with their epochs, and slot, owner, epoch of what has left.

        What was thought to be its own and is not gives way to whatever another broker says.
        """
        if not self.owners:
            return
        for slot, owner in enumerate(self.owners):
            if owner == broker and slot not in owned:
                self.epochs[slot] = 0
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
        certain = (owner for owner, epoch in zip(self.owners, self.epochs, strict=True) if epoch)
        return dict(Counter(owner for owner in certain if owner not in known))
