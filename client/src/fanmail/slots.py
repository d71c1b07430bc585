"""Slots as the operations port describes them: a topic belongs to one of 1,024 slots, and a slot to one broker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlotMove:
    """A slot on the move, or one whose last move was refused."""

    slot: int
    source: str
    to: str
    state: str
    """`offering` and `copying` (still in use), `leaving` and `asking` (requests wait), `left`, or `refused`, with the
    `reason`.
    """
    records: int
    """Sent so far."""
    bytes: int
    """The same, in bytes."""
    reason: str


@dataclass(frozen=True, slots=True)
class BrokerSlots:
    """The slots of one broker."""

    id: str
    status: str
    """`serving`, `founding` or `unproven` (it waits for the other brokers), `memory`, or `unreachable`."""
    paused: bool
    """Whether an operator has paused moves."""
    count: int
    slots: str
    """Such as `0-99 105@2`; the number after @ is the epoch of a slot that has moved."""
    topics: int
    messages: int
    bytes: int
    """Bodies and kept headers of the stored messages."""


@dataclass(frozen=True, slots=True)
class Slots:
    """All slots of a cluster."""

    brokers: tuple[BrokerSlots, ...]
    moves: tuple[SlotMove, ...]
    unowned: str
    """Slots that no broker which answers owns; normally empty."""


@dataclass(frozen=True, slots=True)
class SlotState:
    """One slot."""

    slot: int
    owner: str | None
    move: SlotMove | None


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """A slot that would be moved."""

    slot: int
    source: str
    to: str


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """What would move between two brokers."""

    source: str
    to: str
    slots: str
    count: int
    topics: int
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """What would be moved."""

    moves: tuple[PlannedMove, ...]
    groups: tuple[PlannedGroup, ...]
