"""What wakes a parked request beside a publish: whatever lets one of the user's messages be delivered again."""

from __future__ import annotations

import pytest

from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import ROOMY, SECOND, BrokerDriver, Told
from tests.unit.broker.operations.test_leases import finished, leased, receipt

LITTLE = 0.001
"""Seconds."""


@pytest.fixture
def broker() -> BrokerDriver:
    """A broker with a user whose only message is leased for 10 s, and another user, who waits in vain."""
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u", max_deliveries=2)
    broker.publish(b"t", b"1")
    assert leased(broker, 10) == (1, 1)
    broker.subscribe(b"t", b"other")
    broker.wait(b"t", b"other", peer=b"in vain")
    return broker


def woken(broker: BrokerDriver) -> list[int]:
    """Who is told to look by now; nobody is told anything else."""
    told = broker.settle()
    assert all(each.now and each.peer == b"front" for each in told)
    return [each.id for each in told]


def test_the_end_of_a_lease_wakes_one_waiter_once(broker: BrokerDriver) -> None:
    first, second = broker.wait(b"t", b"u"), broker.wait(b"t", b"u")
    broker.elapse(10 - LITTLE)
    assert woken(broker) == []
    broker.elapse(LITTLE)
    assert woken(broker) == [first]
    assert woken(broker) == []
    assert leased(broker) == (1, 2)
    broker.clock.advance(2)
    assert woken(broker) == []
    assert finished(broker, receipt(1, 2)) == [""]
    broker.publish(b"t", b"2")
    assert [told.id for told in broker.settle() if told.peer == b"front"] == [second]


def test_giving_back_wakes_a_waiter_in_the_same_turn(broker: BrokerDriver) -> None:
    parked = broker.wait(b"t", b"u")
    assert woken(broker) == []
    broker.extend(b"t", b"u", receipt(1))
    assert woken(broker) == [parked]


def test_giving_back_with_a_delay_wakes_a_waiter_when_it_is_over(broker: BrokerDriver) -> None:
    parked = broker.wait(b"t", b"u")
    broker.extend(b"t", b"u", receipt(1), 0, delay=5)
    assert woken(broker) == []
    assert broker.dispatcher.patience(broker.clock.now()) == 5000
    broker.elapse(5)
    assert woken(broker) == [parked]


def test_an_extension_and_a_finish_wake_nobody(broker: BrokerDriver) -> None:
    broker.wait(b"t", b"u")
    broker.extend(b"t", b"u", receipt(1), 20)
    broker.elapse(15)
    assert woken(broker) == []
    finished(broker, receipt(1))
    broker.elapse(10)
    assert woken(broker) == []


def test_several_leases_that_end_together_wake_as_many(broker: BrokerDriver) -> None:
    parked = [broker.wait(b"t", b"u") for _ in range(4)]
    for body in (b"2", b"3"):
        broker.publish(b"t", body)
    assert [leased(broker, 10), leased(broker, 10)] == [(2, 1), (3, 1)]
    assert [told.peer for told in broker.settle()] == [b"in vain"]
    broker.elapse(10)
    assert woken(broker) == parked[:3]


def test_a_death_wakes_nobody_and_a_return_of_the_dead_does(broker: BrokerDriver) -> None:
    broker.elapse(10)
    leased(broker, 10)
    parked = [broker.wait(b"t", b"u", 60) for _ in range(2)]
    broker.elapse(10)
    assert broker.look(b"t", b"u").result.dead == 1
    assert woken(broker) == []
    assert broker.ask(Op.DEAD_RETURN, b"t", b"u").result == ops.Counted(1)
    assert woken(broker) == parked[:1]
    assert broker.take(b"t", b"u").result.body == b"1"


