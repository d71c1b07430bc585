"""What happens to messages that are not of the wire, and to those that are and ask for what nobody would."""

from __future__ import annotations

import logging
import random
import resource
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.operations.limits import Limits
from broker.records import Finished, SubscriptionSet
from common.protocol import ops, wire
from common.protocol.ops import OPS, Op
from tests.support import hostile
from tests.support.driver import IDENTITY, NOTHING, STORE_ID, BrokerDriver, apart, batch, loaded, receipt_of
from tests.support.mirror import MirrorStore
from tests.support.snapshot import check_state, snapshot
from tests.unit.common.protocol.test_wire import FUZZED

request = wire.pack_request


@pytest.fixture
def quiet() -> Iterator[None]:
    """Ten thousand refusals need no ten thousand lines."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def make_target() -> BrokerDriver:
    """A broker with a little in it, little room, and a store that knows only what records tell."""
    limits = Limits(topics=20, subscriptions=40, topic_messages=50, topic_bytes=10**6, memory=10**7)
    broker = BrokerDriver(limits, MirrorStore(STORE_ID))
    for user in (b"u", b"v"):
        broker.subscribe(b"t", user)
    for number in range(5):
        broker.publish(b"t", b"%d" % number)
    broker.subscribe(b"t", b"x", max_deliveries=1)
    for number in range(3):
        broker.publish(b"t", b"%d" % number, key=b"key %d" % number, digest=bytes(16))
    broker.publish(b"t", b"later", delay=10**9)
    for seconds in (1, 3000, 3000):
        broker.lease(b"t", b"x", seconds)
    broker.elapse(1)
    assert broker.look(b"t", b"x").result == ops.Status(0, "0badcafe1", 0, leased=2, dead=1)
    broker.commit()
    return broker


def fed(broker: BrokerDriver, frames: list[bytes]) -> list[tuple[int, str]]:
    """Hands over one hostile message and gives ids and codes of what comes back.

    The state changes only where a success says so, or because time passes.
    """
    broker.elapse(0)
    broker.commit()
    arrived = broker.dispatcher.handle(frames, broker.clock.now(), b"front")
    packed = [each.packed for each in arrived.replies]
    assert sum(map(len, packed)) <= 64 * 1024 + 2 * sum(map(len, frames))
    seen = wire.unpack_replies([wire.pack_replies(1, 1, 1, 1, packed)]).replies
    assert all(type(each.id) is int for each in seen)
    if all(each.code for each in seen):
        # The next request forgets what the head of the log has moved over.
        assert all(isinstance(each, Finished | SubscriptionSet) for each in broker.dispatcher.context.records)
    broker.commit()
    broker.turn()
    return [(each.id, each.code) for each in seen]


ANSWERED = {
    "a negative id": [(-5, "bad-request")],
    "the greatest id": [(2**64 - 1, "bad-request")],
    "the least deadline": [(5, "expired")],
    "no topic": [(5, "bad-request")],
    "a topic of nil": [(5, "bad-request")],
    "a topic that is too long": [(5, "bad-request")],
    "a request with one field too few": [(5, "bad-request")],
    "two requests for one body": [(5, "bad-request")] * 2,
    "broken UTF-8 where text is": [(5, "bad-request")],
    "a version that is true": [(5, "bad-request")],
    "numbers as text": [(5, "bad-request")],
    **{
        f"a request id {how}": [(5, "bad-request")]
        for how in (
            "with a line end",
            "with a space",
            "of other letters",
            "that is too long",
            "that is broken",
            "of bytes",
            "of nil",
        )
    },
}
"""Cases of the corpus in which ids can be read."""
REFUSED = {
    "the longest lease and more",
    "a lease of less than nothing",
    "a delay beyond all numbers",
    "a key that is too long",
    "a digest that is too long",
    "settings of less than nothing",
    "receipts that are one receipt",
    "a receipt with one field too few",
    "a receipt of nil",
    "dead letters without a place to begin",
    "a cancel of nothing",
}
"""Such whose arguments are not taken."""


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", hostile.CORPUS)
def test_a_hostile_message_is_survived_and_answered_where_it_can_be(name: str) -> None:
    broker = make_target()
    before = snapshot(broker.state)
    if name == "sixty-five requests":
        assert set(fed(broker, hostile.CORPUS[name])) == {(5, "bad-request")}
    else:
        assert fed(broker, hostile.CORPUS[name]) == ANSWERED.get(name, [(5, "bad-request")] if name in REFUSED else [])
    assert snapshot(broker.state) == before
    assert broker.take(b"t", b"u").result.body == b"0"


def test_ids_of_a_broken_frame_are_answered_as_far_as_they_can_be_read(broker: BrokerDriver) -> None:
    good = [7, 13, b"t", b"u", 2**62, []]
    requests = [good, [8], [9, "?"], ["10"], [], 11, [True], [-12], [2**63], [2**63 - 1]]
    mixed = wire._encode([1, 77, 1, requests])
    assert fed(broker, [mixed]) == [(each, "bad-request") for each in (7, 8, 9, 2**63 - 1)]


def test_nothing_of_a_broken_frame_is_executed() -> None:
    broker = make_target()
    good = [7, 13, b"t", b"u", 2**62, []]
    before = snapshot(broker.state)
    fed(broker, [wire._encode([1, IDENTITY.incarnation, 1, [good, good[:5]]])])
    assert snapshot(broker.state) == before


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("version", [1, 2])
def test_a_frame_with_far_too_many_requests_gets_a_bounded_number_of_answers(version: int) -> None:
    frame = wire._encode([version, 77, 1, [[5, 13, b"", b"", 0, []]] * 10_000])
    assert len(make_target().handle([frame]).replies) <= wire.MAX_REQUESTS


def valid_requests(broker: BrokerDriver) -> list[bytes]:
    """Frames that the target would take, of every kind."""
    until = broker.clock.now().mono + 10**12
    single = [
        request(0, Op.PING, b"", b"", 0, ops.Ping("fanmail", "b0")),
        request(1, Op.GOODBYE, b"", b"", 0, NOTHING),
        request(16, Op.STATS, b"", b"", 0, NOTHING),
        request(17, Op.SUBSCRIBE, b"t", b"w", until, NOTHING),
        request(18, Op.UNSUBSCRIBE, b"t", b"w", until, NOTHING),
        request(19, Op.PUBLISH, b"t", b"", until, ops.Publish(b"h", b"body")),
        request(20, Op.TAKE, b"t", b"u", until, NOTHING, "r1"),
        request(21, Op.TAKE, b"t", b"v", until, ops.Take(True, "0badcafe1", 2), "r" * 128),
        request(22, Op.FETCH, b"t", b"v", until, ops.Fetch(True, "0badcafe1", 2, 3, 1000, True)),
        request(23, Op.LOOK, b"t", b"u", until, NOTHING),
        request(24, Op.WAIT, b"t", b"u", until - 10**12 + 10**6, ops.Wait()),
        request(25, Op.WAIT, b"t", b"u", until, ops.Wait(3)),
        request(26, Op.SKIP, b"t", b"u", until, NOTHING),
        request(27, Op.PUBLISH, b"t", b"", until, ops.Publish(b"h", b"body", 1, b"", 900, 0, b"key", b"digest")),
        request(28, Op.PUBLISH, b"t", b"", until, ops.Publish(b"h", b"body", 1, b"", 0, 900)),
        request(29, Op.PUBLISH, b"t", b"", until, batch(b"one", b"two")),
        request(30, Op.TAKE, b"t", b"x", until, ops.Take(lease=2 * 10**6)),
        request(31, Op.FETCH, b"t", b"x", until, ops.Fetch(False, "", 0, 3, 1000, False, 2 * 10**6)),
        request(32, Op.CONFIGURE, b"t", b"x", until, ops.Settings(10**9, 1)),
        request(33, Op.FINISH, b"t", b"x", until, ops.Finish([ops.Receipt("0badcafe1", 6, 1)])),
        request(34, Op.EXTEND, b"t", b"x", until, ops.Extend(ops.Receipt("0badcafe1", 7, 1), 10**6)),
        request(35, Op.EXTEND, b"t", b"x", until, ops.Extend(ops.Receipt("0badcafe1", 8, 1), 0, 10**6)),
        request(36, Op.DEAD_LIST, b"t", b"x", until, ops.ListDead(0, 10, 1000)),
        request(37, Op.DEAD_RETURN, b"t", b"x", until, NOTHING),
        request(38, Op.DEAD_CLEAR, b"t", b"x", until, NOTHING),
        request(39, Op.CANCEL, b"t", b"u", until, ops.Cancel(25)),
        request(40, Op.TOPICS, b"", b"", until, ops.ListTopics(b"t", b"", 10, 1)),
        request(41, Op.TOPIC, b"t", b"", until, ops.DescribeTopic(b"", 10)),
        request(42, Op.TOPIC_CHANGE, b"t", b"", until, ops.ChangeTopic(["max_age"], ops.TopicSettings(max_age=10**9))),
        request(43, Op.USERS, b"t", b"", until, ops.ListUsers(b"", 10)),
        request(44, Op.USER, b"t", b"x", until, NOTHING),
        request(45, Op.PEEK, b"t", b"x", until, ops.Peek(10, 1000)),
        request(46, Op.PURGE, b"t", b"w", until, NOTHING),
        request(48, Op.PUBLISH_APART, b"t", b"", until, apart(b"one", b"two", keys=[b"", b"key"])),
    ]
    frames = [wire.pack_requests(IDENTITY.incarnation, 1, [each]) for each in single]
    together = wire.pack_requests(IDENTITY.incarnation, 1, single)
    return [*frames, together, wire.pack_requests(5, 9, single[3:])]


@pytest.mark.usefixtures("quiet")
def test_ten_thousand_hostile_messages_are_survived() -> None:
    rng = random.Random(20)
    broker = make_target()
    valid = valid_requests(broker)
    codes: set[str] = set()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(FUZZED):
        codes.update(code for _, code in fed(broker, hostile.message(rng, valid)))
        broker.clock.advance(0.001)
        if number % 1000 == 0:
            check_state(broker.state)
            assert snapshot(loaded(broker.store)) == snapshot(broker.state)
    check_state(broker.state)
    assert snapshot(loaded(broker.store)) == snapshot(broker.state)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 64 * 1024, "KiB of memory"
    assert {"", "bad-request", "wrong-incarnation", "expired", "no-subscription"} <= codes
    assert "internal" not in codes, "hostile bytes reach no handler"
    assert len(broker.dispatcher.counters) < 60


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_are_survived(frames: list[bytes]) -> None:
    fed(make_target(), frames)


# --- what is of the wire and asks for what nobody would


@pytest.mark.usefixtures("quiet")
def test_ten_thousand_absurd_requests_are_refused_or_harmless() -> None:
    rng = random.Random(22)
    broker = make_target()
    codes: Counter[str] = Counter()
    for number in range(FUZZED):
        op, user = rng.choice(hostile.OPERATIONS), rng.choice([b"u", b"v", b"x"])
        broker.subscribe(b"t", user)
        broker.publish(b"t", b"x")
        args = hostile.arguments(rng, op, broker.state.topics[b"t"].epoch)
        named = user if OPS[Op(op)].on_user else b""
        frame = wire._encode((1, IDENTITY.incarnation, 1, [(5, op, b"t", named, 2**62, args)]))
        codes.update(code for _, code in fed(broker, [frame]))
        broker.clock.advance(rng.choice([0, 0, 0, 0, 0.001, 0.1]) if rng.random() < 0.99 else 700)
        broker.settle()
        if number % 1000 == 0:
            check_state(broker.state)
            assert snapshot(loaded(broker.store)) == snapshot(broker.state)
    assert broker.state.memory <= broker.limits.memory
    assert broker.dispatcher.waiters.count < 1000
    assert codes["internal"] == 0
    expected = ("", "bad-request", "bad-parameter", "lease-lost", "leases-out", "cursor-lost")
    assert min(codes[code] for code in expected) > 0, codes


def test_a_thousand_receipts_of_one_message_are_answered_one_by_one() -> None:
    broker = make_target()
    broker.subscribe(b"t", b"w")
    broker.publish(b"t", b"9")
    good = receipt_of(broker.lease(b"t", b"w").result)
    others = [ops.Receipt(good.epoch, seq, attempt) for seq in hostile.NUMBERS for attempt in hostile.NUMBERS]
    codes = broker.finish(b"t", b"w", *others, *[good] * 1000)
    assert set(codes[: len(others)]) <= {"", "lease-lost", "bad-parameter"}
    assert codes[len(others) :] == [""] * 1000
    assert broker.look(b"t", b"w").result.leased == 0
    check_state(broker.state)


def test_absurd_receipts_of_leased_messages_end_nothing() -> None:
    broker = make_target()
    before = snapshot(broker.state)
    absurd = [seq for seq in hostile.NUMBERS if not 0 < seq < 9]
    codes = broker.finish(b"t", b"x", *[ops.Receipt("0badcafe1", seq, 1) for seq in absurd])
    assert set(codes) == {"bad-parameter"}
    wrong = [attempt for attempt in hostile.NUMBERS if attempt != 1]
    codes = broker.finish(b"t", b"x", *[ops.Receipt("0badcafe1", 7, attempt) for attempt in wrong])
    assert set(codes) == {"bad-parameter"}
    assert broker.finish(b"t", b"x", ops.Receipt("", 7, 1), ops.Receipt("0badcafe2", 7, 1)) == ["lease-lost"] * 2
    assert snapshot(broker.state) == before


def test_a_message_that_was_put_back_has_no_receipt_yet() -> None:
    broker = make_target()
    assert broker.ask(Op.DEAD_RETURN, b"t", b"x").result.count == 1
    assert broker.finish(b"t", b"x", ops.Receipt("0badcafe1", 6, 0)) == ["bad-parameter"]
    assert broker.lease(b"t", b"x").result.seq == 6


def test_the_most_distant_moments_are_only_far_away() -> None:
    broker = make_target()
    far = 2**60
    assert broker.ask(Op.PUBLISH, b"t", args=ops.Publish(b"", b"", 1, b"", far, far)).result.due_ms > far
    assert broker.ask(Op.PUBLISH, b"t", args=ops.Publish(b"", b"live", 1, b"", far)).result.seq == 9
    assert broker.configure(b"t", b"u", expires_after=far, max_deliveries=far).code == ""
    receipt = receipt_of(broker.ask(Op.TAKE, b"t", b"u", ops.Take(lease=far)).result)
    assert broker.ask(Op.EXTEND, b"t", b"u", ops.Extend(receipt, 0, far)).code == ""
    patience = broker.dispatcher.patience(broker.clock.now())
    assert patience is not None
    assert patience < 3_000_000, "another deadline is nearer"
    broker.elapse(10**7)
    check_state(broker.state)
    assert broker.lease(b"t", b"u").result.seq == 2, "the first one waits for its far day"
