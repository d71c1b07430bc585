"""The records about slots (`broker/state/slots.py`); a part of `broker/records.py`.

A move at its source: MoveSeen where the slot is copied first, SlotLeaving, then SlotStays or SlotLeft. At its target:
SlotComing, the records of what is in the slot, then SlotDropped or SlotArrived, which is the move. Its id grows with
each of its source.

In `load()` they come in this order: StoreProven where it is not, Owns for each epoch, and with no slots where there are
none, SlotLeaving, SlotLeft, SlotComing, MoveSeen.
"""

from __future__ import annotations

from collections.abc import Collection

from broker.errors import must
from broker.packed import Packed
from common.cluster.slots import SLOTS

KEPT, DROPPED = 0, 1
"""In place of the id of a move in `SlotLeft`: the slot did not leave from here; what is here of it stays, or ends."""


class Owns(Packed, tag=23):
    """The broker owns the slots of this bitmap, at this epoch: bit n of byte m is slot 8 m + n.

    Written when a cluster is made, perhaps with no slots, and at an operator's word.
    """

    bitmap: bytes
    epoch: int


class SlotLeaving(Packed, tag=24):
    """A slot is frozen: nothing of its topics changes before SlotStays or SlotLeft. Only pieces may be sent before."""

    slot: int
    to: str
    move: int


class SlotStays(Packed, tag=25):
    """A slot is served again: the target has said that the move has not arrived, and never will."""

    slot: int
    move: int


class SlotLeft(Packed, tag=26):
    """A slot has arrived at another broker; what is left of its topics here ends soon.

    With `KEPT` it did not leave from here: a restored store learned that it is elsewhere, and keeps what it has.
    """

    slot: int
    to: str
    move: int
    epoch: int
    """Of the slot, at its new owner."""


class SlotComing(Packed, tag=27):
    """The topics of a slot begin to come. Nobody can reach them, and their timers rest."""

    slot: int
    source: str
    move: int


class SlotDropped(Packed, tag=28):
    """A move is refused from now on, known or not; what has come of it ends soon."""

    slot: int
    source: str
    move: int


class SlotArrived(Packed, tag=29):
    """All of a slot has come, and this broker owns it. This record is the move."""

    slot: int
    source: str
    move: int
    epoch: int


class MoveSeen(Packed, tag=30):
    """The greatest id of a move from a broker, "" for this one. Written before a slot is copied that is in use."""

    source: str
    move: int


class StoreProven(Packed, tag=31):
    """Whether it is known that no other broker has taken the slots of this store meanwhile; not so once restored."""

    proven: bool


SlotRecord = Owns | SlotLeaving | SlotStays | SlotLeft | SlotComing | SlotDropped | SlotArrived | MoveSeen | StoreProven


def slots_in(bitmap: bytes) -> list[int]:
    """Return the slots of a bitmap, ascending. Raises `MisfitError` for one of another length."""
    must(len(bitmap) * 8 == SLOTS, "a bitmap has a bit for every slot")
    return [slot for slot in range(SLOTS) if bitmap[slot >> 3] >> (slot & 7) & 1]


def bitmap_of(slots: Collection[int]) -> bytes:
    """Return the bitmap of slots."""
    found = bytearray(SLOTS // 8)
    for slot in slots:
        found[slot >> 3] |= 1 << (slot & 7)
    return bytes(found)