def test_a_delayed_publish_wakes_everybody_who_waits_for_the_topic(broker: BrokerDriver) -> None:
    broker.wait(b"t", b"u")
    broker.publish(b"t", b"later", delay=5000)
    assert broker.settle() == []
    broker.elapse(5)
    assert sorted((told.peer, told.now) for told in broker.settle()) == [(b"front", True), (b"in vain", True)]


def test_a_delayed_publish_that_finds_no_room_wakes_nobody_until_it_does() -> None:
    broker = BrokerDriver(limits=ROOMY._replace(topic_messages=1))
    for user in (b"slow", b"u"):
        broker.subscribe(b"t", user)
    broker.publish(b"t", b"1")
    broker.take(b"t", b"u")
    parked = broker.wait(b"t", b"u")
    broker.publish(b"t", b"2", delay=1000)
    broker.elapse(1)
    assert woken(broker) == []
    broker.take(b"t", b"slow")
    broker.elapse(1)
    assert woken(broker) == [parked]


def test_who_is_refused_for_too_many_leases_leaves_the_wake_to_the_next() -> None:
    broker = BrokerDriver(limits=ROOMY._replace(leases=1))
    broker.subscribe(b"t", b"u")
    parked = [broker.wait(b"t", b"u") for _ in range(3)]
    for body in (b"1", b"2"):
        broker.publish(b"t", body)
    assert woken(broker) == parked[:2]
    assert leased(broker) == (1, 1)
    assert woken(broker) == []
    assert broker.lease(b"t", b"u").code == "too-many-leases"
    assert woken(broker) == parked[2:], "who may want it without a lease"
    assert broker.take(b"t", b"u").result.body == b"2"


def test_settings_leave_those_who_wait_where_they_are(broker: BrokerDriver) -> None:
    parked = broker.wait(b"t", b"u", 60)
    broker.configure(b"t", b"u", expires_after=SECOND)
    broker.subscribe(b"t", b"u", max_deliveries=0)
    broker.elapse(20)
    assert woken(broker) == [parked]
    assert leased(broker) == (1, 2)


def test_what_is_dropped_below_a_lease_is_no_message_to_wake_for() -> None:
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"1", ttl=5000)
    leased(broker, 10)
    parked = broker.wait(b"t", b"u", 30)
    broker.elapse(5)
    broker.elapse(5)
    assert woken(broker) == []
    broker.publish(b"t", b"2")
    assert woken(broker) == [parked]


# --- a wait that its front takes back


def test_a_wait_that_is_cancelled_is_answered_at_once_and_wakes_nobody(broker: BrokerDriver) -> None:
    first, second = broker.wait(b"t", b"u"), broker.wait(b"t", b"u")
    assert broker.ask(Op.CANCEL, b"t", b"u", ops.Cancel(first)).result == ops.Nothing()
    assert broker.settle() == [Told(first, False, 2, b"front")]
    broker.publish(b"t", b"2")
    assert [told.id for told in broker.settle() if told.peer == b"front"] == [second]


@pytest.mark.parametrize("peer", [b"front", b"another"])
def test_only_the_wait_of_the_same_front_with_that_number_is_cancelled(broker: BrokerDriver, peer: bytes) -> None:
    parked = broker.wait(b"t", b"u", peer=peer)
    for number in (parked + 1, 0, -1, 2**64 - 1, *([parked] if peer == b"another" else [])):
        assert broker.ask(Op.CANCEL, b"t", b"u", ops.Cancel(number)).code == ""
    assert broker.settle() == []
    assert broker.ask(Op.CANCEL, b"t", b"nobody", ops.Cancel(parked)).code == "no-subscription"


def test_one_that_was_woken_already_cannot_be_cancelled(broker: BrokerDriver) -> None:
    parked = broker.wait(b"t", b"u")
    broker.extend(b"t", b"u", receipt(1))
    assert woken(broker) == [parked]
    broker.ask(Op.CANCEL, b"t", b"u", ops.Cancel(parked))
    assert woken(broker) == []
    assert broker.take(b"t", b"u").result.body == b"1"
