"""What the operator asks of a broker: listings that are bounded in every turn, peeks that take nothing, a pause."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

import pytest

from broker.operations import admin_topics
from broker.records import TopicChanged
from broker.state.name_index import NameIndex, in_order, make_index
from broker.thresholds import DEFAULT
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import SECOND, STORE_ID, Asked, BrokerDriver, batch, loaded, receipt_of
from tests.support.mirror import MirrorStore
from tests.support.snapshot import check_state, snapshot
from tests.support.table import table

EVERYTHING = ops.ListTopics(b"", b"", 1000)


def topics(broker: BrokerDriver, prefix: bytes = b"", page: int = 1000) -> list[bytes]:
    """All names, page by page."""
    names: list[bytes] = []
    after, done = b"", False
    while not done:
        answer: ops.TopicPage = broker.ask(Op.TOPICS, args=ops.ListTopics(prefix, after, page)).result
        names += [row.name for row in answer.rows]
        after, done = answer.last, answer.done
    return names


def users(broker: BrokerDriver, topic: bytes, page: int = 1000) -> list[bytes]:
    names: list[bytes] = []
    after, done = b"", False
    while not done:
        answer: ops.UserPage = broker.ask(Op.USERS, topic, args=ops.ListUsers(after, page)).result
        names += [row.user for row in answer.rows]
        after, done = answer.last, answer.done
    return names


def describe(broker: BrokerDriver, topic: bytes, after: bytes = b"", most: int = 10) -> Any:
    answer = broker.ask(Op.TOPIC, topic, args=ops.DescribeTopic(after, most))
    return answer.result or answer.code


def change(broker: BrokerDriver, topic: bytes, **values: Any) -> str:
    return broker.ask(Op.TOPIC_CHANGE, topic, args=ops.ChangeTopic(list(values), ops.TopicSettings(**values))).code


def peeked(broker: BrokerDriver, most: int = 10, room: int = 2**40) -> list[tuple[int, str, bytes]]:
    answer: ops.PeekedAll = broker.ask(Op.PEEK, b"t", b"u", ops.Peek(most, room)).result
    return [(each.seq, each.state, each.body) for each in answer.messages]


# --- names in order


def test_an_index_is_a_sorted_set() -> None:
    rng = random.Random(1)
    names: set[bytes] = {b"%d" % n for n in range(3000)}
    index = make_index(names)
    for _ in range(20_000):
        name = b"%d" % rng.randrange(6000)
        if name in names:
            names.remove(name)
            index.remove(name)
        else:
            names.add(name)
            index.add(name)
    ordered = sorted(names)
    assert list(index.irange()) == ordered
    for start in (b"", b"3", b"4711", b"9999999"):
        assert list(index.irange(start, inclusive=(False, True))) == [name for name in ordered if name > start]
        assert list(index.irange(start)) == [name for name in ordered if name >= start]
    for name in ordered:
        index.remove(name)
    assert list(index.irange()) == []
    with pytest.raises(ValueError, match="not in list"):
        index.remove(b"x")


@table("kept", [False, True])
def test_names_are_found_by_prefix_and_cursor(kept: bool) -> None:
    names = [b"a", b"b", b"ba", b"bb", b"bc", b"c"]
    index = make_index(names) if kept else None

    def found(after: bytes, prefix: bytes) -> list[bytes]:
        return list(in_order(index, names, after, prefix))

    assert found(b"", b"") == names
    assert found(b"", b"b") == [b"b", b"ba", b"bb", b"bc"]
    assert found(b"b", b"b") == [b"ba", b"bb", b"bc"]
    assert found(b"bb", b"b") == [b"bc"]
    assert found(b"a", b"b") == [b"b", b"ba", b"bb", b"bc"]
    assert found(b"c", b"b") == []
    assert found(b"", b"d") == []


# --- listings


def test_topics_are_listed_as_they_stand(broker: BrokerDriver) -> None:
    for name in (b"b", b"a"):
        broker.subscribe(name, b"u")
    broker.subscribe(b"a", b"v")
    broker.publish(b"a", b"12345")
    broker.elapse(3)
    answer = broker.ask(Op.TOPICS, args=EVERYTHING).result
    epochs = [broker.state.topics[name].epoch for name in (b"a", b"b")]
    assert answer.rows == [ops.TopicRow(b"a", epochs[0], 1, 5, 2, 3000), ops.TopicRow(b"b", epochs[1], 0, 0, 1, 0)]
    assert (answer.last, answer.done) == (b"b", True)
    assert broker.ask(Op.TOPICS, args=ops.ListTopics(b"x", b"", 10)).result == ops.TopicPage([], b"", True)


def test_of_what_was_looked_at_the_oldest_may_be_picked(broker: BrokerDriver) -> None:
    for number in range(20):
        broker.subscribe(b"%02d" % number, b"u")
    for number in (7, 3, 11):
        broker.publish(b"%02d" % number, b"x")
        broker.elapse(1)
    rows = broker.ask(Op.TOPICS, args=ops.ListTopics(b"", b"", 1000, 2)).result.rows
    assert [(row.name, row.oldest) for row in rows] == [(b"07", 3000), (b"03", 2000)]


@table("count", [DEFAULT.few, DEFAULT.few + 1, 5000])
def test_a_cursor_is_stable_while_topics_come_and_go(count: int) -> None:
    broker = BrokerDriver()
    names = [b"t%05d" % (n * 7919 % 100_003) for n in range(count)]
    for name in names:
        broker.subscribe(name, b"u")
    ordered = sorted(names)
    assert topics(broker, page=100) == ordered
    first = broker.ask(Op.TOPICS, args=ops.ListTopics(b"", b"", 100)).result
    broker.unsubscribe(first.last, b"u")  # the cursor itself
    broker.subscribe(b"t", b"u")  # before it
    broker.subscribe(first.last + b"!", b"u")  # behind it
    rest = broker.ask(Op.TOPICS, args=ops.ListTopics(b"", first.last, 3)).result
    assert [row.name for row in rest.rows] == [first.last + b"!", *ordered[100:102]]
    check_state(broker.state)


@pytest.mark.slow
def test_one_turn_looks_at_a_thousand_entries_whoever_asks_and_publishing_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twelve thousand topics; 64 requests in one frame each want nearly a thousand of them."""
    broker = BrokerDriver()
    for number in range(12_000):
        broker.subscribe(b"topic-%06d" % number, b"u")
    looked: list[bytes] = []
    row_of, order_of = admin_topics._row, admin_topics.in_order

    def row(topic: Any, now: Any) -> ops.TopicRow:
        looked.append(topic.name)
        return row_of(topic, now)

    def order(index: NameIndex[bytes] | None, names: Collection[bytes], *rest: bytes) -> Any:
        assert index is not None, "nothing is sorted for a page"
        return order_of(index, names, *rest)

    monkeypatch.setattr(admin_topics, "_row", row)
    monkeypatch.setattr(admin_topics, "in_order", order)
    publish = Asked(Op.PUBLISH, b"topic-000007", args=ops.Publish(b"", b"x"))
    answers = broker.send(*[Asked(Op.TOPICS, args=ops.ListTopics(b"", b"", 900))] * 63, publish)
    assert len(looked) == DEFAULT.scan
    pages = [answer.result for answer in answers[:63]]
    assert [len(page.rows) for page in pages[:3]] == [900, 100, 0]
    assert not any(page.done for page in pages), "the others go on with the next turn"
    assert pages[2].last == b""
    assert answers[63].result.subscribers == 1, "publishing is not held up"
    found: list[bytes] = []
    turns = 0
    after, done = b"", False
    while not done:
        looked.clear()
        page, published = broker.send(Asked(Op.TOPICS, args=ops.ListTopics(b"topic-00", after, 1000)), publish)
        assert published.result.subscribers == 1
        assert len(looked) <= DEFAULT.scan
        found += [each.name for each in page.result.rows]
        after, done = page.result.last, page.result.done
        turns += 1
    assert found == [b"topic-%06d" % number for number in range(10_000)]
    assert turns <= 11


