"""What a front knows of one broker, told with made-up frames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.protocol import ops
from common.protocol.wire import BrokerState, ReplyFrame
from httpfront.gateway.broker_status import CLOCK_SAMPLES, PING_INTERVAL_S, SILENCE_S, BrokerStatus

RIGHT = ops.Pong("fanmail", "b0")
READY, LOADING, DRAINING = BrokerState.READY, BrokerState.LOADING, BrokerState.DRAINING


def frame(incarnation: int = 7, clock: int = 0, state: int = READY) -> ReplyFrame:
    return ReplyFrame(1, incarnation, clock, state, 1, [])


def connected(now: float = 100.0) -> BrokerStatus:
    status = BrokerStatus("fanmail", "b0")
    status.connection_made(now)
    return status


def hear_pong(status: BrokerStatus, now: float, incarnation: int = 7, state: int = READY, clock: int = 0) -> None:
    """As the gateway does it."""
    status.heard(frame(incarnation, clock, state), now)
    status.pong(RIGHT, state)


def up(now: float = 100.0) -> BrokerStatus:
    status = connected(now)
    hear_pong(status, now)
    assert status.up
    return status


def test_a_link_begins_down_and_sends_nothing() -> None:
    status = BrokerStatus("fanmail", "b0")
    assert not status.up
    assert not status.connected
    assert not status.ping_due(10.0**9)
    status.check_silence(10.0**9)
    assert not status.up


def test_a_connection_alone_does_not_make_it_up() -> None:
    status = connected()
    assert status.connected
    assert not status.up
    assert status.ping_due(100.0)


def test_a_pong_of_the_right_broker_makes_it_up() -> None:
    status = connected()
    hear_pong(status, 100.1, incarnation=9)
    assert status.up
    assert status.incarnation == 9


def test_pings_go_out_every_second() -> None:
    status = connected(100.0)
    assert status.ping_due(100.0)
    status.pinged(100.0)
    assert not status.ping_due(100.0 + PING_INTERVAL_S - 0.001)
    assert status.ping_due(100.0 + PING_INTERVAL_S)
    status.pinged(100.0 + PING_INTERVAL_S)
    assert not status.ping_due(100.0 + PING_INTERVAL_S)
    status.connection_lost()
    assert not status.ping_due(200.0)
    status.connection_made(200.0)
    assert status.ping_due(200.0), "at once over a new connection"


def test_another_broker_at_the_endpoint_is_refused() -> None:
    for pong in (ops.Pong("fanmail", "b1"), ops.Pong("other", "b0"), ops.Pong("", "")):
        status = connected()
        status.heard(frame(), 100.1)
        status.pong(pong, READY)
        assert not status.up


def test_another_broker_that_takes_over_the_endpoint_brings_it_down() -> None:
    status = up()
    status.heard(frame(), 101.0)
    status.pong(ops.Pong("fanmail", "b1"), READY)
    assert not status.up
    hear_pong(status, 102.0)
    assert status.up


def test_a_broker_that_loads_or_drains_is_not_up() -> None:
    for state in (LOADING, DRAINING):
        status = connected()
        hear_pong(status, 100.1, state=state)
        assert not status.up
    hear_pong(status, 101.0, state=READY)
    assert status.up


def test_a_new_incarnation_is_down_until_its_own_pong() -> None:
    status = up()
    status.heard(frame(incarnation=8), 101.0)
    assert not status.up
    assert status.incarnation == 8
    status.heard(frame(incarnation=8), 101.1)
    assert not status.up, "an ordinary reply is not enough"
    status.pong(RIGHT, READY)
    assert status.up
    assert status.incarnation == 8


def test_a_draining_broker_is_told_goodbye_once() -> None:
    status = up()
    status.heard(frame(state=DRAINING), 101.0)
    assert not status.up
    assert status.owes_goodbye
    status.owes_goodbye = False
    hear_pong(status, 101.1, state=DRAINING)
    assert not status.owes_goodbye
    assert not status.up


def test_a_draining_broker_that_was_never_up_is_told_goodbye_too() -> None:
    """It waits for everybody from whom it has heard, and it has heard the PING."""
    status = connected()
    hear_pong(status, 100.1, state=DRAINING)
    assert status.owes_goodbye
    silent = up(100.0)
    silent.check_silence(200.0)
    hear_pong(silent, 200.1, state=DRAINING)
    assert silent.owes_goodbye


def test_the_next_process_is_told_goodbye_anew() -> None:
    status = up()
    for incarnation in (7, 8, 9):
        hear_pong(status, 101.0, incarnation, state=DRAINING)
        assert status.owes_goodbye
        status.owes_goodbye = False


def test_a_drain_that_was_told_and_a_restart_bring_it_up_again() -> None:
    status = up()
    status.heard(frame(state=DRAINING), 101.0)
    status.connection_lost()
    assert not status.owes_goodbye
    status.connection_made(102.0)
    hear_pong(status, 102.1, incarnation=8)
    assert status.up


def test_a_broker_that_says_nothing_for_long_is_down_until_its_next_pong() -> None:
    status = up(100.0)
    status.check_silence(1000.0)
    assert status.up, "nothing was asked: a front that was held up does not blame the broker"
    status.pinged(100.0)
    status.pinged(101.0)
    status.check_silence(100.0 + SILENCE_S)
    assert status.up
    status.check_silence(100.001 + SILENCE_S)
    assert not status.up
    assert status.connected
    assert status.ping_due(104.0), "it is still asked"
    status.heard(frame(), 105.0)
    assert not status.up
    status.pong(RIGHT, READY)
    assert status.up


def test_any_reply_is_a_sign_of_life() -> None:
    status = up(100.0)
    for now in (102.0, 104.0, 106.0):
        status.heard(frame(), now)
        status.check_silence(now + SILENCE_S)
        assert status.up


def test_a_lost_connection_forgets_the_incarnation() -> None:
    status = up()
    status.connection_lost()
    assert not status.up
    assert not status.connected
    assert status.incarnation == 0
    status.pong(RIGHT, READY)
    assert not status.up, "a pong that was still in the queue"
    status.connection_made(101.0)
    assert not status.up
    hear_pong(status, 101.1)
    assert status.up


def test_a_new_connection_has_the_full_time_to_answer() -> None:
    status = up(100.0)
    status.connection_lost()
    status.connection_made(200.0)
    hear_pong(status, 200.1)
    status.check_silence(200.2)
    assert status.up


# --- deadlines in the broker's clock


def test_the_best_of_the_last_readings_counts() -> None:
    status = connected(100.0)
    status.heard(frame(clock=1_000_000), 100.5)
    assert status.deadline(100.5) == 1_000_000
    status.heard(frame(clock=1_100_000), 100.51)
    assert status.deadline(101.51) == 2_100_000
    status.heard(frame(clock=1_100_000), 103.0)
    assert status.deadline(101.51) == 2_100_000, "a reading that lay in a queue says less"
    for _ in range(CLOCK_SAMPLES):
        status.heard(frame(clock=1_100_000), 103.0)
    assert status.deadline(103.0) == 1_100_000, "and old ones are forgotten"


def test_readings_of_an_earlier_process_or_connection_do_not_count() -> None:
    status = up()
    status.heard(frame(clock=10**15), 101.0)
    status.heard(frame(incarnation=8, clock=5), 101.1)
    assert status.deadline(101.1) == 5
    status.heard(frame(incarnation=8, clock=10**15), 101.2)
    status.connection_lost()
    status.connection_made(102.0)
    status.heard(frame(incarnation=8, clock=6), 102.0)
    assert status.deadline(102.0) == 6


HOURS = 3600 * 10**9
READINGS = st.lists(
    st.tuples(st.integers(0, 2 * 10**9), st.integers(0, 3 * 10**9)), min_size=1, max_size=3 * CLOCK_SAMPLES
)


@given(
    start=st.integers(0, 10_000 * HOURS),
    offset=st.integers(0, 100_000 * HOURS),
    readings=READINGS,
    timeout=st.integers(0, HOURS),
)
def test_a_deadline_is_never_later_than_the_true_moment(
    start: int, offset: int, readings: list[tuple[int, int]], timeout: int
) -> None:
    """In nanoseconds: the broker's clock is `offset` ahead, a reading takes its time to the front.

    Exact but for the rounding of two readings to whole microseconds.
    """
    status, now = connected(start / 1e9), start
    for pause, latency in readings:
        read_at = now + pause
        now = read_at + latency
        status.heard(frame(clock=(read_at + offset) // 1000), now / 1e9)
    truth = (now + timeout + offset) // 1000
    deadline = status.deadline((now + timeout) / 1e9)
    best = min(latency for _, latency in readings[-CLOCK_SAMPLES:])
    assert truth - best // 1000 - 4 <= deadline <= truth + 2
