"""Leases: several workers on one user name, each message with one of them at a time."""

from __future__ import annotations

import pytest

from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import ROOMY, BrokerDriver
from tests.support.snapshot import check_state

EPOCH = "0badcafe1"
LITTLE = 0.001
"""Seconds."""


@pytest.fixture
def broker() -> BrokerDriver:
    """A broker with three messages for one user."""
    return broker_with(3)


def broker_with(messages: int, **ceilings: int) -> BrokerDriver:
    broker = BrokerDriver(limits=ROOMY._replace(**ceilings))
    broker.subscribe(b"t", b"u")
    for number in range(1, messages + 1):
        broker.publish(b"t", b"%d" % number)
    return broker


def leased(broker: BrokerDriver, seconds: float = 30) -> tuple[int, int] | None:
    """Number and attempt of the message that is leased now."""
    message = broker.lease(b"t", b"u", seconds).result
    return None if message is None else (message.seq, message.attempt)


def receipt(seq: int, attempt: int = 1, epoch: str = EPOCH) -> ops.Receipt:
    return ops.Receipt(epoch, seq, attempt)


def finished(broker: BrokerDriver, *receipts: ops.Receipt) -> list[str]:
    return broker.finish(b"t", b"u", *receipts)


# --- handing out


def test_a_message_is_with_one_worker_at_a_time(broker: BrokerDriver) -> None:
    assert [leased(broker) for _ in range(4)] == [(1, 1), (2, 1), (3, 1), None]
    assert broker.look(b"t", b"u").result == ops.Status(0, EPOCH, 0, leased=3)
    assert finished(broker, receipt(1), receipt(2), receipt(3)) == ["", "", ""]
    assert broker.state.messages == 0


def test_a_leased_message_comes_whole_and_says_what_waits_behind_it(broker: BrokerDriver) -> None:
    sent = broker.clock.now().wall
    broker.clock.advance(5)
    assert broker.lease(b"t", b"u").result == ops.Message(EPOCH, 1, sent, 1, 2, b"", b"1")
    broker.elapse(30)
    assert broker.lease(b"t", b"u").result == ops.Message(EPOCH, 1, sent, 2, 2, b"", b"1")


def test_a_lease_that_runs_out_puts_the_message_before_newer_ones(broker: BrokerDriver) -> None:
    assert leased(broker, 30) == (1, 1)
    broker.clock.advance(30 - LITTLE)
    assert leased(broker, 60) == (2, 1)
    broker.clock.advance(LITTLE)
    assert [leased(broker) for _ in range(3)] == [(1, 2), (3, 1), None]


def test_what_ran_out_goes_out_in_the_order_of_the_log_whatever_ran_out_first(broker: BrokerDriver) -> None:
    for seconds in (30, 10, 20):
        leased(broker, seconds)
    broker.elapse(40)
    assert [leased(broker) for _ in range(3)] == [(1, 2), (2, 2), (3, 2)]


def test_the_lease_of_one_user_is_nothing_to_another(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"v")
    broker.publish(b"t", b"4")
    assert leased(broker) == (1, 1)
    assert broker.take(b"t", b"v").result.body == b"4"
    assert broker.finish(b"t", b"v", receipt(4)) == [""]
    assert broker.ask(Op.FINISH, b"t", b"w", ops.Finish([receipt(1)])).code == "no-subscription"
    assert broker.state.delivery_totals.open_leases == 1


# --- receipts


def test_a_receipt_stays_good_after_its_lease_until_the_message_is_handed_out_again(broker: BrokerDriver) -> None:
    leased(broker)
    broker.elapse(31)
    assert finished(broker, receipt(1)) == [""]
    assert leased(broker) == (2, 1), "and it is not delivered again"
    broker.elapse(31)
    assert leased(broker) == (2, 2)
    assert finished(broker, receipt(2)) == ["lease-lost"]
    assert broker.extend(b"t", b"u", receipt(2), 30).code == "lease-lost"
    assert finished(broker, receipt(2), receipt(2, 2), receipt(2)) == ["lease-lost", "", ""]


