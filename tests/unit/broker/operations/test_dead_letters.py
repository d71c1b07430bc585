"""Dead letters: what was delivered too often waits beside the subscription until it is returned or discarded."""

from __future__ import annotations

from broker.state.leases import DEAD_LETTER_COST
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import ROOMY, BrokerDriver, batch, bodies_of
from tests.support.snapshot import check_state, gauges
from tests.support.table import table
from tests.unit.broker.operations.test_leases import EPOCH, finished, leased, receipt


def deadly(max_deliveries: int = 2, **ceilings: int) -> BrokerDriver:
    """A broker with a user who gets each message only a limited number of times."""
    broker = BrokerDriver(limits=ROOMY._replace(**ceilings))
    broker.subscribe(b"t", b"u", max_deliveries=max_deliveries)
    return broker


def die(broker: BrokerDriver, *bodies: bytes) -> None:
    """Publishes messages that are delivered once each and not acknowledged; `max_deliveries` must be 1."""
    for body in bodies:
        broker.publish(b"t", body, b"h")
        assert broker.lease(b"t", b"u").result.body == body
        broker.elapse(30)


def hand_out(broker: BrokerDriver, times: int) -> None:
    """Hands out the next message so often, and nobody acknowledges it."""
    for _ in range(times):
        leased(broker)
        broker.elapse(30)


def dead(broker: BrokerDriver) -> list[int]:
    return [letter.seq for letter in broker.dead(b"t", b"u").result.letters]


# --- dying


def test_a_message_dies_when_its_last_lease_runs_out() -> None:
    broker = deadly(2)
    sent = broker.clock.now().wall
    broker.publish(b"t", b"poison", b"h")
    broker.publish(b"t", b"good")
    for attempt in (1, 2):
        assert dead(broker) == []
        assert leased(broker) == (1, attempt)
        broker.elapse(30)
    assert leased(broker) == (2, 1)
    found = broker.dead(b"t", b"u").result
    assert found == ops.DeadLetters(EPOCH, 0, [ops.DeadLetter(1, sent, 2, b"h", b"poison")])
    assert broker.look(b"t", b"u").result == ops.Status(0, EPOCH, 0, leased=1, dead=1)
    assert broker.dispatcher.counters["dead.letters"] == 1
    check_state(broker.state)


@table("delay", [0, 5])
def test_a_message_that_is_given_back_for_the_last_time_dies_at_once(delay: int) -> None:
    broker = deadly(1)
    broker.publish(b"t", b"1")
    leased(broker)
    broker.extend(b"t", b"u", receipt(1), 0, delay)
    assert dead(broker) == [1]
    assert leased(broker) is None


def test_without_the_setting_nothing_ever_dies() -> None:
    broker = deadly(0)
    broker.publish(b"t", b"1")
    for attempt in range(1, 50):
        assert leased(broker) == (1, attempt)
        broker.elapse(30)
    assert dead(broker) == []


def test_a_setting_that_comes_late_counts_what_has_been() -> None:
    broker = deadly(0)
    broker.publish(b"t", b"1")
    hand_out(broker, 5)
    broker.configure(b"t", b"u", max_deliveries=5)
    assert broker.look(b"t", b"u").result.seq == 0
    assert leased(broker) is None
    assert dead(broker) == [1]


def test_the_log_lets_go_of_what_has_died() -> None:
    broker = deadly(1)
    die(broker, b"x" * 1000)
    assert (broker.state.messages, broker.state.content_bytes) == (0, 0)
    assert broker.state.delivery_totals.dead_bytes == 1001
    broker.ask(Op.DEAD_CLEAR, b"t", b"u")
    assert broker.state.delivery_totals.dead_bytes == 0
    check_state(broker.state)


def test_of_a_batch_one_message_dies_alone() -> None:
    broker = deadly(1)
    broker.ask(Op.PUBLISH, b"t", args=batch(b"a", b"b", b"c"))
    broker.fetch(b"t", b"u", lease=30)
    finished(broker, receipt(1), receipt(3))
    broker.elapse(30)
    assert [letter.body for letter in broker.dead(b"t", b"u").result.letters] == [b"b"]
    assert broker.state.messages == 0


def test_a_dead_letter_of_one_user_is_alive_for_another() -> None:
    broker = deadly(1)
    broker.subscribe(b"t", b"v")
    die(broker, b"1")
    assert broker.bodies(b"t", b"v") == [b"1"]
    assert broker.dead(b"t", b"v").result.letters == []


def test_plain_reading_takes_what_the_setting_would_let_die() -> None:
    broker = deadly(2)
    broker.publish(b"t", b"1")
    leased(broker)
    broker.elapse(30)
    assert broker.take(b"t", b"u").result.body == b"1"
    assert dead(broker) == []


# --- the list


