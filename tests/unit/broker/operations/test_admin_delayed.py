"""The operator sees what waits for its time, and removes it."""

from __future__ import annotations

import pytest

from broker.thresholds import DEFAULT
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import STORE_ID, Asked, BrokerDriver, batch
from tests.support.mirror import MirrorStore
from tests.support.snapshot import check_state, snapshot
from tests.support.tiny import TINY


@pytest.fixture
def broker() -> BrokerDriver:
    return BrokerDriver(store=MirrorStore(STORE_ID), thresholds=TINY)


def listed(broker: BrokerDriver, topic: bytes = b"t", page: int = 1000) -> list[ops.DelayedRow]:
    """All of a topic, page by page."""
    rows: list[ops.DelayedRow] = []
    after, done = 0, False
    while not done:
        answer: ops.DelayedPage = broker.ask(Op.DELAYED, topic, args=ops.ListDelayed(after, page)).result
        rows += answer.rows
        after, done = answer.last, answer.done
    return rows


def removed(broker: BrokerDriver, row: ops.DelayedRow, topic: bytes = b"t", later: int = 0) -> int | str:
    answer = broker.ask(Op.DELAYED_END, topic, args=ops.EndDelayed(row.number, row.due_ms + later))
    return answer.code or int(answer.result.count)


@pytest.mark.parametrize("count", [2, 20])
@pytest.mark.parametrize("page", [1, 7, 1000])
def test_they_are_listed_in_the_order_in_which_they_came(broker: BrokerDriver, count: int, page: int) -> None:
    for number in range(count):
        broker.publish(b"t", b"x" * number, b"h", delay=5000 - number, ttl=7)
        broker.publish(b"other", b"x", delay=1)
    now = broker.clock.now().wall
    assert listed(broker, page=page) == [
        ops.DelayedRow(2 * number + 1, now + 5000 - number, 1, number + 1, 7, b"h", b"") for number in range(count)
    ]
    assert listed(broker, b"nobody") == []
    check_state(broker.state)


def test_so_much_of_the_bodies_is_shown_as_is_asked_for(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"12345", delay=5000)
    broker.ask(Op.PUBLISH, b"t", args=batch(b"a", b"b", delay=5000))
    rows = broker.ask(Op.DELAYED, b"t", args=ops.ListDelayed(0, 10, 8)).result.rows
    assert [(each.count, each.batch, each.body) for each in rows] == [(1, False, b"12345"), (2, True, b"\0\0\0")]


def test_topics_are_listed_whether_anybody_is_subscribed_or_not(broker: BrokerDriver) -> None:
    broker.subscribe(b"b", b"u")
    broker.subscribe(b"none", b"u")
    for topic in (b"b", b"a", b"c", b"b", b"d"):
        broker.publish(topic, b"x", delay=5000)
    page = broker.ask(Op.DELAYED_TOPICS, args=ops.ListDelayedTopics(b"", 3)).result
    assert [(each.name, each.publishes) for each in page.rows] == [(b"a", 1), (b"b", 2), (b"c", 1)]
    assert sum(each.size for each in page.rows) + page.rows[0].size == broker.state.delayed.weight
    assert (page.last, page.done) == (b"c", False)
    rest = broker.ask(Op.DELAYED_TOPICS, args=ops.ListDelayedTopics(page.last, 3)).result
    assert ([each.name for each in rest.rows], rest.done) == ([b"d"], True)


def test_what_is_removed_is_never_published_and_makes_room(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    for body in (b"1", b"2"):
        broker.publish(b"t", body, delay=5000)
    broker.ask(Op.PUBLISH, b"t", args=batch(b"3", b"4", delay=5000))
    rows = listed(broker)
    assert removed(broker, rows[0]) == 1
    assert removed(broker, rows[2]) == 2
    assert broker.dispatcher.counters["dropped.removed"] == 3
    assert [each.number for each in listed(broker)] == [rows[1].number]
    broker.commit()
    broker.restart()
    check_state(broker.state)
    broker.elapse(5)
    assert broker.bodies(b"t", b"u") == [b"2"]


def test_only_the_very_one_that_is_named_is_removed(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"1", delay=5000)
    (row,) = listed(broker)
    before = snapshot(broker.state)
    for topic, later in ((b"other", 0), (b"t", 1), (b"t", -1)):
        assert removed(broker, row, topic, later) == "no-delayed"
    assert removed(broker, ops.DelayedRow(row.number + 1, row.due_ms, 1, 0, 0, b"", b"")) == "no-delayed"
    assert snapshot(broker.state) == before
    assert removed(broker, row) == 1
    assert removed(broker, row) == "no-delayed"
    broker.commit()
    broker.restart()
    broker.elapse(1)
    broker.publish(b"t", b"another with its number", delay=5000)
    assert listed(broker)[0].number == row.number
    assert removed(broker, row) == "no-delayed"


def test_all_of_a_topic_are_removed_some_a_turn(broker: BrokerDriver) -> None:
    for _ in range(5):
        broker.publish(b"t", b"x", delay=5000)
        broker.publish(b"other", b"x", delay=5000)
    assert broker.ask(Op.DELAYED_CLEAR, b"t", args=ops.ClearDelayed(3)).result == ops.Ended(3, 2)
    assert broker.ask(Op.DELAYED_CLEAR, b"t", args=ops.ClearDelayed(3)).result == ops.Ended(2, 0)
    assert broker.ask(Op.DELAYED_CLEAR, b"t", args=ops.ClearDelayed(3)).result == ops.Ended(0, 0)
    assert (len(listed(broker)), len(listed(broker, b"other"))) == (0, 5)
    check_state(broker.state)


def test_a_turn_scans_a_limited_number_for_all_requests() -> None:
    broker = BrokerDriver(thresholds=DEFAULT._replace(scan=3))
    for number in range(4):
        broker.publish(b"t%d" % number, b"x", delay=5000)
        broker.publish(b"t", b"x", delay=5000)
    answers = broker.send(
        Asked(Op.DELAYED_TOPICS, args=ops.ListDelayedTopics(b"", 2)),
        Asked(Op.DELAYED, b"t", args=ops.ListDelayed(0, 10)),
        Asked(Op.DELAYED_CLEAR, b"t", args=ops.ClearDelayed(10)),
    )
    page, rows, ended = (each.result for each in answers)
    assert (len(page.rows), page.done) == (2, False)
    assert (len(rows.rows), rows.done) == (1, False)
    assert ended == ops.Ended(0, 4)


def test_the_key_of_what_was_removed_is_still_remembered(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    publish = ops.Publish(b"", b"x", delay=5000, key=b"k", digest=b"d" * 16)
    due = broker.ask(Op.PUBLISH, b"t", args=publish).result.due_ms
    assert removed(broker, listed(broker)[0]) == 1
    assert broker.ask(Op.PUBLISH, b"t", args=publish).result == ops.Published(0, "", 0, due, replayed=True)
    assert listed(broker) == []
    broker.elapse(600)
    assert broker.bodies(b"t", b"u") == []
    assert not broker.ask(Op.PUBLISH, b"t", args=publish).result.replayed
