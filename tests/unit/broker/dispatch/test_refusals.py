"""What a front had sent before it read a refusal is refused too: requests of one slot are executed in order."""

from __future__ import annotations

import pytest

from broker.dispatch.refusals import Refusals
from broker.slot_records import SlotLeaving, SlotStays
from common.cluster.slots import SLOTS, slot_of
from common.protocol import ops, wire
from common.protocol.ops import Op
from tests.support.driver import STORE_ID, BrokerDriver
from tests.support.mirror import MirrorStore
from tests.support.moved import ALL, own

TOPIC, OTHER = b"news", b"other"
SLOT = slot_of(TOPIC)
PEER = b"front"


class Fronts:
    """A broker that moves slots, and what its fronts send over their connections."""

    def __init__(self) -> None:
        self.broker = BrokerDriver(store=MirrorStore(STORE_ID))
        own(self.broker, ALL)
        self.traffic = self.broker.dispatcher.traffic
        self.traffic.begin(PEER)
        self.taken = 0
        self.number = 16

    def freeze(self) -> None:
        self.broker.dispatcher.context.emit(SlotLeaving(SLOT, "b1", 1))

    def thaw(self) -> None:
        self.broker.dispatcher.context.emit(SlotStays(SLOT, 1))

    def send(self, topic: bytes = TOPIC, taken: int | None = None, peer_id: bytes = PEER) -> str:
        """Publish, and return the code of the answer, which leaves at the end of the turn."""
        self.number += 1
        deadline = self.broker.clock.now().mono + 1_000_000
        packed = wire.pack_request(self.number, Op.PUBLISH, topic, b"", deadline, ops.Publish(b"", b"x"))
        incarnation = self.broker.dispatcher.identity.incarnation
        frame = wire.pack_requests(incarnation, 1, [packed], self.taken if taken is None else taken)
        arrived = self.broker.dispatcher.handle([frame], self.broker.clock.now(), peer_id)
        return wire.code_of(arrived.replies[0].packed)

    def end_turn(self, size: int = 100, *, read: bool) -> None:
        """Send the answers; the front may read them."""
        sent = self.traffic.sent(PEER, size)
        self.traffic.refusals.left()
        self.broker.commit()
        if read:
            self.taken = sent


@pytest.fixture
def fronts() -> Fronts:
    return Fronts()


def test_what_was_sent_before_a_refusal_was_read_is_refused(fronts: Fronts) -> None:
    fronts.freeze()
    assert fronts.send() == "moving"
    fronts.thaw()
    assert (fronts.send(), fronts.send(OTHER)) == ("moving", "")
    fronts.end_turn(read=False)
    assert fronts.send() == "moving"
    fronts.end_turn(read=True)
    assert fronts.send(taken=0) == "moving"
    assert fronts.send() == ""
    assert fronts.traffic.refusals.marks == {}


def test_every_refusal_begins_anew(fronts: Fronts) -> None:
    fronts.freeze()
    fronts.send()
    fronts.end_turn(read=True)
    fronts.send()
    fronts.thaw()
    assert fronts.send() == "moving"
    fronts.end_turn(read=True)
    assert fronts.send() == ""


def test_other_connections_are_not_concerned(fronts: Fronts) -> None:
    fronts.traffic.begin(b"another")
    fronts.freeze()
    fronts.send()
    fronts.thaw()
    assert fronts.send(peer_id=b"another") == ""


def test_a_front_that_does_not_say_what_it_has_read_is_served(fronts: Fronts) -> None:
    fronts.freeze()
    fronts.send(taken=-1)
    fronts.thaw()
    assert fronts.send(taken=-1) == ""


def test_a_number_from_before_a_connection_was_forgotten_does_not_count(fronts: Fronts) -> None:
    fronts.traffic.sent(PEER, 10_000)
    fronts.traffic.forget(PEER)
    fronts.traffic.begin(PEER)
    fronts.freeze()
    fronts.send(taken=10_000)
    fronts.thaw()
    fronts.end_turn(read=True)
    assert fronts.send(taken=10_000) == "moving"
    assert fronts.send() == ""


def test_what_is_kept_is_bounded_and_ends_with_the_connection() -> None:
    refusals = Refusals({PEER: 5})
    for _ in range(3):
        for slot in range(SLOTS):
            refusals.add(PEER, slot)
    refusals.left()
    assert set(refusals.marks[PEER].values()) == {5}
    refusals.add(PEER, 7)
    refusals.forget(PEER)
    refusals.left()
    assert refusals.marks == {}
