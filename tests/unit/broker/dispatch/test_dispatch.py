"""The chokepoint: what is checked before an operation runs, what is counted; nothing gets past it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from msgspec import Raw

from broker.dispatch import dispatcher
from broker.errors import BrokenInvariantError
from broker.records import MessageStored, Record, SubscriptionEnded, SubscriptionSet, TopicEnded
from common.cluster.slots import BrokerAddress, ClusterMap
from common.protocol import ops, wire
from common.protocol.ops import OPS, Op
from common.protocol.wire import BrokerState
from tests.support.driver import ALONE, IDENTITY, Answer, Asked, BrokerDriver, unpacked
from tests.support.snapshot import snapshot

PUBLISH = ops.Publish(b"", b"x")
CALLS = [
    Asked(Op.SUBSCRIBE, b"t", b"new"),
    Asked(Op.UNSUBSCRIBE, b"t", b"u"),
    Asked(Op.PUBLISH, b"t", args=PUBLISH),
    Asked(Op.TAKE, b"t", b"u"),
]
RECEIPT = ops.Receipt("0badcafe1", 1, 1)
LEASED_CALLS = [
    Asked(Op.CONFIGURE, b"t", b"u", ops.Settings(max_deliveries=7)),
    Asked(Op.FINISH, b"t", b"u", ops.Finish([RECEIPT])),
    Asked(Op.EXTEND, b"t", b"u", ops.Extend(RECEIPT, 60)),
    Asked(Op.DEAD_LIST, b"t", b"u", ops.ListDead(0, 1, 1)),
    Asked(Op.DEAD_RETURN, b"t", b"u"),
    Asked(Op.DEAD_CLEAR, b"t", b"u"),
]
PING = Asked(Op.PING, args=ops.Ping("fanmail", "b0"))


@pytest.fixture
def busy(broker: BrokerDriver) -> BrokerDriver:
    """A broker that holds something which any of CALLS would change."""
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"x")
    broker.commit()
    return broker


@pytest.fixture
def leased() -> BrokerDriver:
    """A broker that holds something which any of LEASED_CALLS would change: a lease and a dead letter."""
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u", max_deliveries=1)
    for body in (b"1", b"2"):
        broker.publish(b"t", body)
    for seconds in (30, 1):
        broker.lease(b"t", b"u", seconds)
    broker.elapse(1)
    broker.commit()
    return broker


def ask_packed(broker: BrokerDriver, packed: bytes, op: Op, body: bytes | None = None) -> Answer:
    frame = wire.pack_requests(IDENTITY.incarnation, 1, [packed])
    arrived = broker.handle([frame] if body is None else [frame, body])
    return unpacked(broker, arrived, {broker.next_id: op})[0]


def ask_raw(broker: BrokerDriver, op: int, topic: Any, user: Any, args: Any, body: bytes | None = None) -> Answer:
    """A request with arguments that `pack_request` would have refused to know."""
    deadline = broker.clock.now().mono + 1
    packed = wire._encode((broker.next_id, op, topic, user, deadline, args))
    return ask_packed(broker, packed, Op(op) if op in list(Op) else Op.TAKE, body)


def refused(broker: BrokerDriver, *asked: Asked) -> list[str]:
    """The codes of requests that must change nothing."""
    before, counted = snapshot(broker.state), {op.name: broker.dispatcher.counters[op.name] for op in Op}
    answers = broker.send(*asked)
    assert snapshot(broker.state) == before
    assert {op.name: broker.dispatcher.counters[op.name] for op in Op} == counted, "it was not executed"
    assert all(answer.detail for answer in answers)
    return [answer.code for answer in answers]


# --- may it be executed at all?


def test_a_request_for_an_earlier_process_is_refused(busy: BrokerDriver) -> None:
    busy.identity = IDENTITY._replace(incarnation=78)
    assert refused(busy, *CALLS) == ["wrong-incarnation"] * 4
    busy.identity = IDENTITY._replace(incarnation=0)
    assert refused(busy, *CALLS) == ["wrong-incarnation"] * 4


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.op.name)
def test_a_request_expires_at_its_deadline_exactly(busy: BrokerDriver, call: Asked) -> None:
    assert refused(busy, call._replace(timeout=0)) == ["expired"]
    assert refused(busy, call._replace(timeout=-1)) == ["expired"]
    assert busy.send(call._replace(timeout=1))[0].code == ""


def test_a_request_that_lay_in_a_buffer_expires(busy: BrokerDriver) -> None:
    frames = busy.frames([call._replace(timeout=2_000_000) for call in CALLS])
    busy.clock.advance(2.5)
    before = snapshot(busy.state)
    answers = unpacked(busy, busy.handle(frames), {})
    assert [answer.code for answer in answers] == ["expired"] * 4
    assert snapshot(busy.state) == before


def test_deadlines_of_one_message_are_looked_at_one_by_one(busy: BrokerDriver) -> None:
    late, good = CALLS[3]._replace(timeout=0), CALLS[3]
    assert [each.code for each in busy.send(late, good, late, good)] == ["expired", "", "expired", ""]


@pytest.mark.parametrize(
    ("state", "code"),
    [(BrokerState.DRAINING, "draining"), (BrokerState.LOADING, "loading"), (BrokerState.STANDBY, "standby")],
)
def test_a_broker_that_is_not_ready_executes_nothing(busy: BrokerDriver, state: BrokerState, code: str) -> None:
    busy.dispatcher.state = state
    assert refused(busy, *CALLS) == [code] * 4
    assert busy.send(PING)[0].result == ops.Pong("fanmail", "b0"), "and says so when it is asked"
    assert busy.ask(Op.STATS).code == ""


def test_a_topic_of_another_broker_is_refused(broker: BrokerDriver) -> None:
    both = ClusterMap("fanmail", 1, [BrokerAddress("b0", "ipc:///0"), BrokerAddress("b1", "ipc:///1")])
    broker.dispatcher.ownership.change_map(both, [])
    topics = [b"topic %d" % number for number in range(50)]
    codes = {topic: broker.subscribe(topic, b"u").code for topic in topics}
    assert set(codes.values()) == {"", "not-owner"}
    for topic, code in codes.items():
        assert (code == "") == (both.owner(topic) == "b0") == (topic in broker.state.topics)


def test_the_checks_come_in_an_order_that_tells_the_front_what_to_do(busy: BrokerDriver) -> None:
    """A restart is more than lateness, lateness more than a drain, a drain more than a wrong map."""
    other = ClusterMap("fanmail", 1, [BrokerAddress("b1", "ipc:///1")])
    busy.dispatcher.ownership.change_map(other, [])
    assert refused(busy, CALLS[0]) == ["not-owner"]
    busy.dispatcher.state = BrokerState.DRAINING
    assert refused(busy, CALLS[0]) == ["draining"]
    assert refused(busy, CALLS[0]._replace(timeout=0)) == ["expired"]
    busy.identity = IDENTITY._replace(incarnation=1)
    assert refused(busy, CALLS[0]._replace(timeout=0)) == ["wrong-incarnation"]


@pytest.mark.parametrize("call", LEASED_CALLS, ids=lambda call: call.op.name)
def test_leases_and_dead_letters_pass_the_same_gate(leased: BrokerDriver, call: Asked) -> None:
    assert refused(leased, call._replace(timeout=0)) == ["expired"]
    leased.identity = IDENTITY._replace(incarnation=1)
    assert refused(leased, call) == ["wrong-incarnation"]
    leased.identity = IDENTITY
    leased.dispatcher.state = BrokerState.DRAINING
    assert refused(leased, call) == ["draining"]
    leased.dispatcher.state = BrokerState.READY
    before = snapshot(leased.state)
    assert leased.send(call)[0].code == ""
    assert (snapshot(leased.state) == before) == (call.op == Op.DEAD_LIST)
    assert leased.dispatcher.counters[call.op.name] == 1


def test_a_broker_that_drains_does_nothing_that_is_due(leased: BrokerDriver) -> None:
    before = snapshot(leased.state)
    leased.dispatcher.state = BrokerState.DRAINING
    leased.elapse(100)
    assert snapshot(leased.state) == before
    assert leased.dispatcher.patience(leased.clock.now()) is None


# --- is it well formed?


def test_every_operation_of_the_table_has_a_handler_or_is_of_the_link() -> None:
    assert set(OPS) == set(Op)
    for op, (_, _, spec, handler) in ((op, dispatcher._KNOWN[op]) for op in Op):
        assert (handler is not None) == spec.on_topic, op


@pytest.mark.parametrize("op", [0, 8, 9, 29, 99, -1, 2**63, 2**64 - 1])
def test_an_unknown_operation_is_answered(busy: BrokerDriver, op: int) -> None:
    answer = ask_raw(busy, op, b"t", b"u", [])
    assert answer == Answer(busy.next_id, "bad-request", None, f"operation {op} is not known here")
    assert busy.take(b"t", b"u").result.body == b"x"


@pytest.mark.parametrize("version", [0, 2, -1, 2**64 - 1])
def test_an_unknown_version_is_answered_for_every_request(busy: BrokerDriver, version: int) -> None:
    packed = [busy.pack(CALLS[0], n) for n in (5, 6, 7)]
    frame = wire._encode((version, IDENTITY.incarnation, 1, [Raw(each) for each in packed]))
    answers = unpacked(busy, busy.handle([frame]), {})
    assert [(answer.id, answer.code) for answer in answers] == [(n, "bad-request") for n in (5, 6, 7)]
    assert f"version {version}" in answers[0].detail
    assert busy.dispatcher.counters["errors.wire"] == 1


@pytest.mark.parametrize(
    ("op", "args"),
    [
        (Op.PUBLISH, []),
        (Op.PUBLISH, [b""]),
        (Op.PUBLISH, [b"", 3]),
        (Op.PUBLISH, [None, b""]),
        (Op.PUBLISH, {"headers": b"", "body": b""}),
        (Op.PUBLISH, None),
        (Op.TAKE, None),
        (Op.TAKE, 7),
        (Op.PING, ["fanmail"]),
        (Op.PING, ["fanmail", b"b0"]),
        (Op.STATS, "x"),
        (Op.GOODBYE, {}),
        (Op.SUBSCRIBE, ["soon"]),
        (Op.CONFIGURE, [None, 1.5]),
        (Op.CONFIGURE, [-1]),
        (Op.TAKE, [False, "", 0, -1]),
        (Op.FETCH, [False, "", 0, 1]),
        (Op.FINISH, []),
        (Op.FINISH, [[["e1", 1]]]),
        (Op.FINISH, [["e1", 1, 1]]),
        (Op.EXTEND, [["e1", 1, 1]]),
        (Op.EXTEND, ["e1-1.1", 30]),
        (Op.DEAD_LIST, [0]),
        (Op.DEAD_CLEAR, "all"),
        (Op.CANCEL, []),
    ],
)
def test_bad_arguments_are_answered(busy: BrokerDriver, op: Op, args: Any) -> None:
    user = b"u" if OPS[op].on_user else b""
    before = snapshot(busy.state)
    answer = ask_raw(busy, op, b"t", user, args)
    assert answer.code == "bad-request"
    assert f"operation {op:d}" in answer.detail
    assert snapshot(busy.state) == before


def test_arguments_of_a_later_version_may_have_more_fields(busy: BrokerDriver) -> None:
    assert ask_raw(busy, Op.PUBLISH, b"t", b"", [b"", b"x", 1, b"", 0, 0, b"", b"", {"later": 0}]).result.seq == 2
    assert ask_raw(busy, Op.TAKE, b"t", b"u", [False, "", 0, 0, 0, "later"]).result.seq == 1


@pytest.mark.parametrize("op", [op for op in Op if OPS[op].on_user])
def test_an_operation_of_a_user_needs_one(busy: BrokerDriver, op: Op) -> None:
    needed = {Op.PEEK: [1, 1], Op.FETCH: [False, "", 0, 1, 1, True], Op.FINISH: [[]], Op.EXTEND: [["e1", 1, 1], 30]}
    needed[Op.CONFIRM] = ["e1", 1]
    answer = ask_raw(busy, op, b"t", b"", needed.get(op, [1, 1, 1] if op in (Op.DEAD_LIST, Op.CANCEL) else []))
    assert (answer.code, answer.detail) == ("bad-request", f"operation {op.name} needs a user")


def test_a_publish_takes_no_user(busy: BrokerDriver) -> None:
    answer = ask_raw(busy, Op.PUBLISH, b"t", b"u", [b"", b""])
    assert (answer.code, answer.detail) == ("bad-request", "operation PUBLISH takes no user")


@pytest.mark.parametrize(("topic", "user"), [(b"", b"u"), (b"t" * 1025, b"u"), (b"t", b"u" * 1025)])
def test_a_name_out_of_bounds_is_answered(broker: BrokerDriver, topic: bytes, user: bytes) -> None:
    assert broker.subscribe(topic, user).code == "bad-request"
    assert not broker.state.topics


def test_names_of_1024_bytes_are_taken(broker: BrokerDriver) -> None:
    assert broker.subscribe(b"t" * 1024, b"u" * 1024).result.created


def test_one_bad_request_leaves_its_neighbours_alone(busy: BrokerDriver) -> None:
    bad = Asked(Op.TAKE, b"t")
    codes = [each.code for each in busy.send(CALLS[0], bad, Asked(Op.TAKE, b"t", b"nobody"), CALLS[2])]
    assert codes == ["", "bad-request", "no-subscription", ""]
    assert busy.state.topics[b"t"].next_seq == 3


# --- bodies


def test_a_body_beside_the_request_is_stored_uncopied(busy: BrokerDriver) -> None:
    body = b"L" * wire.LARGE_BODY
    args = ops.Publish(b"h", b"")
    assert busy.send(Asked(Op.PUBLISH, b"t", args=args), body=body)[0].result.seq == 2
    assert busy.state.topics[b"t"].piece(2).body is body


def test_a_small_or_empty_body_may_travel_beside_too(busy: BrokerDriver) -> None:
    for body in (b"", b"small"):
        answer = busy.send(Asked(Op.PUBLISH, b"t", args=ops.Publish(b"", b"")), body=body)[0]
        assert busy.state.topics[b"t"].piece(answer.result.seq).body == body


@pytest.mark.parametrize("call", [CALLS[0], CALLS[1], CALLS[3], *LEASED_CALLS], ids=lambda call: call.op.name)
def test_an_operation_that_takes_no_body_gets_none(busy: BrokerDriver, call: Asked) -> None:
    before = snapshot(busy.state)
    answer = busy.send(call, body=b"body")[0]
    assert (answer.code, answer.detail) == ("bad-request", f"operation {call.op.name} takes no body")
    assert snapshot(busy.state) == before


def test_a_body_belongs_to_one_request_only(busy: BrokerDriver) -> None:
    before = snapshot(busy.state)
    answers = busy.send(CALLS[2], CALLS[2], body=b"whose?")
    assert [answer.code for answer in answers] == ["bad-request"] * 2
    assert snapshot(busy.state) == before


def test_a_large_body_travels_beside_the_reply_and_stays_with_the_others(broker: BrokerDriver) -> None:
    for user in (b"u", b"v"):
        broker.subscribe(b"t", user)
    sizes = [wire.LARGE_BODY - 1, wire.LARGE_BODY, wire.LARGE_BODY + 1]
    for size in sizes:
        broker.publish(b"t", b"x" * size)
    stored = [broker.state.topics[b"t"].piece(seq).body for seq in (1, 2, 3)]
    for user in (b"u", b"v"):
        arrived = broker.handle(broker.frames([Asked(Op.TAKE, b"t", user)] * 3))
        assert arrived.replies[0].body is None
        assert arrived.replies[1].body is stored[1]
        assert arrived.replies[2].body is stored[2]
        assert all(len(reply.packed) < 100 for reply in arrived.replies[1:])
        answers = [unpacked(broker, arrived, dict.fromkeys(range(1000), Op.TAKE))[n].result for n in range(3)]
        assert sorted(len(each.body) for each in answers) == sizes


# --- what concerns the link and not a topic


@pytest.mark.parametrize("names", [("fanmail", "b0"), ("fanmail", "b1"), ("other", "b0"), ("", "")])
def test_a_ping_is_answered_with_who_is_there(broker: BrokerDriver, names: tuple[str, str]) -> None:
    broker.identity = IDENTITY._replace(incarnation=0)
    answer = broker.send(Asked(Op.PING, args=ops.Ping(*names), timeout=-(10**6)))[0]
    assert answer.result == ops.Pong("fanmail", "b0")
    assert broker.dispatcher.counters["errors.wrong-peer"] == (names != ("fanmail", "b0"))


def test_a_goodbye_is_noticed(broker: BrokerDriver) -> None:
    assert not broker.handle(broker.frames([PING])).goodbye
    arrived = broker.handle(broker.frames([PING, Asked(Op.GOODBYE), PING]))
    assert arrived.goodbye
    assert len(arrived.replies) == 3


def test_a_message_without_requests_has_no_replies(broker: BrokerDriver) -> None:
    assert broker.handle(broker.frames([])).replies == []


def test_the_greatest_map_epoch_that_a_front_names_is_remembered(broker: BrokerDriver) -> None:
    for epoch, seen in ((1, 1), (9, 9), (3, 9), (-5, 9), (2**64 - 1, 2**62)):
        broker.handle([wire.pack_requests(IDENTITY.incarnation, epoch, [])])
        assert broker.dispatcher.ownership.newest_seen == seen


# --- what is counted


def test_everything_is_counted_by_operation_and_by_error(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"12345", b"678")
    broker.publish(b"nobody", b"x")
    broker.take(b"t", b"nobody")
    broker.take(b"t", b"nobody")
    broker.send(Asked(Op.TAKE, b"t", b"u", timeout=0))
    broker.ask(Op.TAKE, b"t")
    broker.handle([b"\xc1"])
    broker.publish(b"t", b"x", delay=1000, key=b"k", digest=bytes(16))
    stats = broker.ask(Op.STATS).result.values
    assert stats == {
        "topics": 1,
        "subscriptions": 1,
        "messages": 1,
        "content_bytes": 8,
        "memory_bytes": broker.state.memory,
        "memory_limit_bytes": broker.limits.memory,
        "answer_bytes": 0,
        "answer_limit_bytes": 0,
        "leases": 0,
        "dead_letters": 0,
        "dead_bytes": 0,
        "held_bytes": 0,
        "delayed": 1,
        "delayed_bytes": broker.state.delayed.weight,
        "idempotency_keys": 1,
        "waiters": 0,
        "refusing": 0,
        "slots": 1024,
        "slots.moving": 0,
        "most_looks": 0,
        "oldest_age_ms": 0,
        "published": 1,
        "dropped.no-subscribers": 1,
        "SUBSCRIBE": 1,
        "PUBLISH": 3,
        "TAKE": 2,
        "errors.no-subscription": 2,
        "errors.expired": 1,
        "errors.wire": 2,
    }
    broker.send(PING, Asked(Op.GOODBYE))
    assert broker.dispatcher.stats(broker.clock.now()) == stats, "the link's own requests are not counted"


def test_leases_and_dead_letters_are_gauges(leased: BrokerDriver) -> None:
    stats = leased.ask(Op.STATS).result.values
    assert {name: stats[name] for name in ("leases", "dead_letters", "dead_bytes", "dead.letters")} == {
        "leases": 1,
        "dead_letters": 1,
        "dead_bytes": 1,
        "dead.letters": 1,
    }
    assert stats["leases.expired"] == 1


def test_counters_do_not_grow_with_what_strangers_send(broker: BrokerDriver) -> None:
    for number in range(300):
        ask_raw(broker, number, b"topic %d" % number, b"user %d" % number, [])
        broker.send(Asked(Op.PING, args=ops.Ping(f"cluster {number}", "b0")))
    assert len(broker.dispatcher.counters) < 20


# --- when something breaks


def test_a_handler_that_breaks_is_internal_and_the_loop_lives_on(
    busy: BrokerDriver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    op, name, spec, _ = dispatcher._KNOWN[Op.SUBSCRIBE]
    monkeypatch.setitem(dispatcher._KNOWN, int(Op.SUBSCRIBE), (op, name, spec, broken))
    before = snapshot(busy.state)
    with caplog.at_level(logging.ERROR):
        answers = busy.send(CALLS[0], CALLS[3])
    assert (answers[0].code, answers[0].detail) == ("internal", "the broker failed; its log says why")
    assert answers[1].result.body == b"x"
    assert before["gauges"]["messages"] == 1
    assert busy.dispatcher.counters["errors.internal"] == 1
    (record,) = caplog.records
    assert record.exc_info
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    busy.commit()
    assert busy.subscribe(b"other", b"u").code == "internal"
    monkeypatch.undo()
    assert busy.subscribe(b"other", b"u").result.created


@pytest.mark.parametrize(
    ("kind", "call"),
    [(MessageStored, CALLS[2]), (SubscriptionSet, CALLS[3]), (SubscriptionEnded, CALLS[1]), (TopicEnded, CALLS[1])],
)
def test_an_error_while_the_state_changes_ends_the_broker(
    busy: BrokerDriver, monkeypatch: pytest.MonkeyPatch, kind: type[Record], call: Asked
) -> None:
    def half_way(record: Record) -> None:
        real(record)
        raise ZeroDivisionError

    real = busy.state._apply[kind]
    monkeypatch.setitem(busy.state._apply, kind, half_way)
    with pytest.raises(BrokenInvariantError):
        busy.send(call)


def test_an_error_after_a_change_of_the_same_turn_ends_the_broker(
    busy: BrokerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    op, name, spec, _ = dispatcher._KNOWN[Op.LOOK]
    monkeypatch.setitem(dispatcher._KNOWN, int(Op.LOOK), (op, name, spec, broken))
    assert busy.look(b"t", b"u").code == "internal", "nothing has changed yet"
    with pytest.raises(BrokenInvariantError):
        busy.send(Asked(Op.PUBLISH, b"t", args=ops.Publish(b"", b"y")), Asked(Op.LOOK, b"t", b"u"))


def test_an_interrupt_is_not_swallowed(busy: BrokerDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    op, name, spec, _ = dispatcher._KNOWN[Op.TAKE]
    monkeypatch.setitem(dispatcher._KNOWN, int(Op.TAKE), (op, name, spec, interrupted))
    with pytest.raises(KeyboardInterrupt):
        busy.take(b"t", b"u")


# --- a newer map


def test_a_newer_map_is_taken_where_it_leaves_every_held_topic(busy: BrokerDriver) -> None:
    newer = ClusterMap("fanmail", 2, [*ALONE.brokers, BrokerAddress("b1", "ipc:///1")], pins={})
    kept = next(b"topic %d" % n for n in range(100) if newer.owner(b"topic %d" % n) == "b0")
    given = next(b"topic %d" % n for n in range(100) if newer.owner(b"topic %d" % n) == "b1")
    busy.unsubscribe(b"t", b"u")
    busy.subscribe(kept, b"u")
    busy.dispatcher.ownership.change_map(newer, busy.state.names)
    assert busy.dispatcher.ownership.map is newer
    assert busy.subscribe(given, b"u").code == "not-owner"
    assert busy.take(kept, b"u").code == ""


def test_a_newer_map_that_gives_away_a_held_topic_is_refused(
    busy: BrokerDriver, caplog: pytest.LogCaptureFixture
) -> None:
    newer = ClusterMap("fanmail", 2, [BrokerAddress("b1", "ipc:///1")])
    busy.dispatcher.ownership.change_map(newer, busy.state.names)
    assert busy.dispatcher.ownership.map is ALONE
    assert busy.take(b"t", b"u").result.body == b"x"
    assert "refused" in caplog.text
    busy.unsubscribe(b"t", b"u")
    busy.dispatcher.ownership.change_map(newer, busy.state.names)
    assert busy.dispatcher.ownership.map is newer


# --- the operations themselves


def test_subscribing_again_is_harmless(broker: BrokerDriver) -> None:
    assert broker.subscribe(b"t", b"u").result == ops.Subscribed(created=True)
    broker.publish(b"t", b"1")
    assert broker.subscribe(b"t", b"u").result == ops.Subscribed(created=False)
    assert broker.bodies(b"t", b"u") == [b"1"]


def test_a_publish_to_nobody_is_dropped_and_leaves_nothing(broker: BrokerDriver) -> None:
    assert broker.publish(b"t", b"x").result == ops.Published(subscribers=0, epoch="", seq=0)
    assert not broker.state.topics
    broker.subscribe(b"t", b"u")
    assert broker.take(b"t", b"u").result is None


def test_a_message_comes_with_its_id_time_and_what_waits_behind_it(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    times = []
    for number in range(3):
        times.append(broker.clock.now().wall)
        published = broker.publish(b"t", b"%d" % number, b"kept").result
        assert published == ops.Published(1, "0badcafe1", number + 1)
        broker.clock.advance(1.5)
    assert times[1] == times[0] + 1500
    for number in range(3):
        assert broker.take(b"t", b"u").result == ops.Message(
            "0badcafe1", number + 1, times[number], 1, 2 - number, b"kept", b"%d" % number
        )
    assert broker.take(b"t", b"u").result is None


def test_nobody_gets_what_was_published_before_he_came(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"early")
    broker.publish(b"t", b"1")
    broker.subscribe(b"t", b"late")
    broker.publish(b"t", b"2")
    assert broker.bodies(b"t", b"late") == [b"2"]
    assert broker.bodies(b"t", b"early") == [b"1", b"2"]


def test_unsubscribing_and_subscribing_again_starts_empty(broker: BrokerDriver) -> None:
    for user in (b"u", b"v"):
        broker.subscribe(b"t", user)
    broker.publish(b"t", b"1")
    assert broker.unsubscribe(b"t", b"u").result == ops.Nothing()
    assert broker.unsubscribe(b"t", b"u").code == "no-subscription"
    assert broker.take(b"t", b"u").code == "no-subscription"
    assert broker.subscribe(b"t", b"u").result.created
    assert broker.bodies(b"t", b"u") == []
    assert broker.bodies(b"t", b"v") == [b"1"]


def test_unsubscribing_the_last_reader_ends_the_topic(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    first = broker.publish(b"t", b"1").result
    broker.unsubscribe(b"t", b"u")
    assert not broker.state.topics
    assert broker.state.memory == 0
    assert broker.publish(b"t", b"2").result.subscribers == 0
    broker.subscribe(b"t", b"u")
    second = broker.publish(b"t", b"3").result
    assert second.seq == first.seq == 1
    assert second.epoch != first.epoch
    assert broker.bodies(b"t", b"u") == [b"3"]


def test_a_topic_and_a_user_of_the_same_name_are_two_things(broker: BrokerDriver) -> None:
    broker.subscribe(b"a", b"a")
    broker.subscribe(b"b", b"a")
    broker.publish(b"a", b"for a")
    assert broker.take(b"b", b"a").result is None
    assert broker.take(b"a", b"a").result.body == b"for a"


def test_two_runs_of_the_same_requests_are_the_same_run() -> None:
    def run() -> tuple[Any, list[Any]]:
        broker = BrokerDriver()
        answers = []
        for number in range(200):
            topic, user = b"t%d" % (number % 3), b"u%d" % (number % 5)
            answers += broker.send(
                Asked((Op.SUBSCRIBE, Op.TAKE, Op.UNSUBSCRIBE)[number * 7 % 3], topic, user),
                Asked(Op.PUBLISH, topic, args=PUBLISH),
                Asked(Op.TAKE, topic, user),
            )
            broker.clock.advance(0.1)
        return snapshot(broker.state), answers

    assert run() == run()


def test_a_goodbye_to_an_earlier_process_is_not_meant_for_this_one(broker: BrokerDriver) -> None:
    goodbye = wire.pack_request(1, Op.GOODBYE, b"", b"", 0, ops.Nothing())
    stale = [wire.pack_requests(broker.identity.incarnation + 1, 1, [goodbye])]
    assert not broker.handle(stale).goodbye
    assert broker.handle([wire.pack_requests(broker.identity.incarnation, 1, [goodbye])]).goodbye


def test_a_name_that_is_too_long_is_refused_before_anything_remembers_it(broker: BrokerDriver) -> None:
    from common.cluster.slots import slot_of

    before = slot_of.cache_info().currsize
    for number in range(5):
        broker.send(Asked(Op.TAKE, b"%d" % number * 2000, b"u"))
    assert slot_of.cache_info().currsize == before
