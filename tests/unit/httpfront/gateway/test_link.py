"""What a front knows of one broker, told with made-up frames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.protocol import ops
from common.protocol.wire import BrokerState, ReplyFrame
from httpfront.gateway.link import CLOCK_SAMPLES, PING_EVERY, SILENT_AFTER, Link

RIGHT = ops.Pong("fanmail", "b0")
READY, LOADING, DRAINING = BrokerState.READY, BrokerState.LOADING, BrokerState.DRAINING


def frame(incarnation: int = 7, clock: int = 0, state: int = READY) -> ReplyFrame:
    return ReplyFrame(1, incarnation, clock, state, 1, [])


def connected(now: float = 100.0) -> Link:
    link = Link("fanmail", "b0")
    link.connection_made(now)
    return link


def hear_pong(link: Link, now: float, incarnation: int = 7, state: int = READY, clock: int = 0) -> None:
    """As the gateway does it."""
    link.heard(frame(incarnation, clock, state), now)
    link.pong(RIGHT, state)


def up(now: float = 100.0) -> Link:
    link = connected(now)
    hear_pong(link, now)
    assert link.up
    return link


def test_a_link_begins_down_and_sends_nothing() -> None:
    link = Link("fanmail", "b0")
    assert not link.up
    assert not link.connected
    assert not link.ping_due(10.0**9)
    link.look(10.0**9)
    assert not link.up


def test_a_connection_alone_does_not_make_it_up() -> None:
    link = connected()
    assert link.connected
    assert not link.up
    assert link.ping_due(100.0)


def test_a_pong_of_the_right_broker_makes_it_up() -> None:
    link = connected()
    hear_pong(link, 100.1, incarnation=9)
    assert link.up
    assert link.incarnation == 9


def test_pings_go_out_every_second() -> None:
    link = connected(100.0)
    assert link.ping_due(100.0)
    link.pinged(100.0)
    assert not link.ping_due(100.0 + PING_EVERY - 0.001)
    assert link.ping_due(100.0 + PING_EVERY)
    link.pinged(100.0 + PING_EVERY)
    assert not link.ping_due(100.0 + PING_EVERY)
    link.connection_lost()
    assert not link.ping_due(200.0)
    link.connection_made(200.0)
    assert link.ping_due(200.0), "at once over a new connection"


def test_another_broker_at_the_endpoint_is_refused() -> None:
    for pong in (ops.Pong("fanmail", "b1"), ops.Pong("other", "b0"), ops.Pong("", "")):
        link = connected()
        link.heard(frame(), 100.1)
        link.pong(pong, READY)
        assert not link.up


def test_another_broker_that_takes_over_the_endpoint_brings_it_down() -> None:
    link = up()
    link.heard(frame(), 101.0)
    link.pong(ops.Pong("fanmail", "b1"), READY)
    assert not link.up
    hear_pong(link, 102.0)
    assert link.up


def test_a_broker_that_loads_or_drains_is_not_up() -> None:
    for state in (LOADING, DRAINING):
        link = connected()
        hear_pong(link, 100.1, state=state)
        assert not link.up
    hear_pong(link, 101.0, state=READY)
    assert link.up


def test_a_new_incarnation_is_down_until_its_own_pong() -> None:
    link = up()
    link.heard(frame(incarnation=8), 101.0)
    assert not link.up
    assert link.incarnation == 8
    link.heard(frame(incarnation=8), 101.1)
    assert not link.up, "an ordinary reply is not enough"
    link.pong(RIGHT, READY)
    assert link.up
    assert link.incarnation == 8


def test_a_draining_broker_is_told_goodbye_once() -> None:
    link = up()
    link.heard(frame(state=DRAINING), 101.0)
    assert not link.up
    assert link.owes_goodbye
    link.owes_goodbye = False
    hear_pong(link, 101.1, state=DRAINING)
    assert not link.owes_goodbye
    assert not link.up


def test_a_draining_broker_that_was_never_up_is_told_goodbye_too() -> None:
    """It waits for everybody from whom it has heard, and it has heard the PING."""
    link = connected()
    hear_pong(link, 100.1, state=DRAINING)
    assert link.owes_goodbye
    silent = up(100.0)
    silent.look(200.0)
    hear_pong(silent, 200.1, state=DRAINING)
    assert silent.owes_goodbye


def test_the_next_process_is_told_goodbye_anew() -> None:
    link = up()
    for incarnation in (7, 8, 9):
        hear_pong(link, 101.0, incarnation, state=DRAINING)
        assert link.owes_goodbye
        link.owes_goodbye = False


def test_a_drain_that_was_told_and_a_restart_bring_it_up_again() -> None:
    link = up()
    link.heard(frame(state=DRAINING), 101.0)
    link.connection_lost()
    assert not link.owes_goodbye
    link.connection_made(102.0)
    hear_pong(link, 102.1, incarnation=8)
    assert link.up


def test_a_broker_that_says_nothing_for_long_is_down_until_its_next_pong() -> None:
    link = up(100.0)
    link.look(1000.0)
    assert link.up, "nothing was asked: a front that was held up does not blame the broker"
    link.pinged(100.0)
    link.pinged(101.0)
    link.look(100.0 + SILENT_AFTER)
    assert link.up
    link.look(100.001 + SILENT_AFTER)
    assert not link.up
    assert link.connected
    assert link.ping_due(104.0), "it is still asked"
    link.heard(frame(), 105.0)
    assert not link.up
    link.pong(RIGHT, READY)
    assert link.up


def test_any_reply_is_a_sign_of_life() -> None:
    link = up(100.0)
    for now in (102.0, 104.0, 106.0):
        link.heard(frame(), now)
        link.look(now + SILENT_AFTER)
        assert link.up


def test_a_lost_connection_forgets_the_incarnation() -> None:
    link = up()
    link.connection_lost()
    assert not link.up
    assert not link.connected
    assert link.incarnation == 0
    link.pong(RIGHT, READY)
    assert not link.up, "a pong that was still in the queue"
    link.connection_made(101.0)
    assert not link.up
    hear_pong(link, 101.1)
    assert link.up


def test_a_new_connection_has_the_full_time_to_answer() -> None:
    link = up(100.0)
    link.connection_lost()
    link.connection_made(200.0)
    hear_pong(link, 200.1)
    link.look(200.2)
    assert link.up


# --- deadlines in the broker's clock


def test_the_best_of_the_last_readings_counts() -> None:
    link = connected(100.0)
    link.heard(frame(clock=1_000_000), 100.5)
    assert link.deadline(100.5) == 1_000_000
    link.heard(frame(clock=1_100_000), 100.51)
    assert link.deadline(101.51) == 2_100_000
    link.heard(frame(clock=1_100_000), 103.0)
    assert link.deadline(101.51) == 2_100_000, "a reading that lay in a queue says less"
    for _ in range(CLOCK_SAMPLES):
        link.heard(frame(clock=1_100_000), 103.0)
    assert link.deadline(103.0) == 1_100_000, "and old ones are forgotten"


def test_readings_of_an_earlier_process_or_connection_do_not_count() -> None:
    link = up()
    link.heard(frame(clock=10**15), 101.0)
    link.heard(frame(incarnation=8, clock=5), 101.1)
    assert link.deadline(101.1) == 5
    link.heard(frame(incarnation=8, clock=10**15), 101.2)
    link.connection_lost()
    link.connection_made(102.0)
    link.heard(frame(incarnation=8, clock=6), 102.0)
    assert link.deadline(102.0) == 6


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
    link, now = connected(start / 1e9), start
    for pause, latency in readings:
        read_at = now + pause
        now = read_at + latency
        link.heard(frame(clock=(read_at + offset) // 1000), now / 1e9)
    truth = (now + timeout + offset) // 1000
    deadline = link.deadline((now + timeout) / 1e9)
    best = min(latency for _, latency in readings[-CLOCK_SAMPLES:])
    assert truth - best // 1000 - 4 <= deadline <= truth + 2
