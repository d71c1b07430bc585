"""The copy of a slot that is in use: how it is divided, and when it ends."""

from __future__ import annotations

import pytest

from broker.operations.copying import MOST_ROUNDS, Copy
from broker.thresholds import DEFAULT
from common.cluster.slots import slot_of
from common.protocol.ops import Op
from tests.support.driver import BrokerDriver, batch
from tests.support.table import table

T = b"t"
FEW = DEFAULT._replace(copied_records=3, copied_bytes=100)


@pytest.fixture
def broker() -> BrokerDriver:
    broker = BrokerDriver(thresholds=FEW)
    broker.subscribe(T, b"u")
    return broker


def copy_of(broker: BrokerDriver) -> Copy:
    return Copy(broker.dispatcher.context, slot_of(T))


def fill(broker: BrokerDriver, count: int, size: int = 1) -> None:
    for _ in range(count):
        broker.publish(T, b"x" * size)


def end_round(copy: Copy) -> None:
    assert copy.next_part()
    while copy._left:
        copy.next_part()


def test_parts_are_bounded_by_records_and_by_bytes(broker: BrokerDriver) -> None:
    fill(broker, 4)
    fill(broker, 3, 45)
    fill(broker, 2, 500)
    copy, counts = copy_of(broker), []
    while (part := copy.next_part()) is not None:
        counts.append(part.records)
        assert part.records == 1 or len(part.body) < 300
    assert counts == [3, 3, 1, 1, 1, 1, 1], "the first with the topic and the reader that holds it"


@table("count, size", [(3, 1), (1, 100), (0, 0)])
def test_what_fits_in_one_part_is_small(count: int, size: int) -> None:
    broker = BrokerDriver(thresholds=FEW)
    broker.subscribe(T, b"u")
    fill(broker, count, size)
    assert copy_of(broker).small
    assert copy_of(broker).next_part() is None
    fill(broker, 4)
    assert not copy_of(broker).small


def test_a_batch_counts_with_all_of_its_messages(broker: BrokerDriver) -> None:
    broker.ask(Op.PUBLISH, T, args=batch(b"1", b"2", b"3", b"4"))
    copy = copy_of(broker)
    assert not copy.small
    assert copy.next_part()
    assert copy.next_part() is None


def test_it_ends_where_publishers_are_as_fast(broker: BrokerDriver) -> None:
    fill(broker, 9)
    copy = copy_of(broker)
    end_round(copy)
    fill(broker, 8)
    end_round(copy)
    fill(broker, 8)
    assert copy.next_part() is None
    assert not copy.small


def test_it_ends_after_some_rounds_where_publishers_are_almost_as_fast(broker: BrokerDriver) -> None:
    copy = copy_of(broker)
    for number in range(MOST_ROUNDS):
        fill(broker, 50 - number)
        end_round(copy)
    fill(broker, 4)
    assert copy.next_part() is None


def test_a_round_does_not_follow_what_comes_during_it(broker: BrokerDriver) -> None:
    fill(broker, 9)
    copy, parts = copy_of(broker), 0
    while parts == 0 or copy._left:
        copy.next_part()
        fill(broker, 3)
        parts += 1
        assert parts < 9


def test_a_topic_that_was_begun_anew_begins_anew(broker: BrokerDriver) -> None:
    fill(broker, 9)
    copy = copy_of(broker)
    copy.next_part()
    before = copy.logs[T].epoch
    broker.unsubscribe(T, b"u")
    broker.subscribe(T, b"u")
    fill(broker, 5)
    while copy.next_part() is not None:
        pass
    assert (copy.logs[T].epoch, copy.logs[T].head, copy.logs[T].next_seq) == (broker.state.topics[T].epoch, 1, 6)
    assert copy.logs[T].epoch != before


def test_a_log_whose_head_has_passed_the_copy_begins_anew(broker: BrokerDriver) -> None:
    fill(broker, 9)
    copy = copy_of(broker)
    copy.next_part()
    assert copy.logs[T].next_seq < 5
    broker.fetch(T, b"u", 7)
    fill(broker, 5)
    while copy.next_part() is not None:
        pass
    assert (copy.logs[T].head, copy.logs[T].next_seq) == (8, 15)


def test_topics_that_ended_since_are_told_in_parts_of_the_same_size(broker: BrokerDriver) -> None:
    names = [name for n in range(20_000) if slot_of(name := b"t%d" % n) == slot_of(T)][:6]
    copy = copy_of(broker)
    for messages in (2, 1):
        for name in names:
            broker.subscribe(name, b"u")
            for _ in range(messages):
                broker.publish(name, b"x")
        if messages > 1:
            end_round(copy)
    assert copy.next_part(), "the second round has begun"
    for name in names:
        broker.unsubscribe(name, b"u")
    while (part := copy.next_part()) is not None:
        assert part.records <= FEW.copied_records + 1, "what is told of one topic stays together"
    assert len(names) == 6
