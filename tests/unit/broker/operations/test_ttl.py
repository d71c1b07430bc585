"""Messages that expire: not delivered after their time, and freed when the head of the log passes them."""

from __future__ import annotations

import pytest

from broker.state.topic_settings import TopicRule
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.counting import calls_of
from tests.support.driver import BrokerDriver, batch, bodies_of
from tests.support.snapshot import check_state, gauges
from tests.unit.broker.operations.test_leases import EPOCH, finished, leased, receipt

LITTLE = 0.001
"""Seconds; the millisecond that a ttl counts in."""


@pytest.fixture
def broker() -> BrokerDriver:
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u")
    return broker


def aged(max_age: float) -> BrokerDriver:
    """A broker whose topics drop messages of this age, in seconds."""
    broker = BrokerDriver(rules=[TopicRule(fits=lambda name: True, max_age=int(max_age * 1000))])
    broker.subscribe(b"t", b"u")
    return broker


# --- ttl


def test_a_message_is_handed_out_until_its_time_and_not_at_it(broker: BrokerDriver) -> None:
    for body in (b"1", b"2"):
        broker.publish(b"t", body, ttl=10_000)
    broker.clock.advance(10 - LITTLE)
    assert broker.take(b"t", b"u").result.body == b"1"
    broker.clock.advance(LITTLE)
    assert broker.take(b"t", b"u").result is None


