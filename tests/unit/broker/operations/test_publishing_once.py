"""Idempotency keys: a publish that is repeated under its key is done once, while the key is remembered."""

from __future__ import annotations

from typing import Any

import pytest

from broker.operations.limits import on_disk
from broker.operations.publishing import MOST_FORGOTTEN
from broker.records import KeyForgotten
from broker.state.idempotency import KEY_COST
from broker.state.state import SUBSCRIPTION_COST, TOPIC_COST
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import ROOMY, STORE_ID, Answer, BrokerDriver, apart, batch
from tests.support.mirror import MirrorStore
from tests.support.snapshot import check_state, gauges, snapshot
from tests.support.table import table

LITTLE = 0.001
"""Seconds."""
TTL = 600
"""Seconds that a key is remembered."""
ROOM = TOPIC_COST + SUBSCRIPTION_COST + len(b"tu") + KEY_COST + len(b"tk")
"""Bytes of memory for the subscription and a key, but not for what is published under it."""


def broker_with(**ceilings: int) -> BrokerDriver:
    broker = BrokerDriver(limits=ROOMY._replace(**ceilings))
    broker.subscribe(b"t", b"u")
    return broker


@pytest.fixture
def broker() -> BrokerDriver:
    return broker_with()


def once(broker: BrokerDriver, key: bytes, body: bytes = b"x", topic: bytes = b"t", **options: Any) -> Answer:
    """A publish under a key; its digest follows from the body."""
    return broker.publish(topic, body, key=key, digest=body.ljust(16, b"."), **options)


def replayed(broker: BrokerDriver, key: bytes) -> bool:
    answer: bool = once(broker, key).result.replayed
    return answer


# --- the same again


def test_a_repeat_stores_nothing_and_gives_the_first_answer(broker: BrokerDriver) -> None:
    first = once(broker, b"k").result
    assert first == ops.Published(1, "0badcafe1", 1)
    broker.subscribe(b"t", b"v")
    before = snapshot(broker.state)
    broker.dispatcher.context.take_records()
    assert once(broker, b"k").result == ops.Published(1, "0badcafe1", 1, 0, replayed=True)
    assert snapshot(broker.state) == before
    assert broker.dispatcher.context.take_records() == []
    assert broker.bodies(b"t", b"u") == [b"x"]
    assert broker.dispatcher.counters["publishes.replayed"] == 1


def test_another_request_under_the_same_key_is_refused(broker: BrokerDriver) -> None:
    once(broker, b"k", b"one")
    before = snapshot(broker.state)
    assert once(broker, b"k", b"two").code == "key-reused"
    assert once(broker, b"k", b"two", delay=1000).code == "key-reused"
    assert snapshot(broker.state) == before
    assert once(broker, b"k", b"one").result.replayed


def test_other_keys_other_topics_and_no_key_are_other_publishes(broker: BrokerDriver) -> None:
    broker.subscribe(b"other", b"u")
    once(broker, b"k")
    assert not replayed(broker, b"K")
    assert not once(broker, b"k", topic=b"other").result.replayed
    for _ in range(2):
        assert not broker.publish(b"t", b"x").result.replayed
    assert broker.state.topics[b"t"].next_seq == 5


def test_a_batch_is_repeated_as_one(broker: BrokerDriver) -> None:
    args = batch(b"1", b"2", b"3", key=b"k", digest=bytes(16))
    assert broker.ask(Op.PUBLISH, b"t", args=args).result.seq == 1
    assert broker.ask(Op.PUBLISH, b"t", args=args).result == ops.Published(1, "0badcafe1", 1, 0, replayed=True)
    assert broker.bodies(b"t", b"u") == [b"1", b"2", b"3"]


