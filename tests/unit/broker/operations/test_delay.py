"""Delayed publishes: as if they were sent at their due moment, and bounded until then."""

from __future__ import annotations

import pytest

from broker.operations.limits import Limits
from broker.operations.publishing import RETRY_MS
from broker.state.delayed import DELAYED_COST
from broker.state.topic_settings import TopicRule
from common.protocol import ops
from common.protocol.ops import Op
from common.protocol.wire import BrokerState
from tests.support.driver import ROOMY, STORE_ID, BrokerDriver, batch
from tests.support.mirror import MirrorStore
from tests.support.snapshot import check_state, gauges, snapshot
from tests.support.table import table
from tests.support.tiny import TINY

LITTLE = 0.001
"""Seconds."""


@pytest.fixture
def broker() -> BrokerDriver:
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u")
    return broker


def test_the_answer_says_when_and_nothing_else(broker: BrokerDriver) -> None:
    due = broker.clock.now().wall + 5000
    assert broker.publish(b"t", b"later", delay=5000).result == ops.Published(0, "", 0, due)
    assert broker.take(b"t", b"u").result is None
    assert broker.ask(Op.STATS).result.values["delayed"] == 1


def test_it_enters_the_log_at_its_moment_with_its_id_and_time_of_then(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"later", b"h", delay=5000)
    broker.publish(b"t", b"now")
    assert broker.dispatcher.patience(broker.clock.now()) == 5000
    broker.elapse(5 - LITTLE)
    assert broker.bodies(b"t", b"u") == [b"now"]
    broker.elapse(LITTLE)
    assert broker.publish(b"t", b"after").result.seq == 3
    due = broker.clock.now().wall
    assert broker.take(b"t", b"u").result == ops.Message("0badcafe1", 2, due, 1, 1, b"h", b"later")
    assert broker.dispatcher.patience(broker.clock.now()) is None


def test_they_come_in_the_order_of_their_moments_and_at_one_moment_as_they_were_sent(broker: BrokerDriver) -> None:
    for body, delay in ((b"3", 3000), (b"1", 1000), (b"2a", 2000), (b"2b", 2000)):
        broker.publish(b"t", body, delay=delay)
    broker.elapse(10)
    assert broker.bodies(b"t", b"u") == [b"1", b"2a", b"2b", b"3"]


def test_the_bytes_of_a_turn_change_nothing_of_that_order() -> None:
    broker = BrokerDriver(thresholds=TINY)
    broker.subscribe(b"t", b"u")
    bodies = [b"four", b"more", b"than", b"three", b"bytes"]
    for body in bodies:
        broker.publish(b"t", body, delay=1000)
    broker.elapse(1)
    assert broker.bodies(b"t", b"u") == bodies


def test_it_is_for_those_who_are_there_at_its_moment(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"later", delay=5000)
    broker.subscribe(b"t", b"late")
    broker.unsubscribe(b"t", b"u")
    broker.elapse(5)
    broker.subscribe(b"t", b"too late")
    assert broker.bodies(b"t", b"late") == [b"later"]
    assert broker.bodies(b"t", b"too late") == []


def test_a_topic_may_begin_between_and_one_that_does_not_leaves_nothing(broker: BrokerDriver) -> None:
    before = gauges(broker.state)
    for topic in (b"begins", b"never"):
        assert broker.publish(topic, b"later", delay=5000).result.due_ms > 0
    assert b"never" not in broker.state.topics
    broker.subscribe(b"begins", b"u")
    broker.elapse(5)
    assert broker.bodies(b"begins", b"u") == [b"later"]
    assert broker.dispatcher.counters["delayed.unwanted"] == 1
    broker.unsubscribe(b"begins", b"u")
    assert gauges(broker.state) == before


def test_its_ttl_begins_at_its_moment(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"later", delay=5000, ttl=3000)
    broker.elapse(5)
    broker.elapse(3 - LITTLE)
    assert broker.look(b"t", b"u").result.seq == 1
    broker.elapse(LITTLE)
    assert broker.state.messages == 0


def test_a_batch_waits_as_one(broker: BrokerDriver) -> None:
    broker.ask(Op.PUBLISH, b"t", args=batch(b"1", b"2", b"3", delay=5000))
    assert len(broker.state.delayed) == 1
    broker.elapse(5)
    assert broker.bodies(b"t", b"u") == [b"1", b"2", b"3"]


