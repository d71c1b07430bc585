"""What a broker says of a description that leaves it out."""

from __future__ import annotations

import pytest

from broker.ownership import Ownership
from broker.slot_records import Owns, SlotLeaving, bitmap_of
from broker.state.slots import Slots
from common.cluster.slots import BrokerAddress, ClusterMap

TWO, OTHER = (
    ClusterMap("fanmail", epoch, [BrokerAddress(each, f"ipc:///{each}") for each in ids])
    for epoch, ids in ((1, ("b0", "b1")), (2, ("b1", "b2")))
)


@pytest.mark.parametrize("leaving", [(), (7,), (7, 8)])
def test_it_is_refused_while_there_are_slots_here_frozen_or_not(leaving: tuple[int, ...]) -> None:
    slots = Slots()
    slots.owns(Owns(bitmap_of([7, 8]), 1))
    for slot in leaving:
        slots.leave(SlotLeaving(slot, "b1", 1))
    said = Ownership("b0", TWO, slots).why_refused(OTHER)
    assert "leaves out broker b0, which owns 2 slots" in said


def test_it_is_taken_where_nothing_is_left_here() -> None:
    slots = Slots()
    slots.owns(Owns(bitmap_of([]), 1))
    assert Ownership("b0", TWO, slots).why_refused(OTHER) == ""