def test_a_delayed_publish_is_repeated_before_and_after_its_moment(broker: BrokerDriver) -> None:
    due = broker.clock.now().wall + 5000
    assert once(broker, b"k", delay=5000).result == ops.Published(0, "", 0, due)
    for _ in range(2):
        assert once(broker, b"k", delay=5000).result == ops.Published(0, "", 0, due, replayed=True)
        broker.elapse(6)
    assert broker.bodies(b"t", b"u") == [b"x"]


def test_a_delayed_publish_to_no_topic_is_remembered_too() -> None:
    broker = BrokerDriver()
    due = once(broker, b"k", delay=5000).result.due_ms
    assert once(broker, b"k", delay=5000).result == ops.Published(0, "", 0, due, replayed=True)
    assert len(broker.state.delayed) == 1


def test_what_nobody_subscribed_to_is_not_remembered() -> None:
    broker = BrokerDriver()
    for _ in range(2):
        assert once(broker, b"k").result == ops.Published(0, "", 0)
    assert not any(gauges(broker.state).values())


@table(
    ("ceiling", "delay", "code"),
    [
        ({"topic_bytes": 9}, 0, "topic-full"),
        ({"memory": ROOM}, 0, "memory-full"),
        ({"topic_bytes": 9}, 1000, "topic-full"),
        ({"memory": ROOM}, 1000, "too-many-delayed"),
        ({"delayed": 0}, 1000, "too-many-delayed"),
    ],
)
def test_a_refused_publish_is_not_remembered(ceiling: dict[str, int], delay: int, code: str) -> None:
    broker = broker_with(**ceiling)
    before = snapshot(broker.state)
    for _ in range(2):
        assert once(broker, b"k", b"0123456789", delay=delay).code == code
    assert snapshot(broker.state) == before


def test_a_refused_publish_may_be_made_under_its_key_once_there_is_room() -> None:
    broker = broker_with(topic_messages=1)
    broker.publish(b"t", b"there")
    assert once(broker, b"k").code == "topic-full"
    broker.take(b"t", b"u")
    assert not replayed(broker, b"k")
    assert broker.bodies(b"t", b"u") == [b"x"]


# --- how long


def test_a_key_is_remembered_for_key_ttl_and_may_then_be_used_again(broker: BrokerDriver) -> None:
    once(broker, b"k")
    assert broker.dispatcher.patience(broker.clock.now()) == TTL * 1000
    broker.clock.advance(TTL - LITTLE)
    assert replayed(broker, b"k")
    broker.elapse(LITTLE)
    assert len(broker.state.keys) == 0
    assert broker.dispatcher.patience(broker.clock.now()) is None
    assert once(broker, b"k", b"another").result.seq == 2


def test_a_repeat_does_not_make_it_younger(broker: BrokerDriver) -> None:
    once(broker, b"k")
    broker.elapse(TTL / 2)
    assert replayed(broker, b"k")
    broker.elapse(TTL / 2)
    assert not replayed(broker, b"k")


def test_a_key_that_is_past_its_time_but_not_yet_forgotten_is_none(broker: BrokerDriver) -> None:
    """The loop forgets a limited number per turn, and a request may come between."""
    for number in range(600):
        once(broker, b"%d" % number)
    broker.clock.advance(TTL)
    answer = once(broker, b"599", b"another").result
    assert (answer.seq, answer.replayed) == (601, False)
    assert len(broker.state.keys) > 300
    assert once(broker, b"599", b"another").result.replayed
    check_state(broker.state)


def test_keys_go_with_the_life_of_the_topic(broker: BrokerDriver) -> None:
    once(broker, b"k")
    broker.unsubscribe(b"t", b"u")
    assert not any(gauges(broker.state).values())
    broker.subscribe(b"t", b"u")
    answer = once(broker, b"k", b"another").result
    assert (answer.epoch, answer.seq, answer.replayed) == ("0badcafe2", 1, False)


