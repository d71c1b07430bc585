"""The slots that a broker owns, and those that come and go. The store says so; the cluster description does not.

A slot that is here is in `epochs`. While it leaves it stays there, and nothing of it is executed. Topics of a slot that
comes are in the state already, and nobody can reach them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from broker import slot_records as records
from broker.errors import must
from common.cluster.slots import SLOTS, slot_of

OWN = ""
"""In `Slots.seen`: this broker itself."""


class Leaving(NamedTuple):
    """Where a slot goes. Persists."""

    to: str
    move: int


class Pointer(NamedTuple):
    """Where a slot has gone. Persists."""

    to: str
    epoch: int
    move: int
    """Or `KEPT`: it was not sent there from here, and what this store has of it is kept."""


class Coming(NamedTuple):
    """Where a slot comes from. Persists."""

    source: str
    move: int


class Slots:
    """Changed by `State.apply` only. Dictionaries by slot."""

    def __init__(self) -> None:
        self.known = False
        """The store says what it owns."""
        self.spread_over: str | None = None
        """As in `StoreOpened`."""
        self.unproven = False
        """The store was restored, and another broker may own its slots by now."""
        self.epochs: dict[int, int] = {}
        """Of the slots that are owned; those that leave are among them."""
        self.leaving: dict[int, Leaving] = {}
        self.left: dict[int, Pointer] = {}
        self.coming: dict[int, Coming] = {}
        self.seen: dict[str, int] = {}
        """The greatest id of a move from each broker, `OWN`: of this one."""
        self.served = bytearray(SLOTS)
        """1 for every slot whose requests are executed. Looked up for every request. Until the store says what it owns,
        it is what the description says (`broker/ownership.py`).
        """
        self.names: dict[int, dict[bytes, int]] = {}
        """The topics of each slot that has any, with how many things there are by that name."""
        self.version = 0
        """Changes when anything but `names` does. Not a part of the state."""

    def changes(self) -> dict[type[records.SlotRecord], Callable[..., None]]:
        """Return the method that applies each kind of record."""
        return {
            records.Owns: self.owns,
            records.StoreProven: self.proven,
            records.SlotLeaving: self.leave,
            records.SlotStays: self.stay,
            records.SlotLeft: self.have_left,
            records.SlotComing: self.come,
            records.SlotDropped: self.drop,
            records.SlotArrived: self.arrive,
            records.MoveSeen: self.saw,
        }

    @property
    def resting(self) -> bool:
        """Return whether there may be topics here whose slots are not served."""
        return bool(self.leaving or self.coming or self.left)

    def serves(self, topic: bytes) -> bool:
        """Return whether the slot of a topic is served here."""
        return self.served[slot_of(topic)] == 1

    def holds(self, topic: bytes) -> bool:
        """Return whether the slot of a topic is owned here, frozen or not; else it is coming, or gone."""
        return not self.known or slot_of(topic) in self.epochs

    def gone(self, slot: int) -> bool:
        """Return whether what is here of a slot is to be ended.

        That of a slot which a restored store has, and another broker owns, is kept.
        """
        pointer = self.left.get(slot)
        return slot not in self.epochs and slot not in self.coming and (pointer is None or pointer.move != records.KEPT)

    def add_name(self, topic: bytes) -> None:
        """Note that there is one more thing by this name: a topic, or its keys or delayed publishes."""
        names = self.names.setdefault(slot_of(topic), {})
        names[topic] = names.get(topic, 0) + 1

    def remove_name(self, topic: bytes) -> None:
        """Note that there is one less."""
        slot = slot_of(topic)
        names = self.names[slot]
        if names[topic] > 1:
            names[topic] -= 1
            return
        del names[topic]
        if not names:
            del self.names[slot]

    def owns(self, record: records.Owns) -> None:
        """Own the slots of a bitmap, and perhaps none."""
        if not self.known:
            self.known = True
            self.served[:] = bytes(SLOTS)
        for slot in records.slots_in(record.bitmap):
            must(slot not in self.coming and slot not in self.leaving, "a slot that moves is not claimed")
            self.epochs[slot] = record.epoch
            self.left.pop(slot, None)
            self._changed(slot)
        self.version += 1

    def proven(self, record: records.StoreProven) -> None:
        """Note whether the store is known to be the newest of this broker."""
        self.unproven = not record.proven
        self.version += 1

    def leave(self, record: records.SlotLeaving) -> None:
        """Freeze a slot."""
        must(record.slot in self.epochs and record.slot not in self.leaving, "a slot leaves its owner, once")
        self.leaving[record.slot] = Leaving(record.to, record.move)
        self._saw(OWN, record.move)
        self._changed(record.slot)

    def stay(self, record: records.SlotStays) -> None:
        """Serve a slot again that was frozen."""
        must(self.leaving.pop(record.slot).move == record.move, "a slot stays when its own move has ended")
        self._changed(record.slot)

    def have_left(self, record: records.SlotLeft) -> None:
        """Keep only where a slot has gone."""
        self.leaving.pop(record.slot, None)
        self.epochs.pop(record.slot, None)
        self.left[record.slot] = Pointer(record.to, record.epoch, record.move)
        self._changed(record.slot)

    def come(self, record: records.SlotComing) -> None:
        """Begin to take a slot."""
        must(record.slot not in self.epochs and record.slot not in self.coming, "a slot comes where it is not")
        must(record.slot not in self.names, "a slot comes where nothing of it is left")
        self.coming[record.slot] = Coming(record.source, record.move)
        self._saw(record.source, record.move)
        self._changed(record.slot)

    def drop(self, record: records.SlotDropped) -> None:
        """Refuse a move from now on; what has come of it is to be removed."""
        if self.coming.get(record.slot) == (record.source, record.move):
            del self.coming[record.slot]
        self._saw(record.source, record.move)
        self._changed(record.slot)

    def arrive(self, record: records.SlotArrived) -> None:
        """Own a slot that has come."""
        must(self.coming.pop(record.slot) == (record.source, record.move), "what arrives was coming")
        self.epochs[record.slot] = record.epoch
        self.left.pop(record.slot, None)
        self._changed(record.slot)

    def saw(self, record: records.MoveSeen) -> None:
        """Remember the greatest id of a move from a broker."""
        self._saw(record.source, record.move)

    def epoch_of(self, slot: int) -> int:
        """Return the greatest epoch of a slot that this broker knows of, 0 if none."""
        pointer = self.left.get(slot)
        return max(self.epochs.get(slot, 0), pointer.epoch if pointer else 0)

    def _saw(self, source: str, move: int) -> None:
        self.seen[source] = max(move, self.seen.get(source, 0))

    def _changed(self, slot: int) -> None:
        self.served[slot] = int(slot in self.epochs and slot not in self.leaving)
        self.version += 1
