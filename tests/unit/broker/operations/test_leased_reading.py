"""Leases together: their ceilings, other ways of reading, many at once, and what they leave behind."""

from __future__ import annotations

import pytest

from broker.state.leases import HELD_COST, Leases
from common.protocol.ops import Op
from tests.support.driver import BrokerDriver, batch, bodies_of, receipt_of
from tests.support.snapshot import check_state, gauges
from tests.unit.broker.operations.test_leases import EPOCH, broker_with, finished, leased, receipt


@pytest.fixture
def broker() -> BrokerDriver:
    """A broker with three messages for one user."""
    return broker_with(3)


# --- ceilings


def test_a_thousand_leases_are_open_and_not_one_more() -> None:
    broker = broker_with(1002)
    assert len(bodies_of(broker.fetch(b"t", b"u", 2000, lease=30).result)) == 1000
    answer = broker.lease(b"t", b"u")
    assert (answer.code, "1000" in answer.detail) == ("too-many-leases", True)
    assert broker.fetch(b"t", b"u", 5, lease=30).code == "too-many-leases"
    assert broker.take(b"t", b"u").result.seq == 1001, "reading is allowed at every ceiling"
    assert finished(broker, receipt(500)) == [""]
    assert leased(broker) == (1002, 1)
    assert leased(broker) is None, "nothing waits: that is no refusal"


def test_an_empty_queue_is_no_refusal_at_the_ceiling() -> None:
    broker = broker_with(1, leases=1)
    assert leased(broker) == (1, 1)
    assert broker.lease(b"t", b"u")[1:3] == ("", None)


def test_what_came_back_counts_as_soon_as_it_is_leased_again() -> None:
    broker = broker_with(4, leases=2)
    assert [leased(broker, 10), leased(broker, 30)] == [(1, 1), (2, 1)]
    broker.elapse(10)
    assert leased(broker) == (1, 2)
    assert broker.lease(b"t", b"u").code == "too-many-leases"


def test_nothing_is_leased_too_far_beyond_the_oldest_that_is_not_done() -> None:
    broker = broker_with(20, lease_window=5)
    assert [leased(broker) for _ in range(6)] == [(seq, 1) for seq in range(1, 7)]
    finished(broker, *[receipt(seq) for seq in (2, 3, 4, 5, 6)])
    answer = broker.lease(b"t", b"u")
    assert (answer.code, answer.detail) == (
        "too-many-leases",
        "message 1 is not done; at most 5 messages after it may be leased",
    )
    broker.elapse(31)
    assert leased(broker) == (1, 2), "what came back is within"
    assert broker.lease(b"t", b"u").code == "too-many-leases"
    assert broker.take(b"t", b"u").result.seq == 7
    finished(broker, receipt(1, 2))
    assert len(bodies_of(broker.fetch(b"t", b"u", 100, lease=30).result)) == 6


def test_where_nothing_is_held_the_next_one_is_the_oldest() -> None:
    broker = broker_with(20, lease_window=5)
    broker.configure(b"t", b"u", max_deliveries=3)
    for _ in range(10):
        broker.take(b"t", b"u")
    assert len(bodies_of(broker.fetch(b"t", b"u", 100, lease=30).result)) == 6


def test_an_extension_of_what_is_not_leased_any_more_needs_room_and_another_one_does_not() -> None:
    broker = broker_with(3, leases=1)
    leased(broker)
    broker.extend(b"t", b"u", receipt(1), 0, delay=60)
    assert leased(broker) == (2, 1)
    assert broker.extend(b"t", b"u", receipt(1), 30).code == "too-many-leases"
    assert broker.extend(b"t", b"u", receipt(2), 60).code == ""
    assert finished(broker, receipt(2)) == [""]
    assert broker.extend(b"t", b"u", receipt(1), 30).code == ""
    assert broker.state.delivery_totals.open_leases == 1
    check_state(broker.state)


# --- together with other reading


def test_plain_reading_takes_what_came_back_first_and_for_good(broker: BrokerDriver) -> None:
    leased(broker, 10)
    leased(broker, 60)
    broker.elapse(10)
    message = broker.take(b"t", b"u").result
    assert (message.seq, message.attempt, message.pending) == (1, 1, 1)
    assert broker.bodies(b"t", b"u") == [b"3"]
    broker.elapse(100)
    assert broker.bodies(b"t", b"u") == [b"2"]
    assert broker.state.messages == 0
    assert finished(broker, receipt(1), receipt(2), receipt(3)) == ["", "", ""]


def test_a_plain_fetch_takes_what_came_back_and_goes_on_with_new_ones(broker: BrokerDriver) -> None:
    leased(broker, 10)
    leased(broker, 60)
    broker.elapse(10)
    assert bodies_of(broker.fetch(b"t", b"u").result) == [b"1", b"3"]
    check_state(broker.state)