def test_keys_outlive_a_restart() -> None:
    broker = BrokerDriver(store=MirrorStore(STORE_ID))
    broker.subscribe(b"t", b"u")
    once(broker, b"k")
    broker.commit()
    broker.restart()
    assert replayed(broker, b"k")
    assert broker.bodies(b"t", b"u") == [b"x"]


# --- how many


def test_at_the_ceiling_of_a_topic_its_oldest_key_is_forgotten_and_counted() -> None:
    broker = broker_with(keys=3)
    broker.subscribe(b"other", b"u")
    once(broker, b"o", topic=b"other")
    for key in (b"1", b"2", b"3"):
        once(broker, key)
    assert broker.dispatcher.counters["keys.forgotten"] == 0
    assert not replayed(broker, b"4")
    assert broker.dispatcher.counters["keys.forgotten"] == 1
    assert [replayed(broker, key) for key in (b"2", b"3", b"4")] == [True] * 3
    assert once(broker, b"o", topic=b"other").result.replayed, "another topic has its own"
    assert not replayed(broker, b"1")
    check_state(broker.state)


def test_at_the_ceiling_of_bytes_the_topic_with_most_gives_way() -> None:
    broker = broker_with(key_bytes=3 * (KEY_COST + 2) + len(b"other") - len(b"t"))
    broker.subscribe(b"other", b"u")
    once(broker, b"o", topic=b"other")
    for key in (b"1", b"2"):
        once(broker, key)
    assert broker.state.keys.weight == broker.limits.key_bytes
    for key in (b"3", b"4", b"5"):
        once(broker, key)
    assert once(broker, b"o", topic=b"other").result.replayed, "the oldest, of a topic that has less"
    assert broker.dispatcher.counters["keys.forgotten"] == 3
    assert [replayed(broker, key) for key in (b"4", b"5")] == [True] * 2
    assert broker.state.keys.weight <= broker.limits.key_bytes
    once(broker, b"p", topic=b"other")
    assert once(broker, b"p", topic=b"other").result.replayed, "a new key is not what goes"
    check_state(broker.state)


def test_keys_count_as_memory(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"x")
    before = broker.state.memory
    broker.publish(b"t", b"x")
    plain = broker.state.memory - before
    once(broker, b"k" * 100)
    assert broker.state.memory - before - 2 * plain == KEY_COST + 1 + 100


def test_of_very_many_keys_that_are_past_their_time_some_are_forgotten_each_turn(broker: BrokerDriver) -> None:
    for number in range(1000):
        once(broker, b"%d" % number)
    broker.elapse(TTL)
    assert 500 < len(broker.state.keys) < 1000
    for _ in range(5):
        broker.elapse(0)
    assert len(broker.state.keys) == 0
    assert broker.dispatcher.counters["keys.forgotten"] == 0, "their time was up"


def test_messages_apart_forget_no_more_keys_than_one(broker: BrokerDriver) -> None:
    """Else what one request changes might not fit in an entry of a log: a slot may have brought many keys."""
    for number in range(2 * MOST_FORGOTTEN):
        once(broker, b"%d" % number)
    context = broker.dispatcher.context
    context.limits = ROOMY._replace(key_bytes=10 * KEY_COST)
    broker.commit()
    together = apart(*(b"a", b"b", b"c", b"d"), keys=(b"A", b"B", b"C", b"D"))
    assert not broker.ask(Op.PUBLISH_APART, b"t", args=together).code
    assert sum(type(each) is KeyForgotten for each in context.records) == MOST_FORGOTTEN
    assert broker.ask(Op.PUBLISH_APART, b"t", args=together).result.replayed


def test_each_key_is_a_row_in_the_store(broker: BrokerDriver) -> None:
    context = broker.dispatcher.context
    before, together = context.writable_bytes, apart(b"a", b"b", keys=(b"A", b"B"))
    assert not broker.ask(Op.PUBLISH_APART, b"t", args=together).code
    assert before - context.writable_bytes == on_disk(len(together.body) + len(together.offsets), rows=3)