def test_of_a_message_that_is_done_every_receipt_answers_that(broker: BrokerDriver) -> None:
    leased(broker)
    broker.elapse(31)
    leased(broker)
    assert finished(broker, receipt(1, 2)) == [""]
    for attempt in (1, 2, 3, 2**60):
        assert finished(broker, receipt(1, attempt)) == [""]
        assert broker.extend(b"t", b"u", receipt(1, attempt), 30).code == "lease-lost"
    assert finished(broker, receipt(1, 0)) == ["bad-parameter"]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (receipt(1, epoch="0badcafe2"), "lease-lost"),
        (receipt(1, epoch=""), "lease-lost"),
        (receipt(1, 2), "bad-parameter"),
        (receipt(2), "bad-parameter"),
        (receipt(4), "bad-parameter"),
        (receipt(0), "bad-parameter"),
        (receipt(-1), "bad-parameter"),
        (receipt(1, 0), "bad-parameter"),
        (receipt(2**63), "bad-parameter"),
    ],
)
def test_a_receipt_that_was_never_given_out_ends_nothing(broker: BrokerDriver, bad: ops.Receipt, code: str) -> None:
    leased(broker)
    assert finished(broker, bad) == [code]
    assert broker.extend(b"t", b"u", bad, 30).code == code
    assert broker.state.delivery_totals.open_leases == 1
    assert finished(broker, receipt(1)) == [""]


def test_one_bad_receipt_leaves_its_neighbours_alone(broker: BrokerDriver) -> None:
    for _ in range(3):
        leased(broker)
    codes = finished(broker, receipt(3), receipt(9), receipt(1), receipt(1), receipt(2, epoch="x"))
    assert codes == ["", "bad-parameter", "", "", "lease-lost"]
    assert broker.look(b"t", b"u").result.leased == 1


# --- extending, giving back


def test_an_extension_counts_from_now(broker: BrokerDriver) -> None:
    leased(broker, 30)
    broker.elapse(20)
    assert broker.extend(b"t", b"u", receipt(1), 15).result == ops.Nothing()
    broker.elapse(15 - LITTLE)
    assert broker.state.delivery_totals.open_leases == 1
    broker.elapse(LITTLE)
    assert leased(broker) == (1, 2)


def test_an_extension_may_make_it_shorter(broker: BrokerDriver) -> None:
    leased(broker, 3600)
    broker.extend(b"t", b"u", receipt(1), 1)
    assert broker.dispatcher.patience(broker.clock.now()) == 1000
    broker.elapse(1)
    assert leased(broker) == (1, 2)


def test_a_lease_that_ran_out_can_be_extended_until_it_is_handed_out_again(broker: BrokerDriver) -> None:
    leased(broker, 30)
    broker.elapse(40)
    assert broker.extend(b"t", b"u", receipt(1), 30).code == ""
    assert leased(broker) == (2, 1)
    check_state(broker.state)


def test_given_back_now_it_is_the_next_one(broker: BrokerDriver) -> None:
    leased(broker)
    leased(broker)
    assert broker.extend(b"t", b"u", receipt(1)).code == ""
    assert broker.look(b"t", b"u").result == ops.Status(2, EPOCH, 1, leased=1)
    assert leased(broker) == (1, 2)
    assert leased(broker) == (3, 1)


def test_given_back_with_a_delay_it_waits_for_that_time(broker: BrokerDriver) -> None:
    leased(broker)
    broker.extend(b"t", b"u", receipt(1), 0, delay=10)
    assert broker.look(b"t", b"u").result == ops.Status(2, EPOCH, 2, leased=0)
    assert leased(broker) == (2, 1)
    broker.elapse(10 - LITTLE)
    assert broker.look(b"t", b"u").result.seq == 3
    broker.elapse(LITTLE)
    assert [leased(broker), leased(broker)] == [(1, 2), (3, 1)]


def test_what_waits_for_its_delay_can_still_be_finished_by_its_receipt(broker: BrokerDriver) -> None:
    leased(broker)
    broker.extend(b"t", b"u", receipt(1), 0, delay=10)
    assert finished(broker, receipt(1)) == [""]
    broker.elapse(20)
    assert leased(broker) == (2, 1)
