"""Ceilings of topics that the operator sets: what happens at them, what it costs, and how they are written down."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from msgspec.structs import replace

from broker.state.piece import MESSAGE_COST
from broker.state.state import SUBSCRIPTION_COST, TOPIC_COST
from broker.state.topic_settings import TopicRule, TopicRules, TopicSettings, parse_rules
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.counting import calls_of
from tests.support.driver import ROOMY, BrokerDriver, apart, batch, bodies_of
from tests.support.snapshot import check_state, snapshot
from tests.support.table import table
from tests.unit.broker.operations.test_leases import EPOCH, finished, leased, receipt

DEFAULT = TopicSettings(max_messages=10, max_bytes=100)


def dropping(users: int = 1, **settings: int) -> BrokerDriver:
    """A broker whose topics drop their oldest messages at a ceiling, and the topic `t`."""
    broker = BrokerDriver(rules=[TopicRule(fits=lambda name: True, drop_oldest=True, **settings)])
    for number in range(users):
        broker.subscribe(b"t", b"u%d" % number if number else b"u")
    return broker


def publish(broker: BrokerDriver, *bodies: bytes) -> None:
    for body in bodies:
        assert broker.publish(b"t", body).code == ""


# --- reject


def test_a_topic_that_rejects_is_full_and_another_one_is_not() -> None:
    rule = TopicRule(fits=lambda name: name == "t", max_messages=2)
    broker = BrokerDriver(rules=[rule])
    for topic in (b"t", b"other"):
        broker.subscribe(topic, b"u")
    publish(broker, b"1", b"2")
    before = snapshot(broker.state)
    answer = broker.publish(b"t", b"3")
    assert (answer.code, "2 messages" in answer.detail) == ("topic-full", True)
    assert snapshot(broker.state) == before
    assert [broker.publish(b"other", b"x").code for _ in range(3)] == [""] * 3


# --- messages that were published one by one, and arrive together


def test_each_of_them_may_be_an_entry_of_the_log() -> None:
    """Each has the headers, of which the request has one copy: together they may not fit in an entry."""
    broker = dropping(max_messages=2)
    context = broker.dispatcher.context
    broker.commit()
    context.cuts = []
    assert broker.ask(Op.PUBLISH_APART, b"t", args=apart(b"1", b"2", b"3")).code == ""
    records = [type(each).__name__ for each in context.records]
    assert records == ["MessageStored", "MessageStored", "HeadMoved", "MessageStored"]
    assert sorted({*context.take_cuts()}) == [1, 2, 4]


@table("drops", [False, True])
def test_frames_that_overlap_are_refused_before_they_are_taken_apart(drops: bool) -> None:
    """Else many would have all the bytes of one."""
    broker = BrokerDriver(rules=[TopicRule(fits=lambda name: True, drop_oldest=drops, max_messages=3)])
    broker.subscribe(b"t", b"u")
    before, offsets = snapshot(broker.state), b"".join(each.to_bytes(4, "little") for each in (0, 100, 0, 100, 0, 100))
    answer = broker.ask(Op.PUBLISH_APART, b"t", args=ops.PublishApart(b"", bytes(100), 5, offsets))
    assert (answer.code, snapshot(broker.state)) == ("bad-request", before)


@table(
    "args",
    [
        ops.PublishApart(b"", b"", 2**40, b""),
        apart(*[b"x"] * 65),
        replace(apart(b"x", b"y"), keys=[b"k"], digests=[b"d"]),
        replace(apart(b"x", b"y"), keys=[b"k", b"l"]),
        replace(apart(b"x", b"y"), digests=[b"d", b"e"]),
    ],
)
def test_a_number_of_them_that_cannot_be_is_refused_before_anything_is_made_of_it(args: ops.PublishApart) -> None:
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u")
    before = snapshot(broker.state)
    assert (broker.ask(Op.PUBLISH_APART, b"t", args=args).code, snapshot(broker.state)) == ("bad-request", before)


# --- drop-oldest


def test_the_oldest_go_for_the_newest_and_are_counted() -> None:
    broker = dropping(max_messages=3)
    publish(broker, b"1", b"2", b"3", b"4", b"5")
    assert broker.state.messages == 3
    assert broker.dispatcher.counters["dropped.overflow"] == 2
    assert broker.bodies(b"t", b"u") == [b"3", b"4", b"5"]
    assert broker.dispatcher.counters["skipped.lost"] == 2, "what this reader lost"
    check_state(broker.state)


def test_as_many_go_as_the_bytes_need() -> None:
    broker = dropping(max_bytes=10)
    publish(broker, b"1" * 4, b"2" * 4, b"3" * 2, b"4" * 7)
    assert broker.bodies(b"t", b"u") == [b"33", b"4" * 7]


def test_a_batch_makes_its_own_room_and_goes_as_a_whole() -> None:
    broker = dropping(max_messages=4)
    broker.ask(Op.PUBLISH, b"t", args=batch(b"1", b"2", b"3"))
    broker.ask(Op.PUBLISH, b"t", args=batch(b"4", b"5"))
    assert broker.dispatcher.counters["dropped.overflow"] == 3
    assert bodies_of(broker.fetch(b"t", b"u").result) == [b"4", b"5"]


@table("args", [batch(b"1", b"2", b"3"), ops.Publish(b"", b"x" * 11)])
def test_what_is_over_the_ceiling_by_itself_drops_nothing(args: ops.Publish) -> None:
    broker = dropping(max_messages=2, max_bytes=20 if args.count > 1 else 10)
    publish(broker, b"1", b"2")
    before = snapshot(broker.state)
    assert broker.ask(Op.PUBLISH, b"t", args=args).code == "topic-full"
    assert snapshot(broker.state) == before


def test_what_the_memory_does_not_hold_drops_nothing() -> None:
    full = TOPIC_COST + SUBSCRIPTION_COST + len(b"tu") + 2 * (MESSAGE_COST + 10)
    rule = TopicRule(fits=lambda name: True, drop_oldest=True, max_messages=2)
    broker = BrokerDriver(limits=ROOMY._replace(memory=full), rules=[rule])
    broker.subscribe(b"t", b"u")
    publish(broker, b"1" * 10, b"2" * 10)
    before = snapshot(broker.state)
    assert broker.publish(b"t", b"x" * 11).code == "memory-full"
    assert snapshot(broker.state) == before
    assert broker.publish(b"t", b"x" * 10).code == "", "what is dropped makes room"


def test_readers_at_and_beyond_the_new_head_lose_nothing() -> None:
    broker = dropping(users=3, max_messages=3)
    publish(broker, b"1", b"2", b"3")
    for user, reads in ((b"u1", 1), (b"u2", 3)):
        for _ in range(reads):
            broker.take(b"t", user)
    publish(broker, b"4")
    assert broker.look(b"t", b"u").result == ops.Status(3, EPOCH, 2)
    assert broker.bodies(b"t", b"u1") == [b"2", b"3", b"4"]
    assert broker.bodies(b"t", b"u2") == [b"4"]
    assert broker.dispatcher.counters["skipped.lost"] == 0
    assert broker.bodies(b"t", b"u") == [b"2", b"3", b"4"]
    assert broker.dispatcher.counters["skipped.lost"] == 1
    check_state(broker.state)


def test_a_cursor_below_the_head_goes_on_at_the_head() -> None:
    broker = dropping(max_messages=2)
    publish(broker, b"1", b"2", b"3", b"4")
    assert broker.after(b"t", b"u").result.seq == 3
    assert broker.after(b"t", b"u", f"{EPOCH}-1").result.seq == 3
    assert broker.after(b"t", b"u", f"{EPOCH}-3").result.seq == 4


def test_a_lease_below_the_head_is_held_no_more() -> None:
    broker = dropping(max_messages=3)
    publish(broker, b"1", b"2", b"3")
    for _ in range(3):
        leased(broker)
    publish(broker, b"4", b"5")
    check_state(broker.state)
    assert broker.extend(b"t", b"u", receipt(2), 30).code == "lease-lost"
    assert finished(broker, receipt(1), receipt(3)) == ["", ""]
    assert broker.look(b"t", b"u").result.leased == 0
    broker.elapse(31)
    assert [leased(broker), leased(broker)] == [(4, 1), (5, 1)]
    check_state(broker.state)


def test_what_came_back_below_the_head_is_not_handed_out() -> None:
    broker = dropping(max_messages=2)
    publish(broker, b"1", b"2")
    leased(broker)
    broker.elapse(30)
    publish(broker, b"3")
    assert broker.look(b"t", b"u").result.seq == 2
    assert leased(broker) == (2, 1)
    assert broker.dispatcher.counters["skipped.lost"] == 1


def test_dead_letters_outlive_their_place_in_the_log() -> None:
    broker = dropping(max_messages=2)
    broker.configure(b"t", b"u", max_deliveries=1)
    publish(broker, b"1", b"2")
    leased(broker)
    broker.elapse(30)
    publish(broker, b"3", b"4")
    broker.ask(Op.DEAD_RETURN, b"t", b"u")
    assert broker.take(b"t", b"u").result.body == b"1"
    assert broker.bodies(b"t", b"u") == [b"3", b"4"]
    check_state(broker.state)


def test_dropping_does_the_same_work_for_one_and_for_ten_thousand_subscribers() -> None:
    few, many = dropping(1, max_messages=3), dropping(10_000, max_messages=3)
    for broker in (few, many):
        publish(broker, b"1", b"2", b"3", b"4")
    assert calls_of(many.publish, b"t", b"5") == calls_of(few.publish, b"t", b"5") < 200
    assert many.dispatcher.counters["dropped.overflow"] == 2


def test_rejecting_does_the_same_work_for_one_and_for_ten_thousand_subscribers() -> None:
    rule = TopicRule(fits=lambda name: True, max_messages=1)
    few, many = BrokerDriver(rules=[rule]), BrokerDriver(rules=[rule])
    for broker, users in ((few, 1), (many, 10_000)):
        for number in range(users):
            broker.subscribe(b"t", b"%d" % number)
        publish(broker, b"1")
        assert broker.publish(b"t", b"2").code == "topic-full"
    assert calls_of(many.publish, b"t", b"3") == calls_of(few.publish, b"t", b"3") < 200


# --- [[topics]]


def rules(text: str) -> TopicRules:
    return TopicRules(DEFAULT, parse_rules(tomllib.loads(text)["topics"]))


def test_the_digest_of_settings_differs_where_they_do() -> None:
    digests = {
        TopicRules(default, source=tables).digest
        for default in (DEFAULT, DEFAULT._replace(max_messages=7))
        for tables in ([], [{"pattern": "a"}], [{"pattern": "b"}])
    }
    assert len(digests) == 6
    assert TopicRules(DEFAULT, source=[{"pattern": "a"}]).digest in digests


def test_the_first_pattern_that_fits_counts_and_the_rest_is_as_the_settings_say() -> None:
    found = rules(
        '[[topics]]\npattern = "logs.*"\nmax_messages = 3\noverflow = "drop-oldest"\n'
        '[[topics]]\npattern = "logs.a"\nmax_messages = 4\n'
        '[[topics]]\npattern = "*.[ab]?"\nmax_bytes = "64KiB"\nmax_age = 1.5\noverflow = "reject"\n'
    )
    assert found.of(b"logs.a") == TopicSettings(3, 100, 0, True)
    assert found.of(b"x.b\xc3\xbc") == TopicSettings(10, 65536, 1500, False)
    for name in (b"logs", b"x.b", b"x.c1", b"LOGS.a", b"my logs.a"):
        assert found.of(name) == DEFAULT


def test_a_pattern_is_for_the_whole_name_whatever_is_in_it() -> None:
    found = rules('[[topics]]\npattern = "a*z"\nmax_messages = 1\n')
    assert found.of(b"a/\xf0\x9f\x98\x80 z").max_messages == 1
    assert found.of(b"a\xff z").max_messages == 1
    assert found.of(b"az ").max_messages == 10


def test_a_topic_has_the_settings_of_its_name_from_its_beginning() -> None:
    broker = BrokerDriver(rules=parse_rules([{"pattern": "t*", "max_messages": 1}]))
    for topic in (b"t1", b"other"):
        broker.subscribe(topic, b"u")
    assert [broker.publish(topic, b"x").code for topic in (b"t1", b"t1", b"other", b"other")] == [
        "",
        "topic-full",
        "",
        "",
    ]


@table(
    ("table", "reason"),
    [
        ({}, "number 2 needs a pattern"),
        ({"pattern": ""}, "number 2 needs a pattern"),
        ({"pattern": 7}, "number 2 needs a pattern"),
        ("logs.*", "number 2 needs a pattern"),
        (
            {"pattern": "*", "max_message": 1},
            "number 2: unknown setting 'max_message'; known are pattern, max_messages",
        ),
        ({"pattern": "*", "max_messages": 0}, "number 2: max_messages = 0 must"),
        ({"pattern": "*", "max_messages": "many"}, "number 2: max_messages = 'many' is not a number"),
        ({"pattern": "*", "max_messages": True}, "number 2: max_messages = true is not a value for it"),
        ({"pattern": "*", "max_bytes": "64 apples"}, "number 2: max_bytes = '64 apples'"),
        ({"pattern": "*", "max_age": -1}, "number 2: max_age = -1 must"),
        ({"pattern": "*", "max_age": float("nan")}, "number 2: max_age = nan"),
        ({"pattern": "*", "overflow": "drop"}, "number 2: overflow = 'drop' must"),
        ({"pattern": "*", "max_messages": [1]}, "number 2: max_messages = "),
    ],
)
def test_a_mistake_names_its_row_and_its_key(table: Any, reason: str) -> None:
    with pytest.raises(ValueError, match="topics") as caught:
        parse_rules([{"pattern": "fine"}, table])
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@table("tables", [{}, "x", 1, {"pattern": "*"}])
def test_a_table_that_is_no_array_says_so(tables: object) -> None:
    with pytest.raises(ValueError, match="array of tables"):
        parse_rules(tables)
