"""The table of slots in a cluster description: which broker has each slot, and since which epoch of the slot.

Every move of a slot raises its epoch by one. The brokers have the last word: the table is what they said when it was
written, and of two statements about a slot the one with the greater epoch holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from common.cluster.slots import SLOTS, SlotOwner

MAX_EPOCH = 2**62
_PART = re.compile(r"(?P<first>[0-9]{1,4})(?:-(?P<last>[0-9]{1,4}))?(?:@(?P<epoch>[0-9]{1,19}))?").fullmatch


def parse_slots(text: str) -> dict[int, int]:
    """Return the slots of a text such as `0-99 105@2`, with their epochs: 1 where there is none.

    Raises `ValueError` that names the mistake.
    """
    found: dict[int, int] = {}
    for part in text.replace(",", " ").split():
        match = _PART(part)
        first, last = (int(match["first"]), int(match["last"] or match["first"])) if match else (1, 0)
        epoch = int(match["epoch"] or 1) if match else 0
        if not first <= last < SLOTS or not 1 <= epoch < MAX_EPOCH:
            raise ValueError(f"{part!a} is not a slot below {SLOTS}, or first-last, with @epoch from 1")
        for slot in range(first, last + 1):
            if slot in found:
                raise ValueError(f"slot {slot} is there twice")
            found[slot] = epoch
    return found


def format_slots(slots: Mapping[int, int]) -> str:
    """Return the text that `parse_slots` reads, for slots with their epochs."""
    parts = []
    for first, last in _runs(slots):
        epoch = slots[first]
        span = str(first) if first == last else f"{first}-{last}"
        parts.append(span if epoch == 1 else f"{span}@{epoch}")
    return " ".join(parts)


def parse_table(rows: Mapping[str, object], ids: Sequence[str]) -> tuple[SlotOwner, ...]:
    """Return the owner of every slot, from the text of each broker. Raises `ValueError` that names the mistake."""
    owners: list[SlotOwner | None] = [None] * SLOTS
    for broker, text in rows.items():
        if broker not in ids or not isinstance(text, str):
            raise ValueError(f"cluster.slots: {broker} must be the id of a broker, with a text such as '0-99 105@2'")
        try:
            slots = parse_slots(text)
        except ValueError as error:
            raise ValueError(f"cluster.slots: {broker}: {error}") from None
        for slot, epoch in slots.items():
            other = owners[slot]
            if other is not None:
                raise ValueError(f"cluster.slots: slot {slot} is there twice, for {other.broker} and {broker}")
            owners[slot] = SlotOwner(broker, epoch)
    missing = [slot for slot, owner in enumerate(owners) if owner is None]
    if missing:
        raise ValueError(f"cluster.slots: no broker has slots {format_slots(dict.fromkeys(missing, 1))}")
    return tuple(owner for owner in owners if owner is not None)


def format_table(owners: Sequence[SlotOwner], ids: Iterable[str]) -> str:
    """Return the table in TOML. Brokers without slots are there too, with an empty text."""
    rows = ["[cluster.slots]"]
    for broker in ids:
        mine = {slot: owner.epoch for slot, owner in enumerate(owners) if owner.broker == broker}
        rows.append(f'{broker} = "{format_slots(mine)}"')
    return "\n".join(rows) + "\n"


def _runs(slots: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return first and last of each run of neighbouring slots with one epoch."""
    runs: list[tuple[int, int]] = []
    for slot in sorted(slots):
        if runs and runs[-1][1] == slot - 1 and slots[slot] == slots[slot - 1]:
            runs[-1] = (runs[-1][0], slot)
        else:
            runs.append((slot, slot))
    return runs
