"""Parked requests: whom a message wakes, and that everybody is answered once. Transcripts on a manual clock."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.dispatch.wait_queue import Waiter
from broker.dispatch.waiters import SILENCE_US, Waiters
from broker.thresholds import DEFAULT
from common.protocol import ops
from common.protocol.ops import Op
from common.protocol.wire import BrokerState
from tests.support.driver import SECOND, Asked, BrokerDriver, Told
from tests.support.table import table
from tests.unit.broker.state.test_topic import calls_of

LITTLE = 0.001
"""Seconds."""


@pytest.fixture
def broker() -> BrokerDriver:
    """A broker with a user who waits for nothing yet."""
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u")
    return broker


def ids(told: list[Told]) -> list[int]:
    """Who was told to look."""
    assert all(each.now for each in told)
    return [each.id for each in told]


def in_vain(told: list[Told]) -> list[int]:
    """Who was told that there is nothing."""
    assert not any(each.now for each in told)
    return [each.id for each in told]


def check_nothing_is_left(waiters: Waiters) -> None:
    """No trace of anybody; the timers have run out."""
    assert waiters.count == 0
    assert not waiters.busy
    assert waiters.next_due() is None
    assert waiters._topics == {}


# --- one message, one waiter


def test_nobody_is_told_anything_while_nothing_happens(broker: BrokerDriver) -> None:
    broker.wait(b"t", b"u")
    assert broker.settle() == []
    assert broker.settle() == []
    assert broker.dispatcher.waiters.count == 1
    assert broker.ask(Op.STATS).result.values["waiters"] == 1


def test_a_publish_wakes_the_longest_waiting(broker: BrokerDriver) -> None:
    first, second = broker.wait(b"t", b"u", peer=b"here"), broker.wait(b"t", b"u", peer=b"there")
    broker.publish(b"t", b"1")
    assert broker.settle() == [Told(first, True, 1, b"here")]
    assert broker.take(b"t", b"u").result.body == b"1"
    broker.publish(b"t", b"2")
    assert broker.settle() == [Told(second, True, 2, b"there")]


def test_one_message_wakes_one_waiter_however_many_there_are(broker: BrokerDriver) -> None:
    parked = [broker.wait(b"t", b"u") for _ in range(5)]
    broker.publish(b"t", b"1")
    assert ids(broker.settle()) == parked[:1]
    assert broker.settle() == []
    assert broker.dispatcher.waiters.count == 4


def test_two_messages_wake_two(broker: BrokerDriver) -> None:
    parked = [broker.wait(b"t", b"u") for _ in range(5)]
    broker.publish(b"t", b"1")
    broker.publish(b"t", b"2")
    assert ids(broker.settle()) == parked[:2]
    broker.publish(b"t", b"3")
    assert ids(broker.settle()) == parked[2:3]


def test_a_take_by_the_woken_wakes_nobody_else(broker: BrokerDriver) -> None:
    parked = [broker.wait(b"t", b"u") for _ in range(2)]
    broker.publish(b"t", b"1")
    assert ids(broker.settle()) == parked[:1]
    broker.take(b"t", b"u")
    assert broker.settle() == []
    broker.clock.advance(2)
    assert broker.settle() == []


def test_a_message_that_waits_already_is_told_at_once(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1")
    parked = broker.wait(b"t", b"u")
    assert ids(broker.turn()) == [parked]


def test_a_message_that_was_taken_before_the_turn_wakes_nobody(broker: BrokerDriver) -> None:
    broker.wait(b"t", b"u")
    broker.publish(b"t", b"1")
    broker.take(b"t", b"u")
    assert broker.settle() == []


def test_each_waiting_user_of_a_topic_is_woken_once_by_one_publish(broker: BrokerDriver) -> None:
    users = [b"u%d" % number for number in range(50)]
    parked = []
    for user in users:
        broker.subscribe(b"t", user)
        parked.append(broker.wait(b"t", user))
        broker.wait(b"t", user)
    broker.publish(b"t", b"1")
    assert sorted(ids(broker.settle())) == parked
    assert broker.settle() == []


def test_waiting_is_for_one_user_of_one_topic(broker: BrokerDriver) -> None:
    for topic, user in ((b"t", b"other"), (b"other", b"u")):
        broker.subscribe(topic, user)
    broker.publish(b"t", b"1")
    broker.take(b"t", b"u")
    mine = broker.wait(b"t", b"u")
    elsewhere = broker.wait(b"other", b"u")
    assert broker.settle() == [], "the message of another user of the topic is not mine"
    broker.publish(b"other", b"1")
    assert ids(broker.settle()) == [elsewhere]
    broker.publish(b"t", b"2")
    assert ids(broker.settle()) == [mine]


def test_a_woken_one_that_finds_nothing_keeps_its_place(broker: BrokerDriver) -> None:
    first, second = broker.wait(b"t", b"u"), broker.wait(b"t", b"u")
    broker.publish(b"t", b"1")
    (woken,) = broker.settle()
    assert broker.take(b"t", b"u").result.body == b"1", "somebody else was faster"
    assert broker.take(b"t", b"u").result is None
    again = broker.wait(b"t", b"u", ticket=woken.ticket)
    broker.publish(b"t", b"2")
    assert ids(broker.settle()) == [again]
    broker.take(b"t", b"u")
    broker.publish(b"t", b"3")
    assert ids(broker.settle()) == [second]
    assert first < second < again


def test_waiting_takes_nothing_and_changes_nothing(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1")
    broker.commit()
    broker.wait(b"t", b"u")
    broker.settle()
    broker.skip(b"t", b"u")
    broker.look(b"t", b"u")
    assert broker.dispatcher.context.take_records() == []
    assert broker.take(b"t", b"u").result.body == b"1"


# --- a wake that nothing follows


def test_a_pass_lets_the_next_wake_go_out(broker: BrokerDriver) -> None:
    parked = [broker.wait(b"t", b"u") for _ in range(3)]
    broker.publish(b"t", b"1")
    for each in parked:
        assert ids(broker.settle()) == [each]
        assert broker.settle() == []
        assert broker.skip(b"t", b"u").result == ops.Nothing()
    assert broker.settle() == []
    assert broker.take(b"t", b"u").result.body == b"1"


def test_a_second_of_silence_lets_the_next_wake_go_out(broker: BrokerDriver) -> None:
    parked = [broker.wait(b"t", b"u") for _ in range(3)]
    broker.publish(b"t", b"1")
    assert ids(broker.settle()) == parked[:1]
    broker.clock.advance(1 - LITTLE)
    assert broker.settle() == []
    broker.clock.advance(LITTLE)
    assert ids(broker.settle()) == parked[1:2]
    broker.clock.advance(1)
    assert ids(broker.settle()) == parked[2:]


def test_the_loop_is_told_when_the_silence_ends_or_somebody_is_due(broker: BrokerDriver) -> None:
    waiters, start = broker.dispatcher.waiters, broker.clock.now().mono
    assert waiters.next_due() is None
    broker.wait(b"t", b"u", 20)
    broker.wait(b"t", b"u", 10)
    broker.settle()
    assert waiters.next_due() == start + 10 * SECOND
    broker.publish(b"t", b"1")
    assert waiters.busy
    broker.settle()
    assert not waiters.busy
    assert waiters.next_due() == start + SILENCE_US


def test_a_wake_that_was_followed_leaves_a_later_one_its_whole_second(broker: BrokerDriver) -> None:
    parked = [broker.wait(b"t", b"u") for _ in range(3)]
    broker.publish(b"t", b"1")
    assert ids(broker.settle()) == parked[:1]
    broker.take(b"t", b"u")
    broker.clock.advance(0.9)
    broker.publish(b"t", b"2")
    assert ids(broker.settle()) == parked[1:2]
    broker.clock.advance(0.2)
    assert broker.settle() == [], "one message wakes one waiter, and the second one is only 0.2 s old"
    broker.clock.advance(0.8)
    assert ids(broker.settle()) == parked[2:]


# --- the end of waiting


def test_at_the_deadline_there_is_nothing(broker: BrokerDriver) -> None:
    late, soon = broker.wait(b"t", b"u", 20), broker.wait(b"t", b"u", 10)
    broker.clock.advance(10 - LITTLE)
    assert broker.settle() == []
    broker.clock.advance(LITTLE)
    assert in_vain(broker.settle()) == [soon]
    broker.clock.advance(10)
    assert in_vain(broker.settle()) == [late]
    assert broker.settle() == []
    check_nothing_is_left(broker.dispatcher.waiters)


def test_who_was_woken_is_not_told_again_at_the_deadline(broker: BrokerDriver) -> None:
    parked = broker.wait(b"t", b"u", 10)
    broker.publish(b"t", b"1")
    assert ids(broker.settle()) == [parked]
    broker.clock.advance(10)
    assert broker.settle() == []
    check_nothing_is_left(broker.dispatcher.waiters)


def test_unsubscribing_makes_all_look_and_they_find_no_subscription(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"other")
    parked = [broker.wait(b"t", b"u") for _ in range(3)]
    stays = broker.wait(b"t", b"other")
    broker.unsubscribe(b"t", b"u")
    assert broker.dispatcher.waiters.busy
    assert ids(broker.settle()) == parked
    assert broker.take(b"t", b"u").code == "no-subscription"
    assert broker.send(Asked(Op.WAIT, b"t", b"u", ops.Wait()))[0].code == "no-subscription"
    broker.publish(b"t", b"1")
    assert ids(broker.settle()) == [stays]


def test_unsubscribing_and_subscribing_again_in_one_burst_still_tells_them(broker: BrokerDriver) -> None:
    parked = [broker.wait(b"t", b"u") for _ in range(2)]
    broker.unsubscribe(b"t", b"u")
    broker.subscribe(b"t", b"u")
    new = broker.wait(b"t", b"u")
    assert ids(broker.settle()) == parked
    broker.publish(b"t", b"1")
    assert ids(broker.settle()) == [new]


def test_an_old_silence_does_not_reach_a_new_subscription(broker: BrokerDriver) -> None:
    broker.wait(b"t", b"u")
    broker.publish(b"t", b"1")
    assert len(broker.settle()) == 1
    broker.unsubscribe(b"t", b"u")
    broker.subscribe(b"t", b"u")
    broker.clock.advance(0.5)
    first, second = broker.wait(b"t", b"u"), broker.wait(b"t", b"u")
    broker.publish(b"t", b"2")
    assert ids(broker.settle()) == [first]
    broker.clock.advance(0.5)
    assert broker.settle() == []
    broker.clock.advance(0.5)
    assert ids(broker.settle()) == [second]


@pytest.mark.parametrize("state", [BrokerState.DRAINING, BrokerState.LOADING])
def test_a_drain_tells_everybody_that_there_is_nothing(broker: BrokerDriver, state: BrokerState) -> None:
    broker.subscribe(b"t", b"v")
    parked = [broker.wait(b"t", user) for user in (b"u", b"v", b"u")]
    broker.dispatcher.state = state
    assert sorted(in_vain(broker.settle())) == parked
    assert broker.settle() == []
    assert broker.send(Asked(Op.WAIT, b"t", b"u", ops.Wait()))[0].code == state.name.lower()
    broker.clock.advance(60)
    broker.settle()
    check_nothing_is_left(broker.dispatcher.waiters)


def test_who_waits_for_nobody_s_mail_is_refused(broker: BrokerDriver) -> None:
    for topic, user in ((b"t", b"nobody"), (b"nothing", b"u")):
        for op, args in ((Op.WAIT, ops.Wait()), (Op.SKIP, ops.Nothing()), (Op.LOOK, ops.Nothing())):
            assert broker.ask(op, topic, user, args).code == "no-subscription"
    assert broker.dispatcher.waiters.count == 0


def test_a_wait_past_its_deadline_is_not_parked(broker: BrokerDriver) -> None:
    assert broker.send(Asked(Op.WAIT, b"t", b"u", ops.Wait(), timeout=0))[0].code == "expired"
    assert broker.dispatcher.waiters.count == 0


def test_the_same_ticket_twice_is_survived(broker: BrokerDriver) -> None:
    """No front of ours does this; a peer that does must not end the loop."""
    late, soon = broker.wait(b"t", b"u", 20, ticket=7), broker.wait(b"t", b"u", 10, ticket=7)
    broker.clock.advance(10)
    assert in_vain(broker.settle()) == [soon]
    broker.publish(b"t", b"1")
    assert ids(broker.settle()) == [late]


@pytest.mark.parametrize("ticket", [-(2**63), -1, 2**64 - 1])
def test_any_ticket_is_taken(broker: BrokerDriver, ticket: int) -> None:
    parked = broker.wait(b"t", b"u", ticket=ticket)
    broker.publish(b"t", b"1")
    assert broker.settle() == [Told(parked, True, ticket, b"front")]


@pytest.mark.parametrize("timeout", [2**62, 2**64 - 1 - 10**9])
def test_any_deadline_is_taken(broker: BrokerDriver, timeout: int) -> None:
    broker.wait(b"t", b"u", timeout / SECOND / 2)
    assert broker.settle() == []


# --- a turn of the loop


def crowd(users: int) -> BrokerDriver:
    broker = BrokerDriver()
    for number in range(users):
        broker.subscribe(b"t", b"user%d" % number)
        broker.wait(b"t", b"user%d" % number)
    assert broker.settle() == []
    return broker


def test_a_popular_topic_wakes_a_limited_number_per_turn_and_the_rest_in_the_next() -> None:
    broker = crowd(2 * DEFAULT.wakes + 1)
    broker.publish(b"t", b"1")
    told = []
    for wanted, busy in ((DEFAULT.wakes, True), (DEFAULT.wakes, True), (1, False), (0, False)):
        turn = ids(broker.turn())
        assert (len(turn), broker.dispatcher.waiters.busy) == (wanted, busy)
        told += turn
    assert len(set(told)) == len(told) == 2 * DEFAULT.wakes + 1


def test_one_user_with_many_waiters_and_messages_is_not_more_a_turn(broker: BrokerDriver) -> None:
    parked = [broker.wait(b"t", b"u") for _ in range(DEFAULT.wakes + 10)]
    for _ in parked:
        broker.publish(b"t", b"x")
    assert ids(broker.turn()) == parked[: DEFAULT.wakes]
    assert broker.dispatcher.waiters.busy
    assert ids(broker.turn()) == parked[DEFAULT.wakes :]


def test_a_topic_that_is_published_to_in_every_turn_is_not_looked_through_again_and_again() -> None:
    looked = 0

    def pending(topic: bytes, user: bytes) -> int:
        nonlocal looked
        looked += 1
        return 1

    waiters, users = Waiters(pending, lambda topic: 0), 4 * DEFAULT.wakes
    for number in range(users):
        waiters.published(b"t")
        waiters.park(b"t", b"%d" % number, Waiter(0, b"", number, 10**9))
    most = 0
    for _ in range(20):
        waiters.published(b"t")
        looked = 0
        waiters.turn(1)
        most = max(most, looked)
    assert waiters.count == 0
    assert most <= users + DEFAULT.wakes, "in one turn"


def test_publishing_does_the_same_work_for_no_waiter_and_for_ten_thousand() -> None:
    none, many = crowd(1), crowd(10_000)
    none.publish(b"t", b"warm")
    many.publish(b"t", b"warm")
    # The least of some: now and then a full cache or the collector calls a few more.
    work = [min(calls_of(broker.publish, b"t", b"x") for _ in range(5)) for broker in (none, many)]
    assert work[0] == work[1] < 200


def test_a_publish_that_nobody_waits_for_leaves_nothing_behind(broker: BrokerDriver) -> None:
    for number in range(100):
        broker.subscribe(b"t%d" % number, b"u")
        broker.publish(b"t%d" % number, b"x")
        broker.take(b"t%d" % number, b"u")
        broker.skip(b"t%d" % number, b"u")
        broker.unsubscribe(b"t%d" % number, b"u")
    check_nothing_is_left(broker.dispatcher.waiters)


def test_a_wake_that_was_followed_and_had_its_second_leaves_nothing_behind(broker: BrokerDriver) -> None:
    broker.wait(b"t", b"u", 10)
    broker.publish(b"t", b"1")
    broker.settle()
    broker.take(b"t", b"u")
    broker.settle()
    assert broker.dispatcher.waiters._topics == {}
    broker.clock.advance(10)
    broker.settle()
    check_nothing_is_left(broker.dispatcher.waiters)


# --- in every order


@dataclass
class Parked:
    """One request as the model has it."""

    box: tuple[bytes, bytes]
    deadline: int
    ticket: int
    ended: bool = False
    """Its subscription has gone since."""


ALL_BOXES = [(b"a", b"u"), (b"a", b"v"), (b"b", b"u")]
BOXES = st.sampled_from(ALL_BOXES)


class WaitersMachine(RuleBasedStateMachine):
    """Fronts that wait, take, pass on or fall silent, in any order; a model of who waits for what."""

    @initialize()
    def start(self) -> None:
        self.broker = BrokerDriver()
        self.parked: dict[int, Parked] = {}
        self.woken: deque[Parked] = deque()
        self.tickets = 0
        self.messages: dict[tuple[bytes, bytes], int] = {}
        self.promised: dict[tuple[bytes, bytes], deque[int]] = defaultdict(deque)
        """When each wake was sent that nothing has followed and that has not been silent for long."""
        self.held = 0
        """So many more requests come before the loop turns."""
        for box in ALL_BOXES:
            self.subscribe(box)

    @property
    def mono(self) -> int:
        return self.broker.clock.now().mono

    def followed(self, box: tuple[bytes, bytes]) -> None:
        if self.promised[box]:
            self.promised[box].popleft()

    def take_one(self, box: tuple[bytes, bytes]) -> Any:
        answer = self.broker.take(*box)
        if box not in self.messages:
            assert answer.code == "no-subscription"
            return answer
        assert (answer.result is not None) == (self.messages[box] > 0)
        self.messages[box] -= answer.result is not None
        self.followed(box)
        return answer

    def park(self, box: tuple[bytes, bytes], deadline: int, ticket: int = 0) -> None:
        timeout = deadline - self.mono
        asked = Asked(Op.WAIT, *box, ops.Wait(ticket), timeout)
        if box not in self.messages or timeout <= 0:
            assert self.broker.send(asked)[0].code == ("expired" if timeout <= 0 else "no-subscription")
            return
        assert self.broker.send(asked) == []
        self.tickets += not ticket
        self.parked[self.broker.next_id - 1] = Parked(box, deadline, ticket or self.tickets)

    @rule(box=BOXES)
    def subscribe(self, box: tuple[bytes, bytes]) -> None:
        self.broker.subscribe(*box)
        self.messages.setdefault(box, 0)

    @rule(box=BOXES, again=st.booleans())
    def unsubscribe(self, box: tuple[bytes, bytes], again: bool) -> None:
        self.broker.unsubscribe(*box)
        self.messages.pop(box, None)
        self.promised.pop(box, None)
        for each in self.parked.values():
            each.ended |= each.box == box
        if again:
            self.subscribe(box)

    @rule(box=BOXES, count=st.sampled_from([1, 1, 1, 3]))
    def publish(self, box: tuple[bytes, bytes], count: int) -> None:
        for _ in range(count):
            self.broker.publish(box[0], b"x")
            for topic, user in self.messages:
                self.messages[topic, user] += topic == box[0]

    @rule(box=BOXES, seconds=st.sampled_from([0.5, 1, 4, 30, 30, 30]), count=st.integers(1, 6))
    def wait(self, box: tuple[bytes, bytes], seconds: float, count: int) -> None:
        for _ in range(count):
            self.park(box, self.mono + int(seconds * SECOND))

    @precondition(lambda self: self.woken)
    @rule(at=st.integers(0, 3))
    def a_woken_one_takes(self, at: int) -> None:
        self.woken.rotate(-at)
        self.take_for(self.woken.popleft())

    def take_for(self, woken: Parked) -> None:
        answer = self.take_one(woken.box)
        if answer.code == "" and answer.result is None:
            self.park(woken.box, woken.deadline, woken.ticket)

    @precondition(lambda self: self.woken)
    @rule()
    def all_woken_ones_take(self) -> None:
        for _ in range(len(self.woken)):
            self.take_for(self.woken.popleft())

    @precondition(lambda self: self.woken)
    @rule()
    def a_woken_one_passes_on(self) -> None:
        woken = self.woken.popleft()
        if self.broker.skip(*woken.box).code == "":
            self.followed(woken.box)

    @precondition(lambda self: self.woken)
    @rule()
    def a_woken_one_is_never_heard_of_again(self) -> None:
        self.woken.popleft()

    @rule(box=BOXES, everything=st.booleans())
    def somebody_takes_without_waiting(self, box: tuple[bytes, bytes], everything: bool) -> None:
        for _ in range(self.messages.get(box, 0) if everything else 1):
            self.take_one(box)

    @rule(seconds=st.sampled_from([LITTLE, 0.4, 0.5, 0.5, 1, 40]))
    def time_passes(self, seconds: float) -> None:
        self.broker.clock.advance(seconds)

    @rule(count=st.integers(1, 5))
    def a_burst_arrives(self, count: int) -> None:
        self.held = count

    @invariant()
    def the_loop_turns(self) -> None:
        self.held -= 1
        if self.held >= 0:
            return
        self.silence()
        told = self.broker.settle()
        for each in told:
            self.answered(each)
        assert len({each.id for each in told}) == len(told)
        assert all(each.deadline > self.mono for each in self.parked.values()), "answered by the deadline plus a turn"
        assert not any(each.ended for each in self.parked.values())
        assert self.broker.dispatcher.waiters.count == len(self.parked)
        for box, waiting in self.messages.items():
            if waiting and any(each.box == box for each in self.parked.values()):
                assert len(self.promised[box]) >= waiting, "a wake is out for each message"
                due = self.broker.dispatcher.waiters.next_due()
                assert due is not None
                assert due <= self.mono + SILENCE_US

    def silence(self) -> None:
        for sent in self.promised.values():
            while sent and sent[0] + SILENCE_US <= self.mono:
                sent.popleft()

    def answered(self, told: Told) -> None:
        """Exactly once: what is not parked any more is a KeyError."""
        waiter = self.parked.pop(told.id)
        assert told.ticket == waiter.ticket
        if not told.now:
            assert waiter.deadline <= self.mono or waiter.ended
            return
        self.woken.append(waiter)
        if waiter.ended:
            return
        assert self.messages[waiter.box] > 0, "nobody is woken for nothing"
        others = [each.ticket for each in self.parked.values() if each.box == waiter.box]
        assert waiter.ticket < min(others, default=2**64), "the longest waiting first"
        self.wake_sent(waiter.box)

    def wake_sent(self, box: tuple[bytes, bytes]) -> None:
        self.promised[box].append(self.mono)

    def teardown(self) -> None:
        if not hasattr(self, "broker"):
            return
        self.held = 0
        self.the_loop_turns()
        for _ in range(2):
            self.broker.clock.advance(60)
            self.the_loop_turns()
        assert self.parked == {}
        check_nothing_is_left(self.broker.dispatcher.waiters)


class ExactWaitersMachine(WaitersMachine):
    """The same, and no message wakes two waiters within the second that a woken one has."""

    def wake_sent(self, box: tuple[bytes, bytes]) -> None:
        assert len(self.promised[box]) < self.messages[box], "one message wakes one waiter"
        super().wake_sent(box)


def walk(machine: WaitersMachine, seed: int, steps: int) -> None:
    """A long way through the machine's rules, with weights that bring many wakes."""
    rng = random.Random(seed)
    box = lambda: rng.choice(ALL_BOXES)  # noqa: E731 - a new one for every call
    rules = {
        lambda: machine.wait(box(), rng.choice([0.5, 1, 4, 30, 30]), rng.randint(1, 3)): 6,
        lambda: machine.publish(box(), 1): 5,
        lambda: machine.somebody_takes_without_waiting(box(), rng.random() < 0.5): 3,
        lambda: machine.time_passes(rng.choice([LITTLE, 0.1, 0.4, 0.5])): 5,
        lambda: machine.time_passes(40): 0.2,
        lambda: machine.unsubscribe(box(), rng.random() < 0.9): 0.3,
        lambda: machine.subscribe(box()): 0.3,
        lambda: machine.a_burst_arrives(rng.randint(1, 5)): 1,
        lambda: machine.woken and machine.all_woken_ones_take(): 3,
        lambda: machine.woken and machine.a_woken_one_takes(rng.randrange(3)): 3,
        lambda: machine.woken and machine.a_woken_one_passes_on(): 2,
        lambda: machine.woken and machine.a_woken_one_is_never_heard_of_again(): 1,
    }
    machine.start()
    for step in rng.choices(list(rules), list(rules.values()), k=steps):
        step()
        machine.the_loop_turns()
    machine.teardown()


