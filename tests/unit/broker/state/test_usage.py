"""Ceilings that all users share: nobody is refused or loses something because of what another one does."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from broker.state.delayed import DELAYED_COST
from broker.state.delivery_state import DELIVERY_STATE_COST
from broker.state.idempotency import KEY_COST
from broker.state.leases import DEAD_LETTER_COST, HELD_COST
from broker.state.usage import RankedUsage, UserUsage
from common.protocol import ops
from common.protocol.ops import Op
from common.shares import room
from tests.support.driver import ROOMY, BrokerDriver
from tests.support.snapshot import check_state, gauges, snapshot
from tests.support.table import table
from tests.support.tiny import TINY

PERCENTS = st.integers(1, 100)
HELD = HELD_COST + DELIVERY_STATE_COST
"""Bytes that the first lease of a user without settings takes."""


def filled(broker: BrokerDriver, topic: bytes, op: str = "delay") -> int:
    """How many delayed publishes, leases or subscriptions a topic is given until it is refused one."""
    for number in range(10_000):
        if op == "subscribe":
            answer = broker.subscribe(topic, b"%d" % number)
        elif op == "lease":
            answer = broker.lease(topic, b"u", 600)
            assert answer.code or answer.result is not None
        else:
            answer = broker.publish(topic, b"x", delay=5000)
        if answer.code:
            assert answer.code.startswith("too-many-"), answer
            assert "its share" in answer.detail or "ceiling" in answer.detail, answer.detail
            return number
    raise AssertionError("nothing was refused")


# --- how a ceiling is shared


@given(st.integers(1, 1000), st.integers(0, 1000), PERCENTS, st.integers(1, 50))
def test_alone_one_may_take_its_share_and_never_more_than_there_is(
    ceiling: int, own: int, percent: int, unit: int
) -> None:
    more = room(ceiling, own, own, percent, unit)
    assert more >= 0
    assert more == 0 or own + more * unit <= max(ceiling * percent // 100, unit)
    assert more == 0 or own + more * unit <= ceiling


@given(st.integers(1, 1000), st.integers(1, 6), PERCENTS)
def test_who_holds_nothing_may_have_one_wherever_it_fits(ceiling: int, greedy: int, percent: int) -> None:
    held = [0] * greedy
    for number in range(greedy):
        while room(ceiling, sum(held), held[number], percent):
            held[number] += 1
    assert sum(held) <= ceiling
    assert (room(ceiling, sum(held), 0, percent) > 0) == (sum(held) < ceiling)


def test_ten_that_take_all_they_can_leave_a_share_for_the_next() -> None:
    held = [0] * 10
    for number in range(10):
        held[number] = room(100_000, sum(held), 0, 25)
    assert held[0] == 25_000
    assert room(100_000, sum(held), 0, 25) > 1000


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.integers(-9, 9)), max_size=60))
def test_a_ranking_knows_who_holds_most(steps: list[tuple[bytes, int]]) -> None:
    ranking: RankedUsage[bytes] = RankedUsage(TINY)
    plain: Counter[bytes] = Counter()
    for holder, amount in steps:
        amount = max(amount, -plain[holder])
        plain[holder] += amount
        ranking.add(holder, amount)
        assert ranking.total == plain.total()
        if plain.total():
            assert ranking.heaviest() == min(plain, key=lambda each: (-plain[each], each))
        assert len(ranking._heap) <= 2 * 4 + TINY.slack + 1


def test_users_of_one_topic_share_what_their_topic_has() -> None:
    usage = UserUsage(TINY)
    for topic, user, amount in ((b"many", b"a", 3), (b"many", b"b", 4), (b"few", b"c", 5)):
        usage.add(topic, user, amount)
    assert usage.heaviest() == (b"many", b"b")
    usage.add(b"many", b"b", -4)
    assert usage.heaviest() == (b"few", b"c")
    usage.add(b"few", b"c", -5)
    usage.add(b"many", b"a", -3)
    assert (usage.topics.total, usage._users) == (0, {})


# --- delayed publishes


def test_a_topic_takes_a_quarter_of_the_delayed_publishes_and_others_go_on() -> None:
    broker = BrokerDriver(ROOMY._replace(delayed=100))
    assert filled(broker, b"greedy") == 25
    before = snapshot(broker.state)
    answer = broker.publish(b"greedy", b"x", delay=1000)
    assert (answer.code, "25 delayed" in answer.detail, "25 %" in answer.detail) == ("too-many-delayed", True, True)
    assert snapshot(broker.state) == before
    assert broker.publish(b"good", b"x", delay=1000).code == ""
    for number in range(7):
        assert filled(broker, b"greedy %d" % number) > 0
    assert filled(broker, b"better") > 0


def test_bytes_of_delayed_publishes_are_shared_too_and_leave_memory_for_the_rest() -> None:
    broker = BrokerDriver(ROOMY._replace(memory=1_000_000))
    broker.subscribe(b"t", b"u")
    large = b"x" * 20_000
    taken = 0
    while not (answer := broker.publish(b"greedy", large, delay=5000)).code:
        taken += 1
    assert (answer.code, "bytes" in answer.detail) == ("too-many-delayed", True)
    assert taken == 250_000 * 25 // 100 // (DELAYED_COST + len(b"greedy") + len(large))
    assert broker.publish(b"good", large, delay=5000).code == ""
    assert broker.publish(b"t", b"x" * 500_000).code == "", "a quarter of memory is all that they get"
    assert broker.publish(b"other", b"x" * 250_000, delay=5000).code == "too-many-delayed"
    assert broker.publish(b"t", b"x" * 400_000).code == ""
    assert broker.publish(b"other", large, delay=5000).code == "memory-full"
    check_state(broker.state)


def test_the_share_is_a_setting() -> None:
    broker = BrokerDriver(ROOMY._replace(delayed=100, topic_share=100))
    assert filled(broker, b"t") == 100


# --- leases


def test_a_topic_takes_a_quarter_of_what_may_be_held_and_others_lease() -> None:
    broker = BrokerDriver(ROOMY._replace(memory=16 * 10 * HELD_COST + 16 * DELIVERY_STATE_COST, topic_bytes=2**40))
    for topic in (b"greedy", b"good"):
        broker.subscribe(topic, b"u")
        for _ in range(20):
            assert broker.publish(topic, b"").code == ""
    assert filled(broker, b"greedy", "lease") == 10
    answer = broker.lease(b"greedy", b"u")
    assert (answer.code, "25 %" in answer.detail) == ("too-many-leases", True)
    assert broker.fetch(b"greedy", b"u", lease=30).code == "too-many-leases"
    assert broker.lease(b"good", b"u").result.seq == 1
    assert len(broker.fetch(b"good", b"u", lease=30).result.runs) > 0
    assert broker.take(b"greedy", b"u").result.seq == 11, "reading continues"
    check_state(broker.state)


def test_settings_of_subscriptions_and_dead_letters_take_no_room_of_leases() -> None:
    broker = BrokerDriver(ROOMY._replace(memory=200_000))
    for number in range(100):
        assert broker.subscribe(b"set", b"%d" % number, expires_after=10**12).code == ""
    broker.subscribe(b"dead", b"u", max_deliveries=1)
    for _ in range(10):
        broker.publish(b"dead", b"x" * 4000)
        broker.lease(b"dead", b"u")
        broker.elapse(30)
    assert broker.state.delivery_totals.bytes > broker.limits.memory // 2
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"x")
    assert broker.lease(b"t", b"u").result.body == b"x"
    assert broker.state.delivery_totals.held.total == HELD
    broker.publish(b"set", b"x")
    assert broker.lease(b"set", b"0").result.body == b"x"
    assert broker.state.delivery_totals.held.total == HELD + HELD_COST
    check_state(broker.state)


# --- dead letters


def die(broker: BrokerDriver, topic: bytes, user: bytes, *bodies: bytes) -> None:
    for body in bodies:
        broker.publish(topic, body)
        while broker.lease(topic, user).result:
            broker.elapse(30)


def dead(broker: BrokerDriver, topic: bytes, user: bytes) -> int:
    return len(broker.dead(topic, user).result.letters)


def test_whose_topic_has_most_dead_letters_loses_the_oldest_and_others_lose_nothing() -> None:
    broker = BrokerDriver(ROOMY._replace(memory=4 * 10 * (DEAD_LETTER_COST + 100)))
    for topic in (b"greedy", b"good"):
        broker.subscribe(topic, b"u", max_deliveries=1)
    die(broker, b"greedy", b"u", *[b"x" * 100] * 12)
    assert (dead(broker, b"greedy", b"u"), broker.dispatcher.counters["dropped.dead"]) == (10, 2)
    for number in range(1, 5):
        die(broker, b"good", b"u", b"y" * 100)
        assert (dead(broker, b"good", b"u"), dead(broker, b"greedy", b"u")) == (number, 10 - number)
    die(broker, b"greedy", b"u", *[b"x" * 100] * 5)
    assert (dead(broker, b"good", b"u"), dead(broker, b"greedy", b"u")) == (4, 6)
    assert [each.seq for each in broker.dead(b"greedy", b"u").result.letters] == list(range(12, 18))
    check_state(broker.state)


def test_within_a_topic_the_user_with_most_gives_way() -> None:
    broker = BrokerDriver(ROOMY._replace(memory=4 * 10 * (DEAD_LETTER_COST + 100)))
    broker.subscribe(b"t", b"greedy", max_deliveries=1)
    die(broker, b"t", b"greedy", *[b"x" * 100] * 10)
    broker.subscribe(b"t", b"good", max_deliveries=1)
    die(broker, b"t", b"good", b"y" * 100, b"y" * 100)
    assert (dead(broker, b"t", b"good"), dead(broker, b"t", b"greedy")) == (2, 8)


def test_empty_dead_letters_count_too() -> None:
    broker = BrokerDriver(ROOMY._replace(memory=4 * 5 * DEAD_LETTER_COST))
    broker.subscribe(b"t", b"u", max_deliveries=1)
    die(broker, b"t", b"u", *[b""] * 8)
    assert dead(broker, b"t", b"u") == 5


def test_as_many_dead_letters_are_put_back_as_may_be_held() -> None:
    broker = BrokerDriver(ROOMY._replace(memory=16_000))
    broker.subscribe(b"t", b"u", max_deliveries=1)
    die(broker, b"t", b"u", *[b""] * 6)
    share = 4000 * 25 // 100
    assert share // (DEAD_LETTER_COST + HELD_COST) == 1
    assert broker.ask(Op.DEAD_RETURN, b"t", b"u").result == ops.Counted(1)
    answer = broker.ask(Op.DEAD_RETURN, b"t", b"u")
    assert (answer.code, dead(broker, b"t", b"u")) == ("too-many-leases", 5)
    assert broker.take(b"t", b"u").result.seq == 1
    assert broker.ask(Op.DEAD_RETURN, b"t", b"u").result == ops.Counted(1)
    check_state(broker.state)


# --- subscriptions and keys


def test_a_topic_takes_half_of_the_subscriptions_and_others_go_on() -> None:
    broker = BrokerDriver(ROOMY._replace(subscriptions=40))
    assert filled(broker, b"greedy", "subscribe") == 20
    answer = broker.subscribe(b"greedy", b"more")
    assert (answer.code, "50 %" in answer.detail) == ("too-many-subscriptions", True)
    assert not broker.subscribe(b"greedy", b"1").result.created, "who is there stays"
    assert filled(broker, b"second", "subscribe") == 10
    assert broker.subscribe(b"good", b"u").result.created


@table("greedy", [1, 5])
def test_keys_of_greedy_topics_push_nobody_else_out(greedy: int) -> None:
    broker = BrokerDriver(ROOMY._replace(key_bytes=40 * (KEY_COST + 10), keys=1000))
    for topic in (b"good", *(b"greedy %d" % number for number in range(greedy))):
        broker.subscribe(topic, b"u")

    def publish(topic: bytes, key: bytes) -> ops.Published:
        published: ops.Published = broker.publish(topic, b"x", key=key, digest=b"d" * 16).result
        return published

    for key in (b"1", b"2", b"3"):
        publish(b"good", key)
    random.seed(7)
    for number in range(200):
        publish(b"greedy %d" % random.randrange(greedy), b"%d" % number)
    assert broker.dispatcher.counters["keys.forgotten"] > 100
    assert all(publish(b"good", key).replayed for key in (b"1", b"2", b"3"))
    check_state(broker.state)


def test_what_is_shared_comes_back_whole() -> None:
    broker = BrokerDriver(ROOMY._replace(memory=100_000, delayed=8))
    for topic in (b"a", b"b"):
        broker.subscribe(topic, b"u", max_deliveries=1)
        die(broker, topic, b"u", b"1", b"2")
        broker.publish(topic, b"3")
        broker.lease(topic, b"u")
        broker.publish(topic, b"later", delay=5000, key=b"k", digest=b"d" * 16)
    broker.elapse(5)
    for topic in (b"a", b"b"):
        broker.unsubscribe(topic, b"u")
    state = broker.state
    assert not any(gauges(state).values())
    totals = state.delivery_totals
    assert (totals.held._of, totals.dead.topics._of, totals.dead._users) == ({}, {}, {})
    assert (state.delayed.topics, len(state.delayed.names)) == ({}, 0)
