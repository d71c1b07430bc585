"""What a broker does about its slots: it ends what is left of them, and finds out what a restored store still owns."""

from __future__ import annotations

import pytest
from msgspec import Struct

from broker.dispatch.links import Question
from broker.dispatch.moves import Moves
from broker.dispatch.residue import end_residue
from broker.slot_records import SlotLeaving, SlotLeft, StoreProven
from broker.state.slots import Pointer
from common.cluster.slots import BrokerAddress, ClusterMap, slot_of
from common.protocol import move_ops as mv
from common.protocol.ops import Op
from common.protocol.wire import BrokerState
from tests.support.driver import IDENTITY, BrokerDriver
from tests.support.mirror import MirrorStore
from tests.support.moved import ALL, NONE, own, parts

MAP = ClusterMap("fanmail", 1, [BrokerAddress(each, f"ipc:///{each}") for each in ("b0", "b1")])
TOPIC = b"t"
SLOT = slot_of(TOPIC)


class OtherBroker:
    """The connection to the only other one, which is up. Implements `Links` and `Link`."""

    up = answers = True

    def __init__(self, owned: tuple[mv.SlotRun, ...] = (), left: tuple[mv.SlotPointer, ...] = ()) -> None:
        self.table = mv.SlotTable("b1", "serving", 1, "", 1, list(owned), list(left), [])
        self.asked: list[Op] = []

    def to(self, broker: str) -> OtherBroker:
        return self

    def ask(self, op: Op, args: Struct, body: bytes | None = None) -> Question:
        self.asked.append(op)
        return Question(True, self.table) if op is Op.SLOTS else Question()


def core(broker: str = "b0", slots: bytes = ALL) -> BrokerDriver:
    driver = BrokerDriver(store=MirrorStore("0badcafe"), cluster_map=MAP, identity=IDENTITY._replace(broker=broker))
    own(driver, slots)
    return driver


def restored(driver: BrokerDriver, other: OtherBroker) -> Moves:
    """Begin with its store as one that was copied, and run until it serves."""
    driver.dispatcher.context.emit(StoreProven(False))
    driver.commit()
    moves = Moves(driver.dispatcher, other)
    moves.begin(driver.clock.now())
    assert driver.dispatcher.state is BrokerState.LOADING
    for _ in range(5):
        moves.turn(driver.clock.now())
        driver.commit()
        driver.clock.advance(1)
    assert driver.dispatcher.state is BrokerState.READY
    return moves


def test_what_comes_is_not_taken_for_what_was_left() -> None:
    """The turn ends at another slot that has much left, before this one, which has nothing left."""
    source, target = core(), core("b1", NONE)
    source.subscribe(TOPIC, b"u")
    context = target.dispatcher.context
    assert target.ask(Op.MOVE_ASK, args=mv.AskMove("b0", SLOT, 1, 7)).result == mv.MoveOutcome(False)
    assert context.residue == {SLOT}
    for part in parts(source, SLOT, move=8):
        assert not target.ask(Op.ADOPT, args=part).code
    end_residue(context, 100)
    assert target.publish(TOPIC, b"kept").result.subscribers == 1


def test_a_question_about_another_move_ends_nothing_that_comes() -> None:
    source, target = core(), core("b1", NONE)
    source.subscribe(TOPIC, b"u")
    (part,) = parts(source, SLOT)
    part.last = False
    assert not target.ask(Op.ADOPT, args=part).code
    assert target.ask(Op.MOVE_ASK, args=mv.AskMove("b9", SLOT, 1, 7)).result == mv.MoveOutcome(False)
    assert not target.dispatcher.context.residue


@pytest.mark.parametrize("mine", [True, False])
def test_a_restored_store_gives_up_a_slot_that_was_leaving_and_has_left(mine: bool) -> None:
    driver = core()
    driver.subscribe(TOPIC, b"u")
    driver.dispatcher.context.emit(SlotLeaving(SLOT, "b1", 5))
    there = OtherBroker(left=(mv.SlotPointer(SLOT, "b0", 3),)) if mine else OtherBroker((mv.SlotRun(SLOT, SLOT, 2),))
    moves = restored(driver, there)
    slots = driver.state.slots
    assert not slots.leaving
    assert not moves.rows()
    assert slots.epochs.get(SLOT) == (3 if mine else None)
    assert slots.left.get(SLOT) == (None if mine else Pointer("b1", 2, 0))
    assert TOPIC in driver.state.topics, "nothing is deleted on the word of a copy"


def test_a_restored_store_has_the_epochs_that_others_know() -> None:
    """Its slots have been away and come back since: with the smaller epoch they could not leave again."""
    driver = core()
    driver.dispatcher.context.emit(SlotLeft(7, "b1", 4, 2))
    left = (mv.SlotPointer(SLOT, "b0", 3), mv.SlotPointer(7, "b0", 5), mv.SlotPointer(9, "b2", 2))
    restored(driver, OtherBroker(left=left))
    slots = driver.state.slots
    assert (slots.epochs[SLOT], slots.epochs[7]) == (3, 5)
    assert slots.left == {9: Pointer("b2", 2, 0)}
    assert all(slots.serves(topic) for topic in (TOPIC, *[b"%d" % n for n in range(99) if slot_of(b"%d" % n) != 9]))
