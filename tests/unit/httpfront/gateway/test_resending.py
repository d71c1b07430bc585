"""Requests of slots on the move: sent again in order, bounded, and never passed on before their deadlines."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from common.cluster.slots import SlotOwner, slot_of
from common.errors import FanmailError
from common.protocol import ops, wire
from common.protocol.ops import Op
from httpfront.gateway import resending, slot_queue
from httpfront.gateway.call import GRACE_S, Answer, Call, opened
from httpfront.gateway.resending import Resending
from httpfront.gateway.slot_table import SlotTable

TOPIC = b"news"
SLOT = slot_of(TOPIC)
MOVING = FanmailError("moving", "", slot=SLOT)


def left(to: str, epoch: int) -> FanmailError:
    return FanmailError("not-owner", "", slot=SLOT, owner=to, slot_epoch=epoch)


class ScriptedSocket:
    """As much of a `BrokerSocket` as queues see: what was sent, and what is to be sent at the end of the turn."""

    def __init__(self, name: str) -> None:
        self.status = SimpleNamespace(
            broker=name, up=True, loading=False, incarnation=hash(name), deadline=lambda until: int(until * 10)
        )
        self.pending: list[Call] = []
        self.outgoing: list[Call] = []

    def slots(self) -> set[int]:
        return {call.slot for call in (*self.pending, *self.outgoing)} - {-1}

    def sent(self, slot: int) -> list[Call]:
        return [call for call in self.pending if call.slot == slot]

    def awaits(self, call: Call) -> bool:
        return call in self.pending

    def withdraw(self, slot: int) -> list[Call]:
        found = [call for call in self.outgoing if call.slot == slot]
        self.outgoing = [call for call in self.outgoing if call.slot != slot]
        return found


class World:
    """A front's queues, with brokers b0 and b1, a clock and timers that the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(resending.time, "monotonic", lambda: self.now)
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.table = SlotTable()
        self.table.take([SlotOwner("b0", 1)] * 1024)
        self.sent: list[tuple[str, int]] = []
        """Broker and call, in order."""
        self.surveys = 0
        self.ended: dict[int, str] = {}
        """Error codes by call, "" for success."""
        self.sockets = {name: ScriptedSocket(name) for name in ("b0", "b1")}
        hub: Any = SimpleNamespace(after=self._after, resume=lambda waiting, answer: waiting.switch(answer))
        in_use: Any = self.sockets
        self.resending = Resending(hub, self.table, in_use, self._send, self._survey)

    def call(
        self, number: int, op: Op = Op.LOOK, body: bytes | None = None, until: float = 105.0, topic: bytes = TOPIC
    ) -> Call:
        """Return a call that was sent to b0."""
        packed = wire.pack_request(number, op, topic, b"ann", 1, ops.Nothing(), "id")
        call = Call(number, packed, body, until + GRACE_S, hash("b0"), 0, slot=slot_of(topic))
        call.waiting = SimpleNamespace(switch=lambda answer: self._ended(number, answer))
        return call

    def refuse(self, call: Call, error: FanmailError = MOVING) -> FanmailError | None:
        return self.resending.refused(call, error)

    def in_flight(self, *numbers: int, broker: str = "b0") -> list[Call]:
        """Return calls that were sent to a broker and have no answer yet."""
        calls = [self.call(number) for number in numbers]
        self.sockets[broker].pending += calls
        return calls

    def refuse_sent(self, call: Call, error: FanmailError = MOVING) -> FanmailError | None:
        """Let the broker refuse a call that was in flight."""
        self._answered(call)
        return self.refuse(call, error)

    def execute(self, call: Call) -> None:
        """Let the broker execute a call that was in flight."""
        self._answered(call)
        answer(call)

    def _answered(self, call: Call) -> None:
        for socket in self.sockets.values():
            if call in socket.pending:
                socket.pending.remove(call)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with the timers that are due."""
        until = self.now + seconds
        while self.timers and min(self.timers, key=lambda each: each[0])[0] <= until:
            due = min(self.timers, key=lambda each: each[0])
            self.timers.remove(due)
            self.now = max(self.now, due[0])
            due[1]()
        self.now = until

    def take_sent(self) -> list[tuple[str, int]]:
        sent, self.sent = self.sent, []
        return sent

    def _after(self, seconds: float, work: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, work))

    def _send(self, socket: Any, call: Call) -> None:
        assert opened(call.packed).deadline == int(call.until * 10)
        assert call.incarnation == socket.status.incarnation
        self.sent.append((socket.status.broker, call.id))

    def _survey(self) -> None:
        self.surveys += 1

    def _ended(self, number: int, answer: Answer) -> None:
        self.ended[number] = answer.error.code if answer.error else ""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def answer(call: Call) -> None:
    """Let the broker execute a call."""
    call.waiting.switch(Answer(None))


def test_one_request_asks_and_the_others_follow_in_order(world: World) -> None:
    first, second, third = (world.call(number) for number in (20, 21, 22))
    assert world.refuse(second) is None
    assert world.refuse(first) is None
    world.resending.put(SLOT, third)
    world.pass_time(0.01)
    assert world.take_sent() == [("b0", 20)]
    world.refuse(first)
    world.pass_time(0.05)
    assert world.take_sent() == [("b0", 20)]
    answer(first)
    assert world.take_sent() == [("b0", 21), ("b0", 22)]
    assert (world.resending.queues, world.ended) == ({}, {20: ""})


def test_a_pointer_is_followed_at_once(world: World) -> None:
    call, later = world.call(20), world.call(21)
    world.refuse(call)
    world.resending.put(SLOT, later)
    world.pass_time(0.01)
    world.refuse(call, left("b1", 2))
    assert world.take_sent() == [("b0", 20), ("b1", 20)]
    answer(call)
    assert world.take_sent() == [("b1", 21)]
    assert world.table.owners[SLOT] == "b1"


def test_a_smaller_epoch_is_not_followed(world: World) -> None:
    call = world.call(20)
    call.incarnation = hash("b1")
    world.table.learn(SLOT, "b1", 5)
    world.refuse(call, left("b0", 4))
    assert world.take_sent() == []
    assert world.table.owners[SLOT] == "b1"
    assert world.surveys == 1
    world.pass_time(0.3)
    assert world.take_sent() == [("b1", 20)]


def test_a_broker_without_a_pointer_makes_the_front_ask_all(world: World) -> None:
    world.refuse(world.call(20), FanmailError("not-owner", "", slot=SLOT))
    assert world.surveys == 1
    world.table.learn(SLOT, "b1", 2)
    world.pass_time(0.01)
    assert world.take_sent() == [("b1", 20)]


def test_the_question_is_repeated_ever_less_often(world: World) -> None:
    call, asked = world.call(20, until=200.0), 0
    world.refuse(call)
    for _ in range(1000):
        world.pass_time(0.01)
        for _ in world.take_sent():
            asked += 1
            world.refuse(call)
    assert 30 < asked < 90
    assert world.ended == {}


def test_the_probes_of_many_slots_together_are_bounded(world: World) -> None:
    calls = {number: world.call(number, until=200.0, topic=b"t%d" % number) for number in range(20, 2020)}
    for call in calls.values():
        world.refuse(call)
    slots, asked = len(world.resending.queues), 0
    for _ in range(100):
        world.pass_time(0.01)
        sent = world.take_sent()
        asked += len(sent)
        for _, number in sent:
            world.refuse(calls[number])
    assert slots > 800
    assert slots < asked < 5000, "in one second"


@pytest.mark.parametrize("error", [MOVING, FanmailError("not-owner", "", slot=SLOT)])
def test_at_its_deadline_a_request_is_refused_as_not_executed(world: World, error: FanmailError) -> None:
    world.refuse(world.call(20, until=101.0), error)
    world.resending.put(SLOT, world.call(21, until=103.0))
    world.now = 102.0
    world.resending.tick(world.now)
    assert world.ended == {20: error.code}
    world.pass_time(0.3)
    assert world.take_sent() == [("b0", 21)]


def test_what_one_slot_may_have_waiting_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_queue, "MOST_CALLS", 3)
    monkeypatch.setattr(slot_queue, "MOST_BYTES", 1000)
    world.refuse(world.call(20, body=b"x" * 2000))
    with pytest.raises(FanmailError, match="slot 977") as caught:
        world.resending.put(SLOT, world.call(21))
    assert caught.value.code == "broker-down"
    world.resending.queues.clear()
    for number in (20, 21, 22):
        assert world.refuse(world.call(number)) is None
    refused = world.refuse(world.call(23))
    assert refused is not None
    assert refused.code == "broker-down"
    assert world.resending.waiting == 3


def test_a_queue_that_was_filled_meanwhile_goes_on_with_its_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_queue, "MOST_CALLS", 2)
    first = world.call(20)
    world.refuse(first)
    world.pass_time(0.01)
    for number in (21, 22):
        world.resending.put(SLOT, world.call(number))
    assert world.refuse(first) is None
    assert world.take_sent() == [("b0", 20)]
    world.pass_time(0.3)
    assert world.take_sent() == [("b0", 20)]
    answer(first)
    assert world.take_sent() == [("b0", 21), ("b0", 22)]
    assert world.resending.queues == {}


def test_a_wait_is_told_to_look_again(world: World) -> None:
    error = world.refuse(world.call(20, Op.WAIT))
    assert error is not None
    assert error.code == "moving"
    assert world.resending.queues == {}


def test_a_target_that_cannot_be_reached_is_awaited_shortly(world: World) -> None:
    world.sockets["b1"].status.up = False
    first = world.call(20)
    world.refuse(first, left("b1", 2))
    world.pass_time(0.5)
    assert world.take_sent() == []
    world.sockets["b1"].status.up = True
    world.pass_time(0.3)
    assert world.take_sent() == [("b1", 20)]
    answer(first)
    world.sockets["b1"].status.up = False
    world.refuse(world.call(30))
    world.pass_time(2.0)
    assert world.ended[30] == "broker-down"
    assert world.resending.queues == {}


def test_a_broker_that_the_description_lacks_is_named(world: World) -> None:
    world.refuse(world.call(20), left("b9", 2))
    world.pass_time(2.0)
    assert world.ended == {20: "broker-down"}


def test_requests_that_name_no_topic_are_not_sent_again(world: World) -> None:
    call = Call(20, wire.pack_request(20, Op.STATS, b"", b"", 1, ops.Nothing()), None, 200.0, 1, 0)
    assert world.refuse(call) is MOVING


def test_a_front_that_stops_ends_what_waits(world: World) -> None:
    world.refuse(world.call(20))
    world.resending.give_up()
    assert world.ended == {20: "broker-down"}


def test_what_its_former_owner_refuses_goes_to_the_owner_at_once(world: World) -> None:
    world.table.learn(SLOT, "b1", 2)
    world.refuse(world.call(20))
    assert world.take_sent() == [("b1", 20)]


def test_what_brokers_say_of_their_slots_lets_those_that_wait_ask_again(world: World) -> None:
    world.refuse(world.call(20), FanmailError("not-owner", "", slot=SLOT))
    world.table.hear("b0", {}, [])
    world.table.hear("b1", {SLOT: 1}, [])
    world.resending.look_again()
    assert world.take_sent() == [("b1", 20)]


# --- order: nothing overtakes what is to be sent again


def test_nothing_is_sent_before_all_that_was_sent_earlier_is_answered(world: World) -> None:
    first, second, third = world.in_flight(20, 21, 22)
    world.refuse_sent(first)
    world.resending.put(SLOT, world.call(23))
    world.pass_time(1.0)
    assert world.take_sent() == []
    world.refuse_sent(third)
    world.refuse_sent(second)
    world.pass_time(0.3)
    assert world.take_sent() == [("b0", 20)]
    answer(first)
    assert world.take_sent() == [("b0", 21), ("b0", 22), ("b0", 23)]


def test_what_has_a_pointer_follows_it_when_the_last_one_is_refused(world: World) -> None:
    first, second = world.in_flight(20, 21)
    world.refuse_sent(first, left("b1", 2))
    assert world.take_sent() == []
    world.refuse_sent(second, left("b1", 2))
    assert world.take_sent() == [("b1", 20)]


def test_what_is_to_be_sent_in_this_turn_queues_behind_what_was_refused(world: World) -> None:
    (first,) = world.in_flight(20)
    world.sockets["b0"].outgoing += [world.call(21), world.call(22, topic=b"other")]
    world.refuse_sent(first)
    assert [call.id for call in world.sockets["b0"].outgoing] == [22]
    world.pass_time(0.01)
    answer(first)
    assert world.take_sent() == [("b0", 20), ("b0", 21)]


@pytest.mark.parametrize("unsent", [False, True])
def test_a_slot_whose_former_owner_has_not_answered_is_queued(world: World, *, unsent: bool) -> None:
    """It was heard of another broker that the slot is there."""
    (first,) = world.in_flight(20)
    if unsent:
        world.sockets["b0"].pending, world.sockets["b0"].outgoing = [], [first]
    world.table.hear("b1", {SLOT: 2}, [])
    world.resending.look_again()
    world.resending.put(SLOT, world.call(21))
    if not unsent:
        world.pass_time(0.01)
        assert world.take_sent() == []
        world.refuse_sent(first)
    world.pass_time(0.01)
    assert world.take_sent() == [("b1", 20)]
    answer(first)
    assert world.take_sent() == [("b1", 21)]


def test_the_refusal_of_a_wait_lets_nothing_overtake_either(world: World) -> None:
    world.in_flight(20)
    world.refuse(world.call(21, Op.WAIT), left("b1", 2))
    assert list(world.resending.queues) == [SLOT]


def test_a_queue_with_nothing_in_it_ends(world: World) -> None:
    (first,) = world.in_flight(20)
    world.table.hear("b1", {SLOT: 2}, [])
    world.resending.look_again()
    world.execute(first)
    world.pass_time(0.01)
    assert (world.resending.queues, world.ended) == ({}, {20: ""})


def test_what_a_silent_broker_refuses_late_is_not_sent_again(world: World) -> None:
    """Others were sent meanwhile."""
    first, second = world.in_flight(20, 21)
    world.refuse_sent(first, left("b1", 2))
    world.sockets["b0"].status.up = False
    world.pass_time(0.3)
    assert world.take_sent() == [("b1", 20)]
    assert world.refuse_sent(second) is MOVING


def test_what_a_deposed_candidate_refuses_is_not_sent_again_unless_all_wait_for_it(world: World) -> None:
    first, second = world.call(20), world.call(21)
    first.overtaken = True
    assert world.refuse(first) is MOVING
    world.refuse(second)
    world.pass_time(0.01)
    second.overtaken = True
    assert world.refuse(second) is None


# --- the table of slots


def test_a_guess_gives_way_and_the_greater_epoch_wins() -> None:
    table = SlotTable()
    table.take([SlotOwner("b0", 0)] * 1024)
    assert table.learn(7, "b1", 1)
    assert not table.learn(7, "b2", 1)
    table.take([SlotOwner("b3", 0)] * 1024)
    assert (table.owners[7], table.owners[8]) == ("b1", "b3")
    table.take([SlotOwner("b4", 2)] * 1024)
    assert table.counts() == {"b4": 1024}
    assert table.orphaned_by(["b0", "b4"]) == {}
    assert table.orphaned_by(["b0"]) == {"b4": 1024}


def test_of_one_epoch_a_broker_is_right_and_not_the_description() -> None:
    table = SlotTable()
    table.take([SlotOwner("b1", 1)] * 1024)
    table.hear("b0", {7: 1, 8: 2}, [(9, "b2", 3)])
    assert [table.owners[slot] for slot in (6, 7, 8, 9)] == ["b1", "b0", "b0", "b2"]
    table.take([SlotOwner("b1", 1)] * 1024)
    assert table.owners[7] == "b0"
    table.hear("b0", {8: 2}, [])
    table.hear("b1", {7: 1}, [])
    assert [table.owners[slot] for slot in (7, 8)] == ["b1", "b0"]
