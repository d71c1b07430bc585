"""The wire: its bytes as they stand for good, round trips, and what happens to bytes that are not of it."""

from __future__ import annotations

import logging
import os
import random
import resource
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct

from broker.limits import Limits
from common import ops, wire
from common.ops import OPS, Op
from common.wire import WireError
from tests.support import hostile
from tests.support.driver import IDENTITY, NOTHING, STORE_ID, BrokerDriver, loaded
from tests.support.mirror import MirrorStore
from tests.support.snapshot import check_state, snapshot

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
FUZZED = 1_000_000 if LONG else 10_000
INCARNATION = 2**40 + 5

request, reply, error = wire.pack_request, wire.pack_reply, wire.pack_error
MESSAGE = ops.Message("0badcafe1", 9, 1_700_000_000_000, 1, 2, b"\x91", b"body")


@pytest.fixture
def quiet() -> Iterator[None]:
    """Ten thousand refusals need no ten thousand lines."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# --- version 1, byte for byte: a change here is a new version, or cuts running neighbours off

GOLDEN_REQUESTS: dict[str, tuple[list[bytes], str]] = {
    "ping": (
        [request(0, Op.PING, b"", b"", 0, ops.Ping("fanmail", "b0"))],
        "9401cf00000100000000050791960001c400c4000092a766616e6d61696ca26230",
    ),
    "goodbye": (
        [request(1, Op.GOODBYE, b"", b"", 0, NOTHING)],
        "9401cf00000100000000050791960102c400c4000090",
    ),
    "stats": (
        [request(16, Op.STATS, b"", b"", 1000, NOTHING)],
        "9401cf00000100000000050791961003c400c400cd03e890",
    ),
    "three together": (
        [
            request(16, Op.SUBSCRIBE, b"t\xc3\xbc", b"u", 1000, NOTHING),
            request(17, Op.UNSUBSCRIBE, b"t", b"u", 1001, NOTHING),
            request(18, Op.TAKE, b"t", b"u", 2**33, NOTHING),
        ],
        "9401cf0000010000000005079396100ac40374c3bcc40175cd03e89096110bc40174c40175cd03e990"
        "96120dc40174c40175cf000000020000000090",
    ),
    "publish": (
        [request(19, Op.PUBLISH, b"t", b"", 1000, ops.Publish(b"\x91", b"body"))],
        "9401cf0000010000000005079196130cc40174c400cd03e894c40191c404626f647901c400",
    ),
    "take, plain and after": (
        [
            request(20, Op.TAKE, b"t", b"u", 1000, ops.Take()),
            request(21, Op.TAKE, b"t", b"u", 1000, ops.Take(True, "0badcafe1", 9)),
        ],
        "9401cf0000010000000005079296140dc40174c40175cd03e893c2a00096150dc40174c40175cd03e893c3a930626164636166653109",
    ),
    "look, wait, wait again, pass on": (
        [
            request(22, Op.LOOK, b"t", b"u", 1000, NOTHING),
            request(23, Op.WAIT, b"t", b"u", 2**33, ops.Wait()),
            request(24, Op.WAIT, b"t", b"u", 2**33, ops.Wait(300)),
            request(25, Op.PASS, b"t", b"u", 1000, NOTHING),
        ],
        "9401cf0000010000000005079496160ec40174c40175cd03e89096170fc40174c40175cf000000020000000091009618"
        "0fc40174c40175cf000000020000000091cd012c961910c40174c40175cd03e890",
    ),
    "fetch": (
        [
            request(26, Op.FETCH, b"t", b"u", 1000, ops.Fetch(True, "0badcafe1", 9, 1000, 2**23, True)),
        ],
        "9401cf00000100000000050791961a11c40174c40175cd03e896c3a930626164636166653109cd03e8ce00800000c3",
    ),
    "publish a batch": (
        [
            request(27, Op.PUBLISH, b"t", b"", 1000, ops.Publish(b"", b"\0\0\0\1x", 1, b"\0\0\0\0\5\0\0\0")),
        ],
        "9401cf00000100000000050791961b0cc40174c400cd03e894c400c405000000017801c4080000000005000000",
    ),
}
GOLDEN_REPLIES: dict[str, tuple[list[bytes], str]] = {
    "no reply, only what every frame carries": ([], "9601cf0000010000000005ce075bcd15010790"),
    "pong": (
        [reply(0, ops.Pong("fanmail", "b0"))],
        "9601cf0000010000000005ce075bcd150107919300a093a766616e6d61696ca2623000",
    ),
    "goodbye and stats": (
        [reply(1, NOTHING), reply(16, ops.Stats({"topics": 3}))],
        "9601cf0000010000000005ce075bcd150107929301a0909310a09181a6746f7069637303",
    ),
    "subscribed, subscribed already, nothing there": (
        [reply(16, ops.Subscribed(True)), reply(17, ops.Subscribed(False)), reply(18, None)],
        "9601cf0000010000000005ce075bcd150107939310a091c39311a091c29312a0c0",
    ),
    "published": (
        [reply(19, ops.Published(3, "0badcafe1", 9))],
        "9601cf0000010000000005ce075bcd150107919313a09303a930626164636166653109",
    ),
    "message": (
        [reply(20, MESSAGE)],
        "9601cf0000010000000005ce075bcd150107919314a097a930626164636166653109cf0000018bcfe568000102c40191c404626f6479",
    ),
    "error": (
        [error(21, "no-subscription", "why")],
        "9601cf0000010000000005ce075bcd150107919315af6e6f2d737562736372697074696f6ea3776879",
    ),
    "status, look now, nothing": (
        [
            reply(22, ops.Status(3, "0badcafe1", 9)),
            reply(23, ops.Look(True, 300)),
            reply(24, ops.Look(False, 0)),
        ],
        "9601cf0000010000000005ce075bcd150107939316a09303a9306261646361666531099317a092c3cd012c9318a092c200",
    ),
    "batch": (
        [
            reply(26, ops.Batch("0badcafe1", 2, [ops.Run(9, 1, 1_700_000_000_000, b"\x91", b"\0\0\0\1x")])),
        ],
        "9601cf0000010000000005ce075bcd15010791931aa093a93062616463616665310291950901cf0000018bcfe56800c4"
        "0191c4050000000178",
    ),
    "error with a field": (
        [
            error(21, "cursor-lost", "why", {"oldest": "0badcafe1-9"}),
        ],
        "9601cf0000010000000005ce075bcd150107919315ab637572736f722d6c6f737492a377687981a66f6c64657374ab30"
        "62616463616665312d39",
    ),
}


@pytest.mark.parametrize("name", GOLDEN_REQUESTS)
def test_request_frames_have_these_bytes(name: str) -> None:
    packed, expected = GOLDEN_REQUESTS[name]
    frame = wire.pack_requests(INCARNATION, 7, packed)
    assert frame.hex() == expected
    seen = wire.unpack_requests([frame])
    assert (seen.version, seen.incarnation, seen.map_epoch) == (1, INCARNATION, 7)
    assert len(seen.requests) == len(packed)


@pytest.mark.parametrize("name", GOLDEN_REPLIES)
def test_reply_frames_have_these_bytes(name: str) -> None:
    packed, expected = GOLDEN_REPLIES[name]
    frame = wire.pack_replies(INCARNATION, 123_456_789, 1, 7, packed)
    assert frame.hex() == expected
    seen = wire.unpack_replies([frame])
    assert (seen.version, seen.incarnation, seen.clock, seen.state, seen.map_epoch) == (
        1,
        INCARNATION,
        123_456_789,
        1,
        7,
    )
    assert len(seen.replies) == len(packed)


def test_numbers_of_operations_and_states_are_never_given_out_again() -> None:
    assert {op.name: int(op) for op in Op} == {
        "PING": 1,
        "GOODBYE": 2,
        "STATS": 3,
        "SUBSCRIBE": 10,
        "UNSUBSCRIBE": 11,
        "PUBLISH": 12,
        "TAKE": 13,
        "LOOK": 14,
        "WAIT": 15,
        "PASS": 16,
        "FETCH": 17,
    }
    assert [(state.name, int(state)) for state in wire.BrokerState] == [
        ("LOADING", 0),
        ("READY", 1),
        ("DRAINING", 2),
    ]


# --- round trips

NUMBERS = st.integers(-(2**63), 2**64 - 1)
TEXTS, BYTES = st.text(max_size=20), st.binary(max_size=200)
ARGS: dict[Op, st.SearchStrategy[Struct]] = dict.fromkeys(Op, st.just(NOTHING)) | {
    Op.PING: st.builds(ops.Ping, TEXTS, TEXTS),
    Op.PUBLISH: st.builds(ops.Publish, BYTES, BYTES, NUMBERS, BYTES),
    Op.TAKE: st.builds(ops.Take, st.booleans(), TEXTS, NUMBERS),
    Op.FETCH: st.builds(ops.Fetch, st.booleans(), TEXTS, NUMBERS, NUMBERS, NUMBERS, st.booleans()),
    Op.WAIT: st.builds(ops.Wait, NUMBERS),
}
RUNS = st.builds(ops.Run, NUMBERS, NUMBERS, NUMBERS, BYTES, BYTES)
REQUESTS = st.sampled_from(Op).flatmap(
    lambda op: st.tuples(NUMBERS, st.just(op), st.binary(max_size=1024), st.binary(max_size=1024), NUMBERS, ARGS[op])
)
RESULTS: dict[Op, st.SearchStrategy[Struct | None]] = {
    Op.PING: st.builds(ops.Pong, st.text(max_size=20), st.text(max_size=20)),
    Op.GOODBYE: st.just(NOTHING),
    Op.STATS: st.builds(ops.Stats, st.dictionaries(st.text(max_size=20), NUMBERS)),
    Op.SUBSCRIBE: st.builds(ops.Subscribed, st.booleans()),
    Op.UNSUBSCRIBE: st.just(NOTHING),
    Op.PUBLISH: st.builds(ops.Published, NUMBERS, st.text(max_size=20), NUMBERS),
    Op.LOOK: st.builds(ops.Status, NUMBERS, TEXTS, NUMBERS),
    Op.WAIT: st.builds(ops.Look, st.booleans(), NUMBERS),
    Op.PASS: st.just(NOTHING),
    Op.FETCH: st.none() | st.builds(ops.Batch, TEXTS, NUMBERS, st.lists(RUNS, max_size=3)),
    Op.TAKE: st.none()
    | st.builds(
        ops.Message,
        st.text(max_size=20),
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        st.binary(max_size=100),
        st.binary(max_size=500),
    ),
}


@given(NUMBERS, NUMBERS, st.lists(REQUESTS, max_size=wire.MAX_REQUESTS))
def test_requests_come_out_as_they_went_in(incarnation: int, epoch: int, sent: list[Any]) -> None:
    frame = wire.unpack_requests([wire.pack_requests(incarnation, epoch, [request(*each) for each in sent])])
    assert (frame.incarnation, frame.map_epoch) == (incarnation, epoch)
    assert [
        (each.id, each.op, each.topic, each.user, each.deadline, wire.unpack_args(each)) for each in frame.requests
    ] == sent


@given(st.lists(st.sampled_from(Op).flatmap(lambda op: st.tuples(st.just(op), NUMBERS, RESULTS[op]))))
def test_results_come_out_as_they_went_in(sent: list[tuple[Op, int, Any]]) -> None:
    packed = [reply(number, result) for _, number, result in sent]
    frame = wire.unpack_replies([wire.pack_replies(1, 2, 2, 3, packed)])
    seen = [
        (op, each.id, wire.unpack_result(op, each.result)) for (op, _, _), each in zip(sent, frame.replies, strict=True)
    ]
    assert seen == sent
    assert all(each.code == "" for each in frame.replies)


@given(NUMBERS, st.text(max_size=40), st.text(max_size=500))
def test_errors_come_out_as_they_went_in(number: int, code: str, detail: str) -> None:
    (seen,) = wire.unpack_replies([wire.pack_replies(1, 2, 1, 3, [error(number, code, detail)])]).replies
    assert (seen.id, seen.code, wire.unpack_error(seen.code, seen.result).detail) == (number, code, detail)


@given(NUMBERS, st.text(max_size=40), st.dictionaries(st.sampled_from(["oldest", "limit", "x"]), TEXTS | NUMBERS))
def test_fields_of_errors_come_out_as_they_went_in(number: int, detail: str, fields: dict[str, Any]) -> None:
    packed = error(number, "cursor-lost", detail, fields)
    (seen,) = wire.unpack_replies([wire.pack_replies(1, 2, 1, 3, [packed])]).replies
    caught = wire.unpack_error(seen.code, seen.result)
    assert (caught.code, caught.detail, caught.fields) == ("cursor-lost", detail, fields)


@pytest.mark.parametrize("name", ["self", "code", "detail", "fields", "", "not a name", "args", "__init__"])
def test_any_name_of_a_field_is_survived(name: str) -> None:
    caught = wire.unpack_error("cursor-lost", Raw(wire._encode(("why", {name: "x"}))))
    assert (caught.code, caught.detail) == ("cursor-lost", "why")


def test_arguments_of_an_earlier_front_are_understood() -> None:
    """A front of before `after` and batches sends no arguments with TAKE, and two with PUBLISH."""
    for op, args, wanted in (
        (Op.TAKE, [], ops.Take(False, "", 0)),
        (Op.PUBLISH, [b"h", b"b"], ops.Publish(b"h", b"b", 1, b"")),
        (Op.WAIT, [], ops.Wait(0)),
    ):
        frame = wire._encode((1, 77, 1, [(5, int(op), b"t", b"u", 9, args)]))
        assert wire.unpack_args(wire.unpack_requests([frame]).requests[0]) == wanted


def test_a_full_frame_is_taken_and_one_request_more_is_not() -> None:
    one = request(5, Op.TAKE, b"t", b"u", 1, NOTHING)
    assert len(wire.unpack_requests([wire.pack_requests(1, 1, [one] * wire.MAX_REQUESTS)]).requests) == 64
    with pytest.raises(WireError, match="too many requests") as caught:
        wire.unpack_requests([wire.pack_requests(1, 1, [one] * (wire.MAX_REQUESTS + 1))])
    assert set(caught.value.ids) == {5}


@pytest.mark.parametrize("parts", [0, 3, 4, 100])
def test_a_message_has_one_or_two_parts(parts: int) -> None:
    frame = wire.pack_requests(1, 1, [])
    for unpack in (wire.unpack_requests, wire.unpack_replies):
        with pytest.raises(WireError, match=f"1 or 2 frames, not {parts}"):
            unpack([frame] * parts)


def test_a_reply_of_a_later_version_is_refused() -> None:
    with pytest.raises(WireError, match="version 2"):
        wire.unpack_replies([wire._encode((2, 1, 1, 1, 1, []))])


def test_fields_that_a_later_version_adds_are_passed_over() -> None:
    frame = wire._encode((1, 77, 1, [(5, 13, b"t", b"u", 9, [], "later")], {"later": 1}))
    (seen,) = wire.unpack_requests([frame]).requests
    assert (seen.id, wire.unpack_args(seen)) == (5, ops.Take())
    answers = wire._encode((1, 77, 1, 1, 1, [(5, "", [True, "later"], "later")], "later"))
    (answer,) = wire.unpack_replies([answers]).replies
    assert wire.unpack_result(Op.SUBSCRIBE, answer.result) == ops.Subscribed(True)


@pytest.mark.parametrize("op", list(Op))
def test_a_result_of_another_operation_is_refused(op: Op) -> None:
    with pytest.raises(WireError, match=f"result of operation {op:d}"):
        wire.unpack_result(op, Raw(wire._encode("not a result")))


def test_a_detail_that_is_no_text_is_left_out() -> None:
    for packed in (b"\xc0", b"\x91\x01", b"\xa1\xff", b"\x91" * hostile.DEEP, b""):
        assert wire.unpack_error("internal", Raw(packed)).detail == ""


# --- what is not of the wire


def make_target() -> BrokerDriver:
    """A broker with a little in it, little room, and a store that knows only what records tell."""
    limits = Limits(topics=20, subscriptions=40, topic_messages=50, topic_bytes=10**6, memory=10**7)
    broker = BrokerDriver(limits, MirrorStore(STORE_ID))
    for user in (b"u", b"v"):
        broker.subscribe(b"t", user)
    for number in range(5):
        broker.publish(b"t", b"%d" % number)
    broker.commit()
    return broker


def fed(broker: BrokerDriver, frames: list[bytes]) -> list[tuple[int, str]]:
    """Hands over one hostile message and gives ids and codes of what comes back.

    The state changes only where a success says so.
    """
    arrived = broker.handle(frames)
    packed = [each.packed for each in arrived.replies]
    assert sum(map(len, packed)) <= 64 * 1024 + 2 * sum(map(len, frames))
    seen = wire.unpack_replies([wire.pack_replies(1, 1, 1, 1, packed)]).replies
    assert all(type(each.id) is int for each in seen)
    if all(each.code for each in seen):
        assert not broker.dispatcher.core.records
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
}
"""Cases of the corpus in which ids can be read."""


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", hostile.CORPUS)
def test_a_hostile_message_is_survived_and_answered_where_it_can_be(name: str) -> None:
    broker = make_target()
    before = snapshot(broker.state)
    if name == "sixty-five requests":
        assert set(fed(broker, hostile.CORPUS[name])) == {(5, "bad-request")}
    else:
        assert fed(broker, hostile.CORPUS[name]) == ANSWERED.get(name, [])
    assert snapshot(broker.state) == before
    assert broker.take(b"t", b"u").result.body == b"0"


@pytest.mark.parametrize("name", hostile.CORPUS)
def test_a_hostile_reply_is_a_wire_error_or_nothing(name: str) -> None:
    read_reply(hostile.CORPUS[name])


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
        request(20, Op.TAKE, b"t", b"u", until, NOTHING),
        request(21, Op.TAKE, b"t", b"v", until, ops.Take(True, "0badcafe1", 2)),
        request(22, Op.FETCH, b"t", b"v", until, ops.Fetch(True, "0badcafe1", 2, 3, 1000, True)),
        request(23, Op.LOOK, b"t", b"u", until, NOTHING),
        request(24, Op.WAIT, b"t", b"u", until - 10**12 + 10**6, ops.Wait()),
        request(25, Op.WAIT, b"t", b"u", until, ops.Wait(3)),
        request(26, Op.PASS, b"t", b"u", until, NOTHING),
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
    assert len(broker.dispatcher.counters) < 40


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_are_survived(frames: list[bytes]) -> None:
    fed(make_target(), frames)


def read_reply(frames: list[bytes]) -> int:
    """Reads a message as a front does; how many replies were in it."""
    try:
        replies = wire.unpack_replies(frames).replies
    except WireError:
        return 0
    for each in replies:
        assert isinstance(wire.unpack_error(each.code, each.result).detail, str)
        for op in OPS:
            with suppress(WireError):
                wire.unpack_result(op, each.result)
    return len(replies)


def test_ten_thousand_hostile_replies_are_wire_errors_or_nothing() -> None:
    rng = random.Random(21)
    valid = [wire.pack_replies(77, 10**9, 1, 1, packed) for packed, _ in GOLDEN_REPLIES.values() if packed]
    understood = sum(read_reply(hostile.message(rng, valid)) > 0 for _ in range(FUZZED))
    assert 0 < understood < FUZZED