# --- ceilings


def test_one_more_than_the_ceiling_is_refused_and_changes_nothing() -> None:
    broker = BrokerDriver(limits=ROOMY._replace(delayed=2, topic_share=100))
    for _ in range(2):
        assert broker.publish(b"t", b"x", delay=5000).code == ""
    before = snapshot(broker.state)
    answer = broker.publish(b"t", b"x", delay=5000)
    assert (answer.code, "2 delayed" in answer.detail) == ("too-many-delayed", True)
    assert snapshot(broker.state) == before
    broker.elapse(5)
    assert broker.publish(b"t", b"x", delay=5000).code == ""


@table(("ceiling", "code"), [({"topic_bytes": 9}, "topic-full"), ({"memory": 4 * DELAYED_COST}, "too-many-delayed")])
def test_what_could_never_be_stored_is_refused_at_once(ceiling: dict[str, int], code: str) -> None:
    broker = BrokerDriver(limits=ROOMY._replace(**ceiling))
    assert broker.publish(b"t", b"x" * 10, delay=5000).code == code
    assert not any(gauges(broker.state).values())
    assert broker.dispatcher.patience(broker.clock.now()) is None


def test_what_waits_counts_as_memory(broker: BrokerDriver) -> None:
    before = broker.state.memory
    broker.publish(b"t", b"x" * 1000, delay=5000)
    assert broker.state.memory > before + 1000
    broker.elapse(5)
    broker.take(b"t", b"u")
    assert broker.state.memory == before


def test_a_full_topic_is_tried_again_until_there_is_room() -> None:
    broker = BrokerDriver(limits=ROOMY._replace(topic_messages=1))
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"there")
    broker.publish(b"t", b"later", delay=5000)
    broker.elapse(5)
    assert len(broker.state.delayed) == 1
    assert broker.dispatcher.patience(broker.clock.now()) == RETRY_MS
    broker.elapse(RETRY_MS / 1000)
    check_state(broker.state)
    assert broker.bodies(b"t", b"u") == [b"there"]
    broker.elapse(RETRY_MS / 1000 - LITTLE)
    assert broker.bodies(b"t", b"u") == []
    broker.elapse(LITTLE)
    assert broker.bodies(b"t", b"u") == [b"later"]


def test_a_topic_that_drops_its_oldest_takes_it_at_once() -> None:
    rule = TopicRule(fits=lambda name: True, max_messages=1, drop_oldest=True)
    broker = BrokerDriver(rules=[rule])
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"there")
    broker.publish(b"t", b"later", delay=5000)
    broker.elapse(5)
    assert broker.bodies(b"t", b"u") == [b"later"]


def test_it_outlives_a_restart_and_comes_when_it_is_due() -> None:
    broker = BrokerDriver(store=MirrorStore(STORE_ID))
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"later", delay=5000, ttl=1000)
    broker.publish(b"t", b"missed", delay=1000)
    broker.commit()
    broker.restart()
    broker.elapse(2)
    assert broker.bodies(b"t", b"u") == [b"missed"]
    broker.elapse(3)
    assert broker.bodies(b"t", b"u") == [b"later"]


def test_of_very_many_that_are_due_some_come_each_turn() -> None:
    broker = BrokerDriver(limits=Limits(10, 10, 10**6, 2**30, 2**30))
    broker.subscribe(b"t", b"u")
    for number in range(600):
        broker.publish(b"t", b"%d" % number, delay=1000)
    broker.elapse(1)
    assert 0 < len(broker.state.delayed) < 600
    assert broker.dispatcher.patience(broker.clock.now()) == 0
    for _ in range(5):
        broker.elapse(0)
    assert broker.bodies(b"t", b"u") == [b"%d" % number for number in range(600)]


def test_a_broker_that_drains_publishes_nothing(broker: BrokerDriver) -> None:
    broker.publish(b"t", b"later", delay=5000)
    broker.dispatcher.state = BrokerState.DRAINING
    broker.elapse(10)
    assert len(broker.state.delayed) == 1
    assert broker.dispatcher.patience(broker.clock.now()) is None
