"""Subscriptions that end by themselves: a time after the end of the user's last call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import SECOND, STORE_ID, BrokerDriver
from tests.support.mirror import MirrorStore
from tests.support.snapshot import check_state, gauges
from tests.unit.broker.operations.test_leases import finished, leased, receipt

MINUTE = 60
LITTLE = 0.001
"""Seconds."""


def idle(store: MirrorStore | None = None) -> BrokerDriver:
    """A broker with a user who is gone after a minute."""
    broker = BrokerDriver(store=store) if store else BrokerDriver()
    assert broker.subscribe(b"t", b"u", expires_after=MINUTE * SECOND).result.created
    return broker


@pytest.fixture
def broker() -> BrokerDriver:
    return idle()


def lives(broker: BrokerDriver) -> bool:
    """Looks without touching anything."""
    return b"t" in broker.state.topics and b"u" in broker.state.topics[b"t"].subscriptions


def dies_after(broker: BrokerDriver, seconds: float) -> bool:
    """Whether the subscription ends after exactly this time from now."""
    broker.elapse(seconds - LITTLE)
    before = lives(broker)
    broker.elapse(LITTLE)
    return before and not lives(broker)


def test_it_ends_with_all_it_had(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1")
    broker.elapse(0)
    assert broker.dispatcher.patience(broker.clock.now()) == MINUTE * 1000
    assert dies_after(broker, MINUTE)
    assert not any(gauges(broker.state).values())
    assert broker.dispatcher.counters["subscriptions.expired"] == 1
    assert broker.take(b"t", b"u").code == "no-subscription"
    assert broker.dispatcher.patience(broker.clock.now()) is None


def test_others_of_the_topic_stay(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"v")
    broker.publish(b"t", b"1")
    assert dies_after(broker, MINUTE)
    assert broker.bodies(b"t", b"v") == [b"1"]
    broker.elapse(10**9)
    assert broker.look(b"t", b"v").code == ""
    check_state(broker.state)


CALLS: list[tuple[str, Callable[[BrokerDriver], object]]] = [
    ("subscribe", lambda broker: broker.subscribe(b"t", b"u")),
    ("subscribe, the same settings", lambda broker: broker.subscribe(b"t", b"u", expires_after=MINUTE * SECOND)),
    ("configure", lambda broker: broker.configure(b"t", b"u", max_deliveries=3)),
    ("take", lambda broker: broker.take(b"t", b"u")),
    ("after", lambda broker: broker.after(b"t", b"u")),
    ("fetch", lambda broker: broker.fetch(b"t", b"u")),
    ("pass on", lambda broker: broker.skip(b"t", b"u")),
    ("finish", lambda broker: broker.finish(b"t", b"u", receipt(1))),
    ("extend without effect", lambda broker: broker.extend(b"t", b"u", receipt(1), 5)),
    ("list the dead", lambda broker: broker.dead(b"t", b"u")),
    ("return the dead", lambda broker: broker.ask(Op.DEAD_RETURN, b"t", b"u")),
    ("clear the dead", lambda broker: broker.ask(Op.DEAD_CLEAR, b"t", b"u")),
]


@pytest.mark.parametrize("call", [call for _, call in CALLS], ids=[name for name, _ in CALLS])
def test_every_call_of_the_user_starts_the_clock_anew(
    broker: BrokerDriver, call: Callable[[BrokerDriver], object]
) -> None:
    for _ in range(3):
        broker.elapse(MINUTE - LITTLE)
        call(broker)
    assert dies_after(broker, MINUTE)


def test_a_look_a_publish_and_calls_of_others_do_not_touch_it(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"v")
    broker.elapse(MINUTE / 2)
    broker.look(b"t", b"u")
    broker.publish(b"t", b"x")
    broker.take(b"t", b"v")
    assert dies_after(broker, MINUTE / 2)


def test_a_request_that_was_refused_at_the_gate_does_not_touch_it(broker: BrokerDriver) -> None:
    broker.elapse(MINUTE / 2)
    broker.ask(Op.TAKE, b"t", b"u", ops.Take(lease=-1))
    assert dies_after(broker, MINUTE / 2)


# --- where the idle time does not advance


def test_it_stands_still_while_a_wait_is_parked_and_starts_at_its_end(broker: BrokerDriver) -> None:
    broker.wait(b"t", b"u", seconds=10 * MINUTE)
    for _ in range(10 * MINUTE - 1):
        broker.elapse(1)
        assert broker.settle() == []
    broker.elapse(1)
    assert len(broker.settle()) == 1
    assert dies_after(broker, MINUTE)


def test_it_starts_when_a_wait_is_told_to_look(broker: BrokerDriver) -> None:
    broker.wait(b"t", b"u", seconds=10 * MINUTE)
    broker.elapse(MINUTE)
    broker.elapse(MINUTE / 2)
    broker.publish(b"t", b"1")
    assert [told.now for told in broker.settle()] == [True]
    assert dies_after(broker, MINUTE)


def test_of_two_waits_the_last_one_counts(broker: BrokerDriver) -> None:
    broker.wait(b"t", b"u", seconds=2 * MINUTE)
    broker.wait(b"t", b"u", seconds=3 * MINUTE)
    broker.elapse(2 * MINUTE)
    assert len(broker.settle()) == 1
    broker.elapse(MINUTE)
    assert len(broker.settle()) == 1
    assert dies_after(broker, MINUTE)


def test_it_stands_still_while_a_lease_is_held_and_starts_when_it_runs_out(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1")
    leased(broker, 10 * MINUTE + 7)
    broker.elapse(5 * MINUTE)
    broker.elapse(5 * MINUTE)
    broker.elapse(7)
    assert broker.look(b"t", b"u").result.leased == 0
    assert dies_after(broker, MINUTE)


def test_it_starts_when_the_last_lease_is_finished(broker: BrokerDriver) -> None:
    for body in (b"1", b"2"):
        broker.publish(b"t", body)
        leased(broker, 10 * MINUTE)
    broker.elapse(5 * MINUTE)
    assert finished(broker, receipt(1)) == [""]
    broker.elapse(4 * MINUTE)
    assert finished(broker, receipt(2)) == [""]
    assert dies_after(broker, MINUTE)


def test_what_was_given_back_with_a_delay_is_no_lease(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1")
    leased(broker)
    broker.extend(b"t", b"u", receipt(1), 0, delay=10 * MINUTE)
    assert dies_after(broker, MINUTE)


# --- the setting


def test_without_it_nobody_ever_ends() -> None:
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u")
    broker.elapse(10**9)
    assert lives(broker)
    assert broker.dispatcher.patience(broker.clock.now()) is None


@pytest.mark.parametrize("seconds", [10, 10 * MINUTE])
def test_a_change_counts_from_now(broker: BrokerDriver, seconds: int) -> None:
    broker.elapse(MINUTE / 2)
    assert broker.configure(b"t", b"u", expires_after=seconds * SECOND).result == ops.Nothing()
    assert dies_after(broker, seconds)


def test_it_can_be_turned_off_and_on_and_one_setting_leaves_the_other(broker: BrokerDriver) -> None:
    broker.configure(b"t", b"u", max_deliveries=1)
    broker.subscribe(b"t", b"u", expires_after=0)
    broker.elapse(10 * MINUTE)
    assert lives(broker)
    assert broker.dispatcher.patience(broker.clock.now()) is None
    broker.publish(b"t", b"1")
    leased(broker, 1)
    broker.elapse(1)
    assert broker.look(b"t", b"u").result.dead == 1
    assert broker.subscribe(b"t", b"u", expires_after=MINUTE * SECOND).result == ops.Subscribed(created=False)
    assert dies_after(broker, MINUTE)


def test_settings_are_of_a_subscription_that_is_there() -> None:
    broker = BrokerDriver()
    assert broker.configure(b"t", b"u", expires_after=SECOND).code == "no-subscription"
    assert not broker.state.topics
    broker.subscribe(b"t", b"u", expires_after=SECOND, max_deliveries=1)
    broker.unsubscribe(b"t", b"u")
    broker.subscribe(b"t", b"u")
    assert broker.state.topics[b"t"].subscriptions[b"u"].delivery is None


def test_it_starts_anew_with_the_broker() -> None:
    broker = idle(MirrorStore(STORE_ID))
    broker.elapse(MINUTE / 2)
    broker.commit()
    broker.restart()
    broker.elapse(0)
    assert dies_after(broker, MINUTE)


def test_an_old_wake_does_not_hold_up_a_new_subscription(broker: BrokerDriver) -> None:
    broker.configure(b"t", b"u", expires_after=SECOND // 2)
    broker.wait(b"t", b"u")
    broker.publish(b"t", b"1")
    assert len(broker.settle()) == 1
    broker.elapse(0.5)
    assert not lives(broker)
    broker.subscribe(b"t", b"u")
    parked = broker.wait(b"t", b"u")
    broker.publish(b"t", b"2")
    assert [told.id for told in broker.settle()] == [parked]


def test_a_wake_that_nothing_followed_holds_nothing_up_and_leaves_nothing_behind(broker: BrokerDriver) -> None:
    broker.wait(b"t", b"u", seconds=30)
    broker.publish(b"t", b"1")
    broker.settle()
    assert dies_after(broker, MINUTE)
    assert broker.settle() == []
    assert broker.dispatcher.waiters._topics == {}


def test_of_very_many_some_end_each_turn() -> None:
    broker = BrokerDriver()
    for number in range(600):
        broker.subscribe(b"t", b"%d" % number, expires_after=SECOND)
    for _ in range(5):
        broker.elapse(0)
    broker.elapse(1)
    assert 0 < broker.state.subscriptions < 600
    for _ in range(5):
        broker.elapse(0)
    assert broker.state.subscriptions == 0
