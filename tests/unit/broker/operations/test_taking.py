"""The target of a move: what it refuses, and what it never says twice differently."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from broker.dispatch.moves import Moves
from broker.dispatch.residue import end_residue
from broker.slot_records import SlotLeaving, SlotLeft, SlotStays
from broker.thresholds import DEFAULT
from common.cluster.slots import slot_of
from common.protocol import move_ops as mv
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import ROOMY, BrokerDriver
from tests.support.mirror import MirrorStore
from tests.support.moved import ALL, NONE, own, parts
from tests.support.table import table
from tests.support.tiny import TINY

T = b"t"
SLOT = slot_of(T)


@pytest.fixture
def source() -> BrokerDriver:
    broker = BrokerDriver(store=MirrorStore("0badcafe"), thresholds=TINY)
    own(broker, ALL)
    broker.subscribe(T, b"u")
    for body in (b"1", b"2", b"3"):
        broker.publish(T, body)
    broker.commit()
    return broker


@pytest.fixture
def target() -> BrokerDriver:
    broker = BrokerDriver(store=MirrorStore("feedbeef"), thresholds=TINY)
    broker.identity = broker.identity._replace(broker="b1")
    own(broker, NONE)
    return broker


def adopt(target: BrokerDriver, *all_parts: mv.Adopt) -> list[str]:
    return [target.ask(Op.ADOPT, args=each).code for each in all_parts]


def asks(target: BrokerDriver, move: int = 1, epoch: int = 1) -> Any:
    return target.ask(Op.MOVE_ASK, args=mv.AskMove("b0", SLOT, epoch, move)).result


OFFER = mv.OfferSlot("b0", SLOT, 1, 1, 1, 3, 3, 100, 10)


@table(
    ("changed", "why"),
    [
        ({"topics": 5}, "topics"),
        ({"subscriptions": 9}, "subscriptions"),
        ({"largest": 2000}, "largest body"),
        ({"memory": 10**9}, "memory"),
        ({"dead": 250_001}, "dead letters"),
        ({"bytes": 10**9}, "disk"),
        ({"epoch": 0}, "owned with epoch 1|owns slot"),
    ],
)
def test_an_offer_that_does_not_fit_is_refused_with_the_limit(changed: dict[str, int], why: str) -> None:
    limits = ROOMY._replace(topics=4, subscriptions=8, memory=10**6)
    broker = BrokerDriver(limits, MirrorStore("feedbeef"))
    own(broker, ALL if "epoch" in changed else NONE)
    broker.dispatcher.context.max_body, broker.dispatcher.context.writable_bytes = 1000, 10**6
    if "epoch" not in changed:
        assert broker.ask(Op.OFFER, args=OFFER).code == ""
    answer = broker.ask(Op.OFFER, args=replace(OFFER, **changed))
    assert answer.code == "move-refused"
    assert any(each in answer.detail for each in why.split("|")), answer.detail


def test_nobody_reaches_a_topic_before_it_has_arrived(source: BrokerDriver, target: BrokerDriver) -> None:
    *first, last = parts(source, SLOT)
    assert len(first) > 2
    assert not any(adopt(target, *first))
    assert target.take(T, b"u").code == "not-owner"
    assert target.ask(Op.TOPICS, args=ops.ListTopics(b"", b"", 10)).result.rows == []
    assert adopt(target, last) == [""]
    assert target.bodies(T, b"u") == [b"1", b"2", b"3"]
    assert target.publish(T, b"4").result.epoch == source.state.topics[T].epoch


def test_parts_come_in_order_and_once(source: BrokerDriver, target: BrokerDriver) -> None:
    first, second, third, *_ = parts(source, SLOT)
    assert adopt(target, second, first, third, first, second, second) == [
        "move-refused",
        "",
        "move-refused",
        "move-refused",
        "",
        "move-refused",
    ]


def test_what_was_refused_is_never_accepted_also_after_a_restart(source: BrokerDriver, target: BrokerDriver) -> None:
    all_parts = parts(source, SLOT)
    assert asks(target) == mv.MoveOutcome(False), "of a move that it has not heard of"
    target.commit()
    target.restart()
    assert adopt(target, all_parts[0]) == ["move-refused"]
    assert adopt(target, *parts(source, SLOT, move=2)[:2]) == ["", ""]
    assert asks(target, move=2) == mv.MoveOutcome(False)
    assert adopt(target, parts(source, SLOT, move=2)[2]) == ["move-refused"]


def test_an_offer_ends_what_had_come_from_that_source_before(source: BrokerDriver, target: BrokerDriver) -> None:
    """It was copying, and was restarted: it knows nothing of that any more."""
    assert adopt(target, *parts(source, SLOT)[:2]) == ["", ""]
    assert (
        target.ask(Op.OFFER, args=replace(OFFER, source="b2")).detail == f"slot {SLOT} is coming to the target already"
    )
    assert "left over from before" in target.ask(Op.OFFER, args=OFFER).detail
    assert adopt(target, parts(source, SLOT)[2]) == ["move-refused"]
    target.commit()
    end_residue(target.dispatcher.context, 100)
    assert target.ask(Op.OFFER, args=OFFER).code == ""
    assert adopt(target, *parts(source, SLOT, move=2)[:2]) == ["", ""]
    assert target.ask(Op.OFFER, args=replace(OFFER, slot=SLOT + 1)).code == ""
    assert not target.state.slots.coming


def test_a_move_that_has_arrived_stays_so_also_where_the_slot_has_gone_on(
    source: BrokerDriver, target: BrokerDriver
) -> None:
    adopt(target, *parts(source, SLOT))
    assert asks(target) == mv.MoveOutcome(True, 2)
    target.dispatcher.context.emit(SlotLeaving(SLOT, "b2", 1))
    target.dispatcher.context.emit(SlotLeft(SLOT, "b2", 1, 3))
    target.commit()
    target.restart()
    assert asks(target) == mv.MoveOutcome(True, 3, "b2")


def test_an_older_copy_of_the_source_is_refused(source: BrokerDriver, target: BrokerDriver) -> None:
    adopt(target, *parts(source, SLOT))
    assert adopt(target, *parts(source, SLOT, move=9)[:1]) == ["move-refused"]


def test_a_frozen_slot_executes_nothing_and_its_waits_are_told_to_look(source: BrokerDriver) -> None:
    source.bodies(T, b"u")
    waiting = source.wait(T, b"u")
    source.dispatcher.context.emit(SlotLeaving(SLOT, "b1", 1))
    source.dispatcher.waiters.frozen(T)
    assert [(told.id, told.now) for told in source.settle()] == [(waiting, True)]
    answer = source.publish(T, b"4")
    assert (answer.code, dict(answer.fields)) == ("moving", {"slot": SLOT})
    source.dispatcher.context.emit(SlotStays(SLOT, 1))
    assert source.publish(T, b"4").code == ""


def test_timers_rest_while_a_slot_is_frozen(source: BrokerDriver) -> None:
    source.configure(T, b"u", expires_after=5_000_000)
    source.lease(T, b"u", 1)
    source.publish(T, b"later", delay=1000)
    source.dispatcher.context.emit(SlotLeaving(SLOT, "b1", 1))
    source.elapse(60)
    topic = source.state.topics[T]
    assert topic.subscriptions[b"u"].returned == 0
    assert topic.next_seq == 4
    source.dispatcher.context.emit(SlotStays(SLOT, 1))
    source.dispatcher.context.thawed.append(SLOT)
    source.elapse(0)
    assert b"u" in topic.subscriptions, "nobody could call meanwhile"
    assert (topic.subscriptions[b"u"].returned, topic.next_seq) == (1, 5)


def test_deadlines_that_rest_are_forgotten_with_their_slot(source: BrokerDriver) -> None:
    """It ends in the turn in which it leaves."""
    source.publish(T, b"later", delay=1000)
    source.dispatcher.context.emit(SlotLeaving(SLOT, "b1", 1))
    source.elapse(60)
    resting = source.dispatcher._scheduler._resting
    assert resting._kept
    source.dispatcher.context.emit(SlotLeft(SLOT, "b1", 1, 2))
    source.dispatcher.context.residue.add(SLOT)
    end_residue(source.dispatcher.context, 100)
    assert not source.dispatcher.context.residue
    source.elapse(0)
    assert not resting._kept


def test_what_a_restored_store_keeps_is_not_ended_by_a_question(target: BrokerDriver) -> None:
    """The slot was on its way back when the store was restored."""
    context = target.dispatcher.context
    own(target, ALL)
    target.subscribe(T, b"u")
    context.emit(SlotLeft(SLOT, "b0", 0, 3))
    assert asks(target, epoch=3) == mv.MoveOutcome(False)
    assert not context.residue
    assert T in target.state.topics


def test_a_part_needs_room_for_each_of_its_rows(source: BrokerDriver, target: BrokerDriver) -> None:
    source.dispatcher.context.state.thresholds = DEFAULT
    (part,) = parts(source, SLOT)
    context = target.dispatcher.context
    context.writable_bytes = 4096
    assert len(part.body) < 1000
    assert adopt(target, part) == ["move-refused"]
    context.writable_bytes = 2**20
    context.limits = context.limits._replace(memory=target.state.memory + 1000)
    assert adopt(target, part) == ["move-refused"]
    assert not target.state.slots.coming


def test_a_store_in_memory_takes_no_slots() -> None:
    answer = BrokerDriver().ask(Op.OFFER, args=OFFER)
    assert answer.code == "move-refused"
    assert "--store memory" in answer.detail


def test_what_has_come_is_dropped_after_ten_silent_minutes_and_at_a_restart(
    source: BrokerDriver, target: BrokerDriver
) -> None:
    for move, begin_again in ((1, False), (2, True)):
        first = parts(source, SLOT, move)
        moves = Moves(target.dispatcher, None)  # type: ignore[arg-type]
        moves.begin(target.clock.now())
        assert not any(adopt(target, *first[:3]))
        assert T in target.state.topics
        if begin_again:
            target.commit()
            target.restart()
            moves = Moves(target.dispatcher, None)  # type: ignore[arg-type]
            moves.begin(target.clock.now())
        else:
            target.clock.advance(601)
        for _ in range(5):
            moves.turn(target.clock.now())
        assert (target.state.topics, dict(target.state.slots.coming)) == ({}, {})
        assert adopt(target, first[3]) == ["move-refused"]
        target.commit()
    assert not any(adopt(target, *parts(source, SLOT, 3))), "nothing is left in the way"