def test_many_users_are_listed_in_order_too(broker: BrokerDriver) -> None:
    names = [b"%05d" % (n * 7919 % 100_003) for n in range(3000)]
    for name in names:
        broker.subscribe(b"t", name)
    broker.subscribe(b"few", b"u")
    assert users(broker, b"t", 700) == sorted(names)
    for name in names[:2990]:
        broker.unsubscribe(b"t", name)
    assert users(broker, b"t") == sorted(names[2990:])
    assert broker.ask(Op.USERS, b"nothing", args=ops.ListUsers(b"", 1)).code == "no-topic"
    check_state(broker.state)


def test_a_user_is_shown_as_he_stands(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u", expires_after=60 * SECOND, max_deliveries=1)
    broker.subscribe(b"t", b"v")
    for body in (b"1", b"2", b"3", b"4"):
        broker.publish(b"t", body)
        broker.elapse(1)
    broker.lease(b"t", b"u", 1)
    broker.elapse(1)
    broker.lease(b"t", b"u", 30)
    last_call = broker.state.topics[b"t"].subscriptions[b"u"].delivery.last_call  # type: ignore[union-attr]
    broker.elapse(1)
    row = broker.ask(Op.USER, b"t", b"u").result
    assert row == ops.UserRow(b"u", 2, 1, 1, 2, 5000, 60 * SECOND, 1)
    assert broker.ask(Op.USER, b"t", b"nobody").code == "no-subscription"
    broker.bodies(b"t", b"v")
    assert broker.ask(Op.USER, b"t", b"v").result == ops.UserRow(b"v", 0, 0, 0, 5, 0, 0, 0)
    delivery = broker.state.topics[b"t"].subscriptions[b"u"].delivery
    assert delivery is not None
    assert delivery.last_call == last_call, "the idle time continues"


# --- one topic


def test_a_topic_names_who_holds_the_oldest_message(broker: BrokerDriver) -> None:
    for user in (b"c", b"a", b"b", b"late"):
        broker.subscribe(b"t", user)
    broker.ask(Op.PUBLISH, b"t", args=batch(b"1", b"2"))
    broker.publish(b"t", b"3")
    for user in (b"a", b"late"):
        broker.bodies(b"t", user)
    broker.take(b"t", b"b")
    broker.elapse(2)
    info = describe(broker, b"t")
    assert info.row.oldest == 2000
    assert (info.holders, info.done) == ([b"b", b"c"], True), "whoever is within the batch holds all of it"
    assert (info.head_seq, info.next_seq) == (1, 4)
    assert describe(broker, b"t", most=1).holders == [b"b"]
    for user in (b"b", b"c"):
        broker.bodies(b"t", user)
    info = describe(broker, b"t")
    assert (info.holders, info.done, info.row.oldest) == ([], True, 0)
    assert describe(broker, b"nothing") == "no-topic"


def test_holders_are_looked_for_turn_by_turn(broker: BrokerDriver) -> None:
    for number in range(2500):
        broker.subscribe(b"t", b"%05d" % number)
    broker.publish(b"t", b"x")
    for number in range(2500):
        if number != 2400:
            broker.take(b"t", b"%05d" % number)
    after, seen = b"", []
    for _ in range(3):
        info = describe(broker, b"t", after)
        seen.append((info.holders, info.done))
        after = info.last
    assert seen == [([], False), ([], False), ([b"02400"], True)]


def test_settings_of_a_topic_hold_at_once_and_until_it_ends() -> None:
    broker = BrokerDriver(store=MirrorStore(STORE_ID))
    broker.subscribe(b"t", b"u")
    assert change(broker, b"t", max_messages=2) == ""
    assert [broker.publish(b"t", b"x").code for _ in range(3)] == ["", "", "topic-full"]
    assert change(broker, b"t", drop_oldest=True) == ""
    assert broker.publish(b"t", b"y").code == ""
    info = describe(broker, b"t")
    assert info.own == ops.TopicSettings(2, None, None, True)
    assert info.effective == ops.TopicSettings(2, broker.limits.topic_bytes, 0, True)
    broker.commit()
    assert snapshot(loaded(broker.store)) == snapshot(broker.state)
    broker.restart()
    assert describe(broker, b"t").own == info.own, "kept through records"
    assert change(broker, b"t", max_age=1000) == ""
    broker.elapse(1.5)
    assert broker.bodies(b"t", b"u") == [], "too old by now"
    assert change(broker, b"t", max_messages=None, drop_oldest=None, max_age=None) == ""
    assert broker.state.topics[b"t"].changed is None
    assert broker.state.topics[b"t"].settings == broker.state.rules.of(b"t")
    change(broker, b"t", max_messages=2)
    broker.unsubscribe(b"t", b"u")
    broker.subscribe(b"t", b"u")
    assert describe(broker, b"t").own == ops.TopicSettings()
    assert change(broker, b"nothing", max_messages=2) == "no-topic"


def test_a_change_that_changes_nothing_is_no_record(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    change(broker, b"t", max_age=None)
    change(broker, b"t", max_messages=5)
    change(broker, b"t", max_messages=5)
    assert [each for each in broker.dispatcher.context.records if isinstance(each, TopicChanged)] == [
        TopicChanged(b"t", 5)
    ]


def test_ending_a_topic_ends_its_subscriptions_a_thousand_a_turn(broker: BrokerDriver) -> None:
    for number in range(2500):
        broker.subscribe(b"t", b"%d" % number)
    broker.publish(b"t", b"x")
    waiting = broker.wait(b"t", b"2499")
    broker.settle()
    left = []
    while broker.state.topics:
        answer = broker.ask(Op.TOPIC_END, b"t", args=ops.EndTopic(10**6)).result
        left.append((answer.count, answer.left))
        check_state(broker.state)
    assert left == [(1000, 1500), (1000, 500), (500, 0)]
    assert broker.ask(Op.TOPIC_END, b"t", args=ops.EndTopic(1)).code == "no-topic"
    assert broker.state.subscriptions == broker.state.messages == 0
    assert waiting
    assert broker.dispatcher.waiters.count == 0


# --- one user's messages


def test_a_peek_takes_nothing(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    for body in (b"1", b"2", b"3", b"4"):
        broker.publish(b"t", body)
    broker.ask(Op.PUBLISH, b"t", args=batch(b"5", b"6"))
    broker.publish(b"t", b"gone", ttl=1000)
    broker.publish(b"t", b"8")
    one = broker.lease(b"t", b"u").result
    two = broker.lease(b"t", b"u").result
    broker.lease(b"t", b"u", 1)
    broker.finish(b"t", b"u", receipt_of(two))
    broker.elapse(2)
    before = snapshot(broker.state)
    expected = [
        *[(1, "leased", b"1"), (3, "returned", b"3"), (4, "waiting", b"4")],
        *[(5, "waiting", b"5"), (6, "waiting", b"6"), (8, "waiting", b"8")],
    ]
    assert peeked(broker) == expected
    assert peeked(broker, 2) == expected[:2]
    assert peeked(broker, 3) == expected[:3]
    assert peeked(broker, 0) == []
    assert peeked(broker, 10, 2) == expected[:2]
    assert peeked(broker, 10, 0) == expected[:1], "one always fits"
    assert snapshot(broker.state) == before
    assert broker.finish(b"t", b"u", receipt_of(one)) == [""]
    assert broker.ask(Op.PEEK, b"t", b"nobody", ops.Peek(1, 1)).code == "no-subscription"


def test_a_dead_letter_that_was_put_back_is_seen(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u", max_deliveries=1)
    broker.publish(b"t", b"x")
    broker.lease(b"t", b"u", 1)
    broker.elapse(2)
    assert peeked(broker) == []
    broker.ask(Op.DEAD_RETURN, b"t", b"u")
    assert peeked(broker) == [(1, "returned", b"x")]


def test_a_purge_counts_as_missed_what_the_log_has_dropped_before(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    for body in (b"1", b"2", b"3"):
        broker.publish(b"t", body)
    broker.lease(b"t", b"u")
    own = ops.TopicSettings(max_messages=1, drop_oldest=True)
    broker.ask(Op.TOPIC_CHANGE, b"t", args=ops.ChangeTopic(["max_messages", "drop_oldest"], own))
    broker.publish(b"t", b"4")
    assert broker.ask(Op.PURGE, b"t", b"u").result == ops.Counted(1)
    counters = broker.dispatcher.counters
    assert (counters["dropped.overflow"], counters["skipped.lost"], counters["dropped.purged"]) == (3, 3, 1)


def test_the_idle_clock_goes_on_when_a_purge_ends_a_lease(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u", expires_after=60 * SECOND)
    broker.publish(b"t", b"1")
    broker.lease(b"t", b"u", 3600)
    broker.elapse(59)
    broker.ask(Op.PURGE, b"t", b"u")
    broker.elapse(59)
    assert broker.state.subscriptions == 1
    broker.elapse(1)
    assert broker.state.subscriptions == 0


def test_a_purge_lets_go_of_all_but_the_dead(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u", max_deliveries=1)
    broker.subscribe(b"t", b"v")
    for body in (b"1", b"2", b"3"):
        broker.publish(b"t", body)
    broker.lease(b"t", b"u", 1)
    broker.elapse(2)
    receipt = receipt_of(broker.lease(b"t", b"u").result) if broker.look(b"t", b"u").result.pending else None
    assert broker.ask(Op.PURGE, b"t", b"u").result == ops.Counted(2)
    assert broker.ask(Op.PURGE, b"t", b"u").result == ops.Counted(0)
    assert broker.dispatcher.counters["dropped.purged"] == 2
    assert broker.take(b"t", b"u").result is None
    assert [each.seq for each in broker.dead(b"t", b"u").result.letters] == [1]
    assert receipt is not None
    assert broker.finish(b"t", b"u", receipt) == [""], "it is done"
    assert broker.bodies(b"t", b"v") == [b"1", b"2", b"3"], "others keep theirs"
    check_state(broker.state)


# --- paused by the operator


def test_a_paused_broker_takes_nothing_new_and_serves_the_rest(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    for _ in range(3):
        broker.publish(b"t", b"x", key=b"k", digest=bytes(16))
    broker.publish(b"t", b"later", delay=1000)
    assert broker.ask(Op.PAUSE, args=ops.Pause(True)).code == ""
    assert broker.ask(Op.STATS).result.values["refusing"] == 1
    assert broker.publish(b"t", b"y").code == "paused"
    assert broker.publish(b"nobody", b"y").code == "paused"
    assert broker.publish(b"t", b"y", delay=1000).code == "paused"
    assert broker.publish(b"t", b"x", key=b"k", digest=bytes(16)).result.replayed, "it was executed before"
    assert broker.subscribe(b"t", b"new").code == "paused"
    assert broker.subscribe(b"t", b"u").result.created is False
    broker.elapse(2)
    assert broker.bodies(b"t", b"u") == [b"x", b"later"], "what was accepted is delivered"
    assert broker.unsubscribe(b"t", b"u").code == ""
    broker.ask(Op.PAUSE, args=ops.Pause(False))
    assert broker.subscribe(b"t", b"new").result.created
    broker.ask(Op.PAUSE, args=ops.Pause(True))
    broker.restart()
    assert broker.subscribe(b"t", b"new").result.created, "forgotten with the process"