def test_the_list_comes_in_pages_in_the_order_of_the_log_and_takes_nothing() -> None:
    broker = deadly(1)
    for number in range(1, 8):
        broker.publish(b"t", b"%d" % number)
    for seconds in (70, 60, 50, 40, 30, 20, 10):
        leased(broker, seconds)
    for _ in range(7):
        broker.elapse(10)
    pages, after = [], 0
    for left in (4, 1, 0):
        page = broker.dead(b"t", b"u", after, most=3).result
        assert page.left == left
        pages += page.letters
        after = page.letters[-1].seq
    assert [letter.seq for letter in pages] == [1, 2, 3, 4, 5, 6, 7]
    assert broker.dead(b"t", b"u", 7).result == ops.DeadLetters(EPOCH, 0, [])
    for most in (0, -1, -(2**63)):
        assert broker.dead(b"t", b"u", most=most).result == ops.DeadLetters(EPOCH, 7, [])
    assert dead(broker) == [1, 2, 3, 4, 5, 6, 7]


def test_a_page_stops_at_its_bytes_but_has_one_letter_at_least() -> None:
    broker = deadly(1)
    die(broker, b"x" * 10, b"y" * 10, b"z")
    assert len(broker.dead(b"t", b"u", room=1).result.letters) == 1
    assert len(broker.dead(b"t", b"u", room=19).result.letters) == 1
    assert len(broker.dead(b"t", b"u", room=20).result.letters) == 2
    assert len(broker.dead(b"t", b"u", room=21).result.letters) == 3


def test_who_has_no_dead_letters_has_an_empty_list() -> None:
    broker = deadly(0)
    broker.publish(b"t", b"1")
    assert broker.dead(b"t", b"u").result == ops.DeadLetters(EPOCH, 0, [])
    assert broker.ask(Op.DEAD_RETURN, b"t", b"u").result == ops.Counted(0)
    assert broker.ask(Op.DEAD_CLEAR, b"t", b"u").result == ops.Counted(0)
    for op in (Op.DEAD_RETURN, Op.DEAD_CLEAR):
        assert broker.ask(op, b"t", b"nobody").code == "no-subscription"
    assert broker.dead(b"t", b"nobody").code == "no-subscription"


def test_at_the_ceiling_the_longest_dead_is_dropped_and_counted() -> None:
    broker = deadly(1, dead=3)
    die(broker, b"1", b"2", b"3")
    assert broker.dispatcher.counters["dropped.dead"] == 0
    die(broker, b"4", b"5")
    assert dead(broker) == [3, 4, 5]
    assert broker.dispatcher.counters["dropped.dead"] == 2
    check_state(broker.state)


def test_the_bytes_of_the_dead_have_a_ceiling_too() -> None:
    broker = deadly(1, dead_bytes=10)
    die(broker, b"123", b"123", b"12345")
    assert dead(broker) == [2, 3], "kept headers count"
    die(broker, b"x" * 20)
    assert dead(broker) == []
    assert broker.state.messages == 0
    check_state(broker.state)


def test_the_dead_of_all_users_have_a_quarter_of_the_memory() -> None:
    broker = deadly(1, memory=40_000)
    broker.subscribe(b"t", b"v", max_deliveries=1)
    for _ in range(2):
        broker.publish(b"t", b"x" * 4000)
        for user in (b"u", b"v"):
            broker.lease(b"t", user)
        broker.elapse(30)
    assert broker.state.delivery_totals.dead_bytes == 8000
    assert broker.dispatcher.counters["dropped.dead"] == 2


# --- deciding


def test_put_back_they_wait_before_newer_ones_and_their_deliveries_count_anew() -> None:
    broker = deadly(1)
    die(broker, b"1", b"2")
    broker.publish(b"t", b"3")
    assert broker.ask(Op.DEAD_RETURN, b"t", b"u").result == ops.Counted(2)
    assert broker.look(b"t", b"u").result == ops.Status(3, EPOCH, 1, leased=0, dead=0)
    assert bodies_of(broker.fetch(b"t", b"u", lease=30).result) == [b"1", b"2", b"3"]
    assert finished(broker, receipt(1, 2), receipt(3)) == ["", ""]
    broker.elapse(30)
    assert dead(broker) == [2], "and may die again"
    assert broker.dead(b"t", b"u").result.letters[0].attempt == 2
    broker.ask(Op.DEAD_RETURN, b"t", b"u")
    message = broker.take(b"t", b"u").result
    assert (message.body, message.headers, message.attempt) == (b"2", b"h", 1)
    check_state(broker.state)


