"""Deadlines of topics whose slots are not served: they wait until the slot is. What is due then is due at once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from broker.state.slots import Slots
from broker.state.timers import Timers
from common.cluster.slots import slot_of


class Resting:
    """The deadlines that have passed meanwhile, by slot."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._kept: dict[int, list[tuple[Timers[Any], Hashable, int]]] = {}

    def keeps(self, timers: Timers[Any], key: Hashable, topic: bytes, due: int = 0) -> bool:
        """Keep a deadline that was due and return True, where the slot of its topic is not served."""
        if not self._slots.resting or self._slots.serves(topic):
            return False
        self._kept.setdefault(slot_of(topic), []).append((timers, key, due))
        return True

    def forget_gone(self) -> None:
        """Forget what has rested in slots that have left since, or whose move was dropped."""
        for slot in [slot for slot in self._kept if self._slots.gone(slot)]:
            del self._kept[slot]

    def end(self, slot: int) -> list[tuple[Timers[Any], Any, int]]:
        """Forget and return what has rested in a slot: timers, key and deadline."""
        return self._kept.pop(slot, [])
