"""Arguments and results of the operations that move slots between brokers; the table is `common/protocol/ops.py`.

A slot moves from its source to its target. Its epoch begins with 1 and grows by one with every arrival: where two
brokers name a slot, the greater epoch is right.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from common.cluster.slots import SLOTS

Slot = Annotated[int, Meta(ge=0, lt=SLOTS)]
Count = Annotated[int, Meta(ge=0, lt=2**62)]
Broker = Annotated[str, Meta(min_length=1, max_length=63)]
"""Id of a broker."""
NO_SIZES = -1


class MoveSlot(Struct, array_like=True):
    """Move a slot of this broker to another one. Repeated, ask for the progress."""

    slot: Slot
    to: Broker


class AbortMove(Struct, array_like=True):
    """End the move of a slot of this broker. Where it has arrived already, it is complete."""

    slot: Slot


class MoveRow(Struct, array_like=True):
    """A slot on the move, at its source or its target."""

    slot: int
    to: str
    source: str
    move: int
    """Id of the move: grows with each of its source. 0: none yet."""
    state: str
    """At the source `offering` and `copying` (still in use), `leaving` (frozen, the rest is sent), `asking` (frozen,
    until the target has said whether it has arrived), `left` or `refused` (it stays, see `reason`); at the target
    `coming`.
    """
    records: int = 0
    """Sent, or received, so far."""
    bytes: int = 0
    """The same, packed."""
    reason: str = ""


class ListSlots(Struct, array_like=True):
    """Ask for the slots of a broker; with `sizes_from` from 0 on, also for what is in slots from there on."""

    sizes_from: Annotated[int, Meta(ge=NO_SIZES, le=SLOTS)] = NO_SIZES


class SlotRun(NamedTuple):
    """Slots that a broker owns, from `first` to `last`, all of one epoch."""

    first: Slot
    last: Slot
    epoch: Count


class SlotPointer(NamedTuple):
    """A slot that has left a broker."""

    slot: Slot
    to: Broker
    epoch: Count
    """Of the slot at `to`, when it had arrived there."""


class SlotSize(NamedTuple):
    """What is in a slot of a broker."""

    slot: int
    topics: int
    messages: int
    bytes: int
    """Of bodies and kept headers."""


class SlotTable(Struct, array_like=True):
    """The slots of one broker."""

    broker: str
    status: str
    """`serving`; `founding` (a new store) or `unproven` (a restored one), which wait until all brokers of the
    description have named their slots; `memory` (it owns what the description gives it, and slots do not move there).
    """
    map_epoch: int
    map_digest: str
    """Of the name of the cluster and the owners of all slots, as this broker's description has them."""
    version: int
    """Changes when anything here changes but the progress of moves."""
    owned: list[SlotRun]
    """Ascending; slots that are leaving are among them."""
    left: list[SlotPointer]
    moves: list[MoveRow]
    sizes: list[SlotSize] = []
    """Ascending, without empty ones."""
    sizes_next: int = SLOTS
    """Where to go on asking for sizes; `SLOTS`: they are complete."""
    paused: bool = False
    """The operator has paused moves: none begins here."""
    kept: Annotated[list[Slot], Meta(max_length=SLOTS)] = []
    """Slots that are elsewhere, and of which a restored store has kept what it has; nobody can read that."""


class ClaimSlots(Struct, array_like=True):
    """Own these slots from now on, at this epoch: the word of the operator, for slots whose owner is lost for ever."""

    slots: Annotated[list[Slot], Meta(min_length=1, max_length=SLOTS)]
    epoch: Annotated[int, Meta(ge=1, lt=2**62)]


class DropSlots(Struct, array_like=True):
    """End what a restored store has kept of these slots, which are elsewhere."""

    slots: Annotated[list[Slot], Meta(min_length=1, max_length=SLOTS)]


class OfferSlot(Struct, array_like=True):
    """Ask a broker whether it can take a slot. Nothing changes."""

    source: Broker
    slot: Slot
    epoch: Count
    """Of the slot at its source."""
    topics: Count
    subscriptions: Count
    messages: Count
    bytes: Count
    """Of content."""
    memory: Count
    """Estimated bytes at the source."""
    largest: Count
    """Bytes of the largest body."""
    dead: Count = 0
    """Bytes of memory of dead letters, which have a ceiling of their own; they are in `memory`, too."""


class Adopt(Struct, array_like=True):
    """Take a part of a slot: MessagePack of a list of records (`broker/operations/export.py`)."""

    source: Broker
    slot: Slot
    epoch: Count
    """Of the slot at its source."""
    move: Count
    n: Annotated[int, Meta(ge=1, lt=2**62)]
    """Number of the part, from 1 on."""
    last: bool
    """With this part the slot has arrived."""
    mono_us: Count
    """The clocks of the source: microseconds of its monotonic clock, milliseconds of its time."""
    time_ms: Count
    body: bytes
    """The records; beside the frame from 16 KiB on."""


class Adopted(Struct, array_like=True):
    """Part `n` is stored. `epoch` is that of the slot at its new owner once it has arrived, before that 0."""

    n: Count
    epoch: Count = 0


class AskMove(Struct, array_like=True):
    """Ask whether a slot has arrived. Where it has not, what has come of it is dropped and the move never accepted."""

    source: Broker
    slot: Slot
    epoch: Count
    """Of the slot at its source."""
    move: Count


class MoveOutcome(Struct, array_like=True):
    """Whether a move has arrived; `epoch` and `owner` are those of the slot then, as far as this broker knows."""

    arrived: bool
    epoch: Count = 0
    owner: Annotated[str, Meta(max_length=63)] = ""


class PauseMoves(Struct, array_like=True):
    """Let no more moves begin at this broker, or let them; a restart of the broker lets them."""

    on: bool