@table("seed", range(10))
def test_everybody_is_answered_once_on_a_long_walk(seed: int) -> None:
    walk(WaitersMachine(), seed, 2000)


@table("seed", range(3))
def test_no_message_wakes_two_waiters_on_a_long_walk(seed: int) -> None:
    walk(ExactWaitersMachine(), seed, 2000)


class DrainedMachine(WaitersMachine):
    """The same, and now and then everybody is sent home as by a drain."""

    @rule()
    def the_broker_drains(self) -> None:
        self.broker.dispatcher.state = BrokerState.DRAINING
        told = self.broker.settle()
        assert sorted(each.id for each in told) == sorted(self.parked)
        assert all(self.parked[each.id].ended for each in told if each.now)
        assert self.broker.dispatcher.waiters._topics == {}
        self.broker.dispatcher.state = BrokerState.READY
        self.parked.clear()
        self.promised.clear()


TestWaiters = WaitersMachine.TestCase
TestDrained = DrainedMachine.TestCase


def test_a_day_of_many_fronts_ends_with_nothing_left() -> None:
    rng = random.Random(11)
    broker = BrokerDriver()
    users = [b"u%d" % number for number in range(30)]
    for user in users:
        broker.subscribe(b"t", user)
    open_ids: set[int] = set()
    for _ in range(3000):
        user = rng.choice(users)
        if rng.random() < 0.6:
            open_ids.add(broker.wait(b"t", user, rng.uniform(0.1, 30)))
        if rng.random() < 0.1:
            broker.publish(b"t", b"x")
        for each in broker.turn():
            open_ids.remove(each.id)
        broker.take(b"t", user)
        broker.clock.advance(rng.uniform(0, 0.2))
    broker.clock.advance(60)
    open_ids -= {each.id for each in broker.settle()}
    assert open_ids == set(), "answered once each"
    broker.clock.advance(60)
    broker.settle()
    check_nothing_is_left(broker.dispatcher.waiters)