def test_a_cursor_needs_a_subscription_without_holes(broker: BrokerDriver) -> None:
    leased(broker)
    for wait in (0, 31):
        broker.elapse(wait)
        answer = broker.after(b"t", b"u", f"{EPOCH}-3")
        assert answer.code == "leases-out"
        assert broker.state.messages == 3, "nothing is acknowledged"
    finished(broker, receipt(1))
    assert broker.after(b"t", b"u", f"{EPOCH}-2").result.seq == 3


def test_a_lease_after_a_cursor_begins_where_the_cursor_stands(broker: BrokerDriver) -> None:
    broker.after(b"t", b"u", f"{EPOCH}-1")
    assert leased(broker) == (2, 1)


# --- several at once


def test_a_leased_fetch_goes_across_pieces_and_into_a_batch() -> None:
    broker = broker_with(2)
    broker.ask(Op.PUBLISH, b"t", args=batch(*[b"%d" % n for n in range(3, 8)]))
    runs = broker.fetch(b"t", b"u", 4, lease=30).result.runs
    assert [(run.first, run.count, run.attempt) for run in runs] == [(1, 1, 1), (2, 1, 1), (3, 2, 1)]
    finished(broker, receipt(1), receipt(2), receipt(4))
    assert broker.state.messages == 5, "a batch is freed as a whole"
    broker.elapse(30)
    found = broker.fetch(b"t", b"u", 100, lease=30).result
    assert [(run.first, run.count, run.attempt) for run in found.runs] == [(3, 1, 2), (5, 3, 1)]
    assert bodies_of(found) == [b"3", b"5", b"6", b"7"]
    assert broker.look(b"t", b"u").result.leased == 4
    finished(broker, receipt(3, 2), *[receipt(seq) for seq in (5, 6, 7)])
    assert broker.state.messages == 0


def test_a_leased_fetch_stops_at_its_bytes_but_gives_one_at_least(broker: BrokerDriver) -> None:
    assert bodies_of(broker.fetch(b"t", b"u", room=1, lease=30).result) == [b"1"]
    assert bodies_of(broker.fetch(b"t", b"u", room=9, lease=10).result) == [b"2"]
    broker.elapse(10)
    assert bodies_of(broker.fetch(b"t", b"u", room=9, lease=30).result) == [b"2"]
    assert broker.state.delivery_totals.open_leases == 2, "what was not delivered is not leased"
    assert bodies_of(broker.fetch(b"t", b"u", room=10, lease=30).result) == [b"3"]


# --- what is left


def test_unsubscribing_drops_all_leases(broker: BrokerDriver) -> None:
    leased(broker)
    broker.unsubscribe(b"t", b"u")
    assert not any(gauges(broker.state).values())
    assert broker.dispatcher.patience(broker.clock.now()) is None
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"new")
    assert finished(broker, receipt(1)) == ["lease-lost"], "another life of the topic"
    broker.elapse(100)
    assert leased(broker) == (1, 1)


def test_what_is_done_behind_an_old_lease_is_never_handed_out_again(broker: BrokerDriver) -> None:
    leased(broker, 10)
    for _ in range(2):
        leased(broker)
    finished(broker, receipt(2), receipt(3))
    assert broker.state.messages == 3, "they lie in the log behind the old one"
    broker.elapse(10)
    assert [leased(broker), leased(broker)] == [(1, 2), None]
    finished(broker, receipt(1, 2))
    assert broker.state.messages == 0


def test_memory_returns_to_what_it_was_and_nothing_is_due(broker: BrokerDriver) -> None:
    broker.bodies(b"t", b"u")
    before = gauges(broker.state)
    for number in range(50):
        broker.publish(b"t", b"x" * number)
    receipts = [receipt_of(broker.lease(b"t", b"u").result) for _ in range(50)]
    assert broker.state.memory > before["memory"] + 50 * HELD_COST
    for each in receipts[::2]:
        broker.extend(b"t", b"u", each, 0, delay=5)
    check_state(broker.state)
    finished(broker, *receipts)
    assert gauges(broker.state) == before
    assert broker.state.topics[b"t"].subscriptions[b"u"].delivery is None
    assert broker.dispatcher.patience(broker.clock.now()) is None


def test_giving_back_again_and_again_leaves_no_trace() -> None:
    """A message that is not the first to go out is given back and extended by its receipt for ever."""
    leases = Leases()
    for seq in (1, 2):
        leases.lease(seq, 1, 1, 50)
        leases.give_back(seq, 0)
    for until in range(10_000):
        leases.lease(2, 1, 1, 100 + until)
        leases.give_back(2, 0)
    assert len(leases._ready) < 100
    assert len(leases.deadlines._messages) < 100
    assert (leases.next_ready(), leases.waiting, leases.open) == (1, 2, 0)
