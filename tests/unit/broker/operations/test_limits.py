"""Ceilings: exactly at them a request is taken, one beyond it is refused and changes nothing."""

from __future__ import annotations

from typing import Any

from broker.state.state import MESSAGE_COST, SUBSCRIPTION_COST, TOPIC_COST
from common.errors import ERRORS
from tests.support.driver import ROOMY, BrokerDriver
from tests.support.snapshot import check_state, counted, gauges, snapshot
from tests.support.table import table


def broker_with(**ceilings: int) -> BrokerDriver:
    return BrokerDriver(limits=ROOMY._replace(**ceilings))


def refused(broker: BrokerDriver, call: Any, *args: bytes) -> tuple[str, str]:
    """The code and detail of a call that must change nothing, not even what a store would be given."""
    before = snapshot(broker.state)
    broker.dispatcher.context.take_records()
    answer = call(*args)
    assert answer.result is None
    assert snapshot(broker.state) == before
    assert broker.dispatcher.context.take_records() == []
    return answer.code, answer.detail


def test_the_last_topic_below_the_ceiling_is_taken_and_the_next_refused() -> None:
    broker = broker_with(topics=2)
    broker.subscribe(b"a", b"u")
    assert broker.subscribe(b"b", b"u").result.created
    code, detail = refused(broker, broker.subscribe, b"c", b"u")
    assert code == "too-many-topics"
    assert "2 topics" in detail
    assert broker.subscribe(b"a", b"v").result.created, "another subscription needs no topic"
    broker.unsubscribe(b"b", b"u")
    assert broker.subscribe(b"c", b"u").result.created


def test_the_last_subscription_below_the_ceiling_is_taken_and_the_next_refused() -> None:
    broker = broker_with(subscriptions=3, subscription_share=100)
    for topic, user in ((b"a", b"u"), (b"a", b"v"), (b"b", b"u")):
        assert broker.subscribe(topic, user).result.created
    code, detail = refused(broker, broker.subscribe, b"b", b"v")
    assert code == "too-many-subscriptions"
    assert "3 subscriptions" in detail
    assert not broker.subscribe(b"b", b"u").result.created, "one that is there stays allowed"
    assert refused(broker, broker.subscribe, b"c", b"u")[0] == "too-many-subscriptions"
    assert b"c" not in broker.state.topics


def test_the_last_message_below_the_ceiling_is_taken_and_the_next_refused() -> None:
    broker = broker_with(topic_messages=3)
    broker.subscribe(b"t", b"u")
    assert [broker.publish(b"t", b"%d" % n).result.seq for n in range(3)] == [1, 2, 3]
    code, detail = refused(broker, broker.publish, b"t", b"4")
    assert code == "topic-full"
    assert "3 messages" in detail
    assert broker.take(b"t", b"u").result.body == b"0"
    assert broker.publish(b"t", b"4").result.seq == 4, "a refused one has no number"


def test_bytes_count_bodies_and_kept_headers_up_to_the_ceiling() -> None:
    broker = broker_with(topic_bytes=10)
    broker.subscribe(b"t", b"u")
    assert broker.publish(b"t", b"12345", b"abc").result.seq == 1
    code, detail = refused(broker, broker.publish, b"t", b"1", b"23")
    assert code == "topic-full"
    assert "8 bytes" in detail
    assert "1 of 3 bytes" in detail
    assert broker.publish(b"t", b"12").result.seq == 2
    assert refused(broker, broker.publish, b"t", b"x")[0] == "topic-full"
    assert broker.publish(b"t", b"").result.seq == 3, "an empty message has no bytes"


def test_a_message_larger_than_the_whole_ceiling_never_fits() -> None:
    broker = broker_with(topic_bytes=20_000)
    broker.subscribe(b"t", b"u")
    assert refused(broker, broker.publish, b"t", b"x" * 20_001)[0] == "topic-full"
    assert broker.publish(b"t", b"x" * 20_000).result.seq == 1


def test_the_ceilings_of_one_topic_leave_another_alone() -> None:
    broker = broker_with(topic_messages=1)
    for topic in (b"a", b"b"):
        broker.subscribe(topic, b"u")
        assert broker.publish(topic, b"x").result.seq == 1
    assert broker.publish(b"a", b"x").code == "topic-full"


def test_a_message_that_fills_the_memory_exactly_is_taken() -> None:
    subscribed = TOPIC_COST + SUBSCRIPTION_COST + len(b"t") + len(b"u")
    broker = broker_with(memory=subscribed + MESSAGE_COST + 100)
    assert broker.subscribe(b"t", b"u").result.created
    assert refused(broker, broker.publish, b"t", b"x" * 101)[0] == "memory-full"
    assert broker.publish(b"t", b"x" * 100).result.seq == 1
    assert broker.state.memory == broker.limits.memory
    code, detail = refused(broker, broker.publish, b"t", b"")
    assert code == "memory-full"
    assert str(broker.limits.memory) in detail


def test_a_subscription_that_fills_the_memory_exactly_is_taken() -> None:
    one = TOPIC_COST + SUBSCRIPTION_COST + len(b"t") + len(b"u")
    assert broker_with(memory=one).subscribe(b"t", b"u").result.created
    broker = broker_with(memory=one - 1)
    assert refused(broker, broker.subscribe, b"t", b"u")[0] == "memory-full"
    assert broker.state.memory == 0


def test_reading_unsubscribing_and_subscribing_again_are_allowed_at_every_ceiling() -> None:
    one = TOPIC_COST + SUBSCRIPTION_COST + 2
    broker = BrokerDriver(
        ROOMY._replace(topics=1, subscriptions=1, topic_messages=1, topic_bytes=1, memory=one + MESSAGE_COST + 1)
    )
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"x")
    assert broker.publish(b"t", b"").code == "topic-full"
    assert not broker.subscribe(b"t", b"u").result.created
    assert broker.take(b"t", b"u").result.body == b"x"
    assert broker.take(b"t", b"u")[1:3] == ("", None)
    assert broker.unsubscribe(b"t", b"u").code == ""
    assert broker.state.memory == 0


def test_what_is_dropped_for_want_of_subscribers_needs_no_room() -> None:
    broker = broker_with(topics=1, topic_messages=1, topic_bytes=1, memory=1)
    assert broker.publish(b"t", b"x" * 1000).result.subscribers == 0
    assert gauges(broker.state) == counted(broker.state)
    assert not any(gauges(broker.state).values())


def test_every_refusal_of_a_ceiling_tells_when_to_come_back() -> None:
    for code, status in (
        ("too-many-topics", 429),
        ("too-many-subscriptions", 429),
        ("topic-full", 429),
        ("memory-full", 503),
    ):
        assert ERRORS[code].status == status
        assert ERRORS[code].retry_after is not None


@table("leaver", [b"slow", b"fast"])
def test_gauges_return_to_nothing_whoever_leaves_first(leaver: bytes) -> None:
    broker = BrokerDriver()
    for user in (b"slow", b"fast"):
        broker.subscribe(b"topic", user)
    for _ in range(5):
        broker.publish(b"topic", b"body", b"headers")
    broker.bodies(b"topic", b"fast")
    check_state(broker.state)
    broker.unsubscribe(b"topic", leaver)
    check_state(broker.state)
    broker.unsubscribe(b"topic", b"slow" if leaver == b"fast" else b"fast")
    assert not any(gauges(broker.state).values())
    assert not broker.state.topics