def test_no_ttl_is_for_ever(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1", ttl=0)
    broker.elapse(10**9)
    assert broker.bodies(b"t", b"u") == [b"1"]


def test_what_expired_at_the_head_is_freed_without_a_request(broker: BrokerDriver) -> None:
    before = gauges(broker.state)
    broker.publish(b"t", b"1", ttl=10_000)
    broker.publish(b"t", b"2", ttl=10_000)
    broker.publish(b"t", b"3", ttl=20_000)
    now = broker.clock.now()
    assert broker.dispatcher.patience(now) == 10_000
    broker.elapse(10 - LITTLE)
    assert broker.state.messages == 3
    broker.elapse(LITTLE)
    assert broker.state.messages == 1
    assert broker.dispatcher.counters["dropped.ttl"] == 2
    broker.elapse(10)
    assert gauges(broker.state) == before
    assert broker.dispatcher.patience(broker.clock.now()) is None
    assert broker.look(b"t", b"u").result == ops.Status(0, EPOCH, 0)


def test_what_expired_behind_a_living_head_is_passed_over_for_good_and_counted(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"slow")
    broker.publish(b"t", b"1")
    for body in (b"2", b"3"):
        broker.publish(b"t", body, ttl=10_000)
    broker.publish(b"t", b"4")
    broker.elapse(10)
    assert broker.state.messages == 4, "their room returns when the head passes them"
    assert broker.bodies(b"t", b"u") == [b"1", b"4"]
    assert broker.dispatcher.counters["skipped.ttl"] == 2
    check_state(broker.state)
    assert broker.take(b"t", b"slow").result.body == b"1"
    broker.elapse(0)
    assert (broker.state.messages, broker.dispatcher.counters["dropped.ttl"]) == (1, 2)
    assert broker.bodies(b"t", b"slow") == [b"4"]
    assert broker.state.messages == 0


def test_a_look_does_not_name_what_has_expired(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1")
    broker.publish(b"t", b"2", ttl=10_000)
    broker.publish(b"t", b"3")
    broker.take(b"t", b"u")
    broker.subscribe(b"t", b"slow")
    broker.elapse(10)
    status = broker.look(b"t", b"u").result
    assert status.seq == 3
    assert status.pending in (1, 2), "an upper bound"


def test_a_cursor_passes_over_what_has_expired(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1")
    broker.publish(b"t", b"2", ttl=10_000)
    broker.publish(b"t", b"3")
    broker.elapse(10)
    assert broker.after(b"t", b"u").result.seq == 1
    assert broker.after(b"t", b"u", f"{EPOCH}-1").result.seq == 3
    assert broker.after(b"t", b"u", f"{EPOCH}-3").result is None


def test_the_ttl_of_a_batch_is_that_of_all_its_messages(broker: BrokerDriver) -> None:
    broker.ask(Op.PUBLISH, b"t", args=batch(b"1", b"2", b"3", ttl=10_000))
    assert broker.take(b"t", b"u").result.body == b"1"
    broker.elapse(10)
    assert broker.take(b"t", b"u").result is None
    assert broker.state.messages == 0
    assert broker.dispatcher.counters["dropped.ttl"] == 3, "of the piece that is freed as a whole"


def test_a_fetch_stops_before_what_has_expired_and_the_next_one_goes_on_behind(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1")
    broker.ask(Op.PUBLISH, b"t", args=batch(b"2", b"3", ttl=10_000))
    broker.publish(b"t", b"4")
    broker.publish(b"t", b"5")
    broker.elapse(10)
    assert bodies_of(broker.fetch(b"t", b"u", 2).result) == [b"1"]
    assert bodies_of(broker.fetch(b"t", b"u").result) == [b"4", b"5"]


def test_a_leased_message_that_expires_does_not_come_back(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1", ttl=10_000)
    broker.publish(b"t", b"2")
    assert leased(broker, 30) == (1, 1)
    broker.elapse(5)
    broker.extend(b"t", b"u", receipt(1), 0)
    assert broker.look(b"t", b"u").result.seq == 1
    broker.elapse(5)
    assert broker.look(b"t", b"u").result.seq == 2
    assert leased(broker) == (2, 1)
    assert finished(broker, receipt(1)) == [""]
    check_state(broker.state)


def test_a_dead_letter_that_expired_is_shown_and_not_handed_out() -> None:
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u", max_deliveries=1)
    broker.publish(b"t", b"1", ttl=60_000)
    leased(broker, 30)
    broker.elapse(30)
    assert broker.state.messages == 0
    broker.elapse(30)
    for _ in range(2):
        assert [letter.expired for letter in broker.dead(b"t", b"u").result.letters] == [True]
        assert broker.ask(Op.DEAD_RETURN, b"t", b"u").result == ops.Counted(0)
    assert broker.look(b"t", b"u").result == ops.Status(0, EPOCH, 0, leased=0, dead=1)
    assert leased(broker) is None
    check_state(broker.state)


def test_passing_over_what_has_expired_costs_each_piece_once(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"slow")
    broker.publish(b"t", b"head")
    for _ in range(1000):
        broker.publish(b"t", b"x", ttl=10_000)
    broker.publish(b"t", b"last")
    broker.take(b"t", b"u")
    broker.elapse(10)
    assert calls_of(broker.after, b"t", b"u") < 200
    assert broker.take(b"t", b"u").result.body == b"last"


def test_a_batch_with_a_ttl_and_a_key_needs_no_work_for_each_message() -> None:
    def calls(count: int) -> int:
        broker = BrokerDriver()
        broker.subscribe(b"t", b"u")
        args = batch(*[b"x"] * count, ttl=10_000, key=b"k", digest=bytes(16))

        def through() -> None:
            assert not broker.ask(Op.PUBLISH, b"t", args=args).result.replayed
            assert broker.ask(Op.PUBLISH, b"t", args=args).result.replayed
            assert broker.fetch(b"t", b"u", count).result.runs[0].count == count

        return calls_of(through)

    calls(5_000)  # fills the caches
    assert abs(calls(10_000) - calls(5_000)) < 50


# --- max_age


def test_a_message_is_dropped_when_it_is_too_old_whether_read_or_not() -> None:
    broker = aged(60)
    broker.publish(b"t", b"1")
    broker.elapse(30)
    broker.publish(b"t", b"2")
    assert broker.dispatcher.patience(broker.clock.now()) == 30_000
    broker.elapse(30 - LITTLE)
    assert broker.state.messages == 2
    broker.elapse(LITTLE)
    assert broker.bodies(b"t", b"u") == [b"2"]
    counters = broker.dispatcher.counters
    assert (counters["dropped.max-age"], counters["dropped.ttl"], counters["skipped.lost"]) == (1, 0, 1)


def test_the_shorter_of_ttl_and_age_counts() -> None:
    broker = aged(60)
    broker.publish(b"t", b"1", ttl=10_000)
    broker.elapse(10)
    assert broker.dispatcher.counters["dropped.ttl"] == 1
    broker.publish(b"t", b"2", ttl=10**9)
    broker.elapse(60)
    assert broker.dispatcher.counters["dropped.max-age"] == 1
    assert broker.state.messages == 0


def test_what_is_leased_is_dropped_too_when_it_is_too_old() -> None:
    broker = aged(60)
    broker.publish(b"t", b"1")
    leased(broker, 120)
    broker.elapse(60)
    assert broker.state.messages == 0
    broker.elapse(60)
    assert leased(broker) is None
    assert broker.look(b"t", b"u").result == ops.Status(0, EPOCH, 0)
    check_state(broker.state)


def test_the_timer_of_the_head_follows_the_head() -> None:
    broker = aged(60)
    for _ in range(3):
        broker.publish(b"t", b"x")
        broker.elapse(10)
    broker.take(b"t", b"u")
    assert broker.state.heads_due.next_due() == broker.clock.now().wall + 30_000, "that of the first one, or earlier"
    broker.elapse(30)
    assert broker.state.messages == 2, "which is looked at without effect"
    assert broker.dispatcher.patience(broker.clock.now()) == 10_000
    broker.bodies(b"t", b"u")
    broker.elapse(10)
    assert broker.dispatcher.patience(broker.clock.now()) is None


def test_very_many_that_are_too_old_at_once_are_all_dropped() -> None:
    broker = aged(60)
    for _ in range(3000):
        broker.publish(b"t", b"x")
    broker.elapse(60)
    for _ in range(3):
        broker.elapse(0)
    assert broker.state.messages == 0
    assert broker.dispatcher.counters["dropped.max-age"] == 3000