def test_an_old_receipt_is_not_good_for_a_message_that_was_put_back() -> None:
    broker = deadly(3)
    broker.publish(b"t", b"1")
    hand_out(broker, 3)
    broker.ask(Op.DEAD_RETURN, b"t", b"u")
    assert finished(broker, receipt(1, 3), receipt(1, 1), receipt(1, 4)) == ["lease-lost"] * 2 + ["bad-parameter"]
    assert broker.extend(b"t", b"u", receipt(1, 3), 30).code == "lease-lost"
    assert leased(broker) == (1, 4)
    for old in (1, 3):
        assert finished(broker, receipt(1, old)) == ["lease-lost"]
        assert broker.extend(b"t", b"u", receipt(1, old), 0).code == "lease-lost"
    assert finished(broker, receipt(1, 4)) == [""]


def test_put_back_again_and_again_no_receipt_is_given_twice() -> None:
    broker = deadly(2)
    broker.publish(b"t", b"1")
    given = []
    for _ in range(3):
        for _ in range(2):
            given.append(leased(broker))
            broker.elapse(30)
        assert broker.ask(Op.DEAD_RETURN, b"t", b"u").result == ops.Counted(1)
    assert given == [(1, attempt) for attempt in range(1, 7)]


def test_a_new_subscription_is_not_touched_by_receipts_of_the_one_before() -> None:
    broker = deadly(1)
    broker.subscribe(b"t", b"v")
    broker.publish(b"t", b"1")
    leased(broker)
    broker.unsubscribe(b"t", b"u")
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"2")
    assert leased(broker) == (2, 1)
    assert finished(broker, receipt(1)) == [""], "it is done with"
    assert broker.look(b"t", b"u").result.leased == 1


def test_a_letter_whose_ttl_is_over_stays_on_the_list_and_is_not_counted() -> None:
    broker = deadly(1)
    for ttl in (60, 0, 31):
        broker.publish(b"t", b"%d" % ttl, ttl=ttl * 1000)
        leased(broker)
    broker.elapse(30)
    broker.elapse(1)
    assert broker.ask(Op.DEAD_RETURN, b"t", b"u").result == ops.Counted(2)
    assert (dead(broker), broker.look(b"t", b"u").result.pending) == ([3], 2)
    assert broker.bodies(b"t", b"u") == [b"60", b"0"]
    assert broker.ask(Op.DEAD_RETURN, b"t", b"u").result == ops.Counted(0)
    assert broker.ask(Op.DEAD_CLEAR, b"t", b"u").result == ops.Counted(1)
    check_state(broker.state)


def test_a_letter_whose_ttl_ends_after_it_was_put_back_is_a_dead_letter_again() -> None:
    broker = deadly(2)
    broker.publish(b"t", b"1", ttl=100_000)
    hand_out(broker, 2)
    broker.ask(Op.DEAD_RETURN, b"t", b"u")
    hand_out(broker, 1)
    broker.elapse(10)
    assert broker.take(b"t", b"u").result is None
    assert [(each.seq, each.attempt) for each in broker.dead(b"t", b"u").result.letters] == [(1, 3)]
    assert broker.dispatcher.counters["skipped.ttl"] == 0
    check_state(broker.state)


def test_a_late_receipt_takes_a_message_off_the_dead_list() -> None:
    broker = deadly(2)
    broker.publish(b"t", b"1")
    hand_out(broker, 2)
    assert finished(broker, receipt(1, 1)) == ["lease-lost"]
    assert broker.extend(b"t", b"u", receipt(1, 2), 30).code == "lease-lost"
    assert dead(broker) == [1]
    assert finished(broker, receipt(1, 2)) == [""]
    assert dead(broker) == []


def test_cleared_they_are_gone_for_good() -> None:
    broker = deadly(1)
    die(broker, b"1", b"2")
    before = broker.state.memory
    assert broker.ask(Op.DEAD_CLEAR, b"t", b"u").result == ops.Counted(2)
    assert broker.state.memory == before - 2 * (DEAD_LETTER_COST + len(b"h1"))
    assert broker.ask(Op.DEAD_RETURN, b"t", b"u").result == ops.Counted(0)
    assert leased(broker) is None
    assert finished(broker, receipt(1)) == [""]


def test_the_dead_go_with_their_subscription() -> None:
    broker = deadly(1)
    die(broker, b"1")
    broker.ask(Op.DEAD_RETURN, b"t", b"u")
    die_again = broker.lease(b"t", b"u").result
    assert die_again.seq == 1
    broker.elapse(30)
    broker.unsubscribe(b"t", b"u")
    assert not any(gauges(broker.state).values())


def test_with_dead_letters_a_cursor_is_welcome_and_with_returned_ones_it_is_not() -> None:
    broker = deadly(1)
    die(broker, b"1")
    broker.publish(b"t", b"2")
    assert broker.after(b"t", b"u").result.body == b"2"
    broker.ask(Op.DEAD_RETURN, b"t", b"u")
    assert broker.after(b"t", b"u").code == "leases-out"
