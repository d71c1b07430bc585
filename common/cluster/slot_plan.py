"""Which slots must move, so that rendezvous hashing over the wanted brokers would find them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from common.cluster.slot_table import format_slots
from common.cluster.slots import SLOTS, rendezvous

Sizes = Mapping[int, tuple[int, int, int, int]]
"""By slot: the slot, and its topics, messages and bytes."""


class PlannedMove(NamedTuple):
    """One slot that is to move."""

    slot: int
    source: str
    to: str


MEMORY = "memory"
"""Status of a broker that owns what the description gives it, and moves nothing."""


def why_in_memory(statuses: Mapping[str, str]) -> str:
    """Return why the slots of these brokers do not move, by broker and its status; "" where they do."""
    memory = sorted(broker for broker, status in statuses.items() if status == MEMORY)
    if not memory:
        return ""
    return (
        f"broker {memory[0]} keeps its messages in memory: slots move only between brokers that store them "
        "(--store sqlite or replicated)"
    )


def wanted_brokers(
    owners: Sequence[str], described: Collection[str], add: Iterable[str] = (), drain: Iterable[str] = ()
) -> list[str]:
    """Return the brokers that are to share the slots, in the order of the description.

    `owners` has the id of the owner of each slot, "" where it is not known. With `add` and `drain`: those that own
    slots now, with some more, and without others; without them: all of the description. Raises `ValueError`.
    """
    add, drain = list(add), list(drain)
    for broker in (*add, *drain):
        if broker not in described:
            raise ValueError(f"broker {broker} is not in the cluster description: add it there, and start it")
    both = set(add) & set(drain)
    if both:
        raise ValueError(f"broker {min(both)} cannot be added and drained")
    wanted = ({*owners} | {*add}) - {*drain} if add or drain else {*described}
    found = [broker for broker in described if broker in wanted]
    if not found:
        raise ValueError("no broker would be left")
    return found


def plan_moves(owners: Sequence[str], wanted: Sequence[str]) -> list[PlannedMove]:
    """Return the moves that spread the slots over the wanted brokers, sources and targets by turns.

    Slots whose owner is not known are left out.
    """
    moves = [
        PlannedMove(slot, owner, to)
        for slot, owner in enumerate(owners)
        if owner and (to := rendezvous(slot, wanted)) != owner
    ]
    turns: dict[str, int] = {}
    order = []
    for move in moves:
        turns[move.source] = turns.get(move.source, 0) + 1
        order.append((turns[move.source], move))
    return [move for _, move in sorted(order)]


def plan_slots(owners: Sequence[str], slots: Iterable[int], to: str) -> list[PlannedMove]:
    """Return the moves of these slots to one broker."""
    return [PlannedMove(slot, owners[slot], to) for slot in sorted(set(slots)) if owners[slot] not in ("", to)]


def spread(slots: Iterable[int], wanted: Sequence[str]) -> dict[str, list[int]]:
    """Return for each broker the slots that it would have of these."""
    shares: dict[str, list[int]] = {}
    for slot in sorted(slots):
        shares.setdefault(rendezvous(slot, wanted), []).append(slot)
    return shares


def owners_of(tables: Iterable[tuple[str, Iterable[tuple[int, int, int]]]]) -> tuple[list[str], list[int]]:
    """Return owner and epoch of each slot, by what brokers say: id, and (first, last, epoch) of what it owns.

    The greater epoch wins. Slots that nobody has named have the owner "" and the epoch 0.
    """
    owners, epochs = [""] * SLOTS, [0] * SLOTS
    for broker, runs in tables:
        for first, last, epoch in runs:
            for slot in range(first, last + 1):
                if epoch > epochs[slot]:
                    owners[slot], epochs[slot] = broker, epoch
    return owners, epochs


def described_slots(owners: Sequence[str], broker: str) -> list[tuple[int, int, int]]:
    """Return (first, last, epoch) of each slot that a description gives to a broker, of the smallest epoch."""
    return [(slot, slot, 1) for slot, owner in enumerate(owners) if owner == broker]


def size_of(sizes: Sizes, slots: Iterable[int]) -> tuple[int, int, int]:
    """Return topics, messages and bytes of some slots together."""
    found = [sizes[slot] for slot in slots if slot in sizes]
    _, topics, messages, size = (sum(column) for column in zip((0, 0, 0, 0), *found, strict=True))
    return topics, messages, size


def describe_plan(moves: Sequence[PlannedMove], sizes: Sizes) -> list[dict[str, Any]]:
    """Return one JSON object for each pair of brokers, with what would move between them."""
    slots: dict[tuple[str, str], list[int]] = defaultdict(list)
    for move in moves:
        slots[move.source, move.to].append(move.slot)
    rows = []
    for (source, to), mine in sorted(slots.items()):
        topics, messages, size = size_of(sizes, mine)
        text = format_slots(dict.fromkeys(mine, 1))
        rows.append({"from": source, "to": to, "slots": text, "count": len(mine), "topics": topics})
        rows[-1] |= {"messages": messages, "bytes": size}
    return rows
