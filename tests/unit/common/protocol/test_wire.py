"""The wire: round trips, neighbours one version apart, and what happens to bytes that are not of it."""

from __future__ import annotations

import os
import random
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from hypothesis import find, given
from hypothesis import strategies as st
from msgspec import Raw, Struct
from msgspec.structs import astuple

from common.protocol import move_ops as moves
from common.protocol import ops, wire
from common.protocol.ops import OPS, Op
from common.protocol.wire import BrokerState, WireError
from tests.support import hostile
from tests.support.driver import NOTHING
from tests.support.table import table
from tests.unit.common.protocol.test_wire_bytes import GOLDEN_REPLIES

FUZZED = 1_000_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 10_000

request, reply, error = wire.pack_request, wire.pack_reply, wire.pack_error


# --- round trips

NUMBERS = st.integers(-(2**63), 2**64 - 1)
AMOUNTS = st.integers(0, 2**60)
TEXTS, BYTES = st.text(max_size=20), st.binary(max_size=200)
SETTINGS = st.builds(ops.Settings, st.none() | AMOUNTS, st.none() | AMOUNTS)
RECEIPTS = st.builds(ops.Receipt, TEXTS, NUMBERS, NUMBERS)
TOPIC_SETTINGS = st.builds(ops.TopicSettings, *[st.none() | AMOUNTS] * 3, st.none() | st.booleans())
TOPIC_ROWS = st.builds(ops.TopicRow, BYTES, TEXTS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
USER_ROWS = st.builds(ops.UserRow, BYTES, *[NUMBERS] * 7)
PEEKED = st.builds(ops.Peeked, NUMBERS, NUMBERS, NUMBERS, TEXTS, BYTES, BYTES)
SLOT, BROKER = st.integers(0, 1023), st.text(min_size=1, max_size=63)
MOVE_ROWS = st.builds(moves.MoveRow, NUMBERS, TEXTS, TEXTS, NUMBERS, TEXTS, NUMBERS, NUMBERS, TEXTS)
SLOT_TABLES = st.builds(
    moves.SlotTable,
    *(TEXTS, TEXTS, NUMBERS, TEXTS, NUMBERS),
    st.lists(st.builds(moves.SlotRun, SLOT, SLOT, AMOUNTS), max_size=2),
    st.lists(st.builds(moves.SlotPointer, SLOT, BROKER, AMOUNTS), max_size=2),
    st.lists(MOVE_ROWS, max_size=2),
    st.lists(st.builds(moves.SlotSize, *[NUMBERS] * 4), max_size=2),
    NUMBERS,
    st.booleans(),
)
ARGS: dict[Op, st.SearchStrategy[Struct]] = dict.fromkeys(Op, st.just(NOTHING)) | {
    Op.PING: st.builds(ops.Ping, TEXTS, TEXTS),
    Op.BACKUP: st.builds(ops.Backup, TEXTS),
    Op.BACKUP_READ: st.builds(ops.ReadBackup, TEXTS, NUMBERS, NUMBERS),
    Op.HAND_OVER: st.builds(ops.HandOver, TEXTS),
    Op.SUBSCRIBE: SETTINGS,
    Op.CONFIGURE: SETTINGS,
    Op.PUBLISH: st.builds(ops.Publish, BYTES, BYTES, NUMBERS, BYTES, AMOUNTS, AMOUNTS, BYTES, st.binary(max_size=16)),
    Op.PUBLISH_APART: st.builds(
        ops.PublishApart,
        *(BYTES, BYTES, NUMBERS, BYTES, AMOUNTS, st.lists(BYTES, max_size=3)),
        st.lists(st.binary(max_size=16), max_size=3),
    ),
    Op.TAKE: st.builds(ops.Take, st.booleans(), TEXTS, NUMBERS, AMOUNTS),
    Op.FETCH: st.builds(ops.Fetch, st.booleans(), TEXTS, NUMBERS, NUMBERS, NUMBERS, st.booleans(), *[AMOUNTS] * 3),
    Op.WAIT: st.builds(ops.Wait, NUMBERS, AMOUNTS, TEXTS, AMOUNTS),
    Op.STREAM: st.builds(ops.OpenStream, st.booleans(), TEXTS, NUMBERS),
    Op.CONFIRM: st.builds(ops.Confirm, TEXTS, NUMBERS, AMOUNTS),
    Op.CANCEL: st.builds(ops.Cancel, NUMBERS, AMOUNTS),
    Op.FINISH: st.builds(ops.Finish, st.lists(RECEIPTS, max_size=5)),
    Op.EXTEND: st.builds(ops.Extend, RECEIPTS, AMOUNTS, AMOUNTS),
    Op.DEAD_LIST: st.builds(ops.ListDead, NUMBERS, NUMBERS, NUMBERS),
    Op.TOPICS: st.builds(ops.ListTopics, BYTES, BYTES, NUMBERS, NUMBERS),
    Op.TOPIC: st.builds(ops.DescribeTopic, BYTES, NUMBERS),
    Op.TOPIC_CHANGE: st.builds(ops.ChangeTopic, st.lists(TEXTS, max_size=4), TOPIC_SETTINGS),
    Op.TOPIC_END: st.builds(ops.EndTopic, NUMBERS),
    Op.USERS: st.builds(ops.ListUsers, BYTES, NUMBERS),
    Op.PEEK: st.builds(ops.Peek, NUMBERS, NUMBERS),
    Op.PAUSE: st.builds(ops.Pause, st.booleans()),
    Op.DELAYED_TOPICS: st.builds(ops.ListDelayedTopics, BYTES, NUMBERS),
    Op.DELAYED: st.builds(ops.ListDelayed, NUMBERS, NUMBERS, NUMBERS),
    Op.DELAYED_END: st.builds(ops.EndDelayed, NUMBERS, NUMBERS),
    Op.DELAYED_CLEAR: st.builds(ops.ClearDelayed, NUMBERS),
    Op.MOVE: st.builds(moves.MoveSlot, SLOT, BROKER),
    Op.MOVE_ABORT: st.builds(moves.AbortMove, SLOT),
    Op.SLOTS: st.builds(moves.ListSlots, st.integers(-1, 1024)),
    Op.CLAIM: st.builds(moves.ClaimSlots, st.lists(SLOT, min_size=1, max_size=3), st.integers(1, 2**60)),
    Op.OFFER: st.builds(moves.OfferSlot, BROKER, SLOT, *[AMOUNTS] * 8),
    Op.ADOPT: st.builds(
        moves.Adopt, BROKER, SLOT, AMOUNTS, AMOUNTS, st.integers(1, 9), st.booleans(), AMOUNTS, AMOUNTS, BYTES
    ),
    Op.MOVE_ASK: st.builds(moves.AskMove, BROKER, SLOT, AMOUNTS, AMOUNTS),
    Op.MOVES_PAUSE: st.builds(moves.PauseMoves, st.booleans()),
    Op.SLOTS_DROP: st.builds(moves.DropSlots, st.lists(SLOT, min_size=1, max_size=3)),
}
OTHERS = st.lists(st.tuples(TEXTS, NUMBERS, NUMBERS, NUMBERS), max_size=2)
RUNS = st.builds(ops.Run, NUMBERS, NUMBERS, NUMBERS, BYTES, BYTES, NUMBERS)
DELAYED_TOPICS = st.builds(ops.DelayedTopicRow, BYTES, NUMBERS, NUMBERS)
DELAYED = st.builds(ops.DelayedRow, *[NUMBERS] * 5, BYTES, BYTES, st.booleans())
LETTERS = st.builds(ops.DeadLetter, NUMBERS, NUMBERS, NUMBERS, BYTES, BYTES)
REQUESTS = st.sampled_from(Op).flatmap(
    lambda op: st.tuples(NUMBERS, st.just(op), st.binary(max_size=1024), st.binary(max_size=1024), NUMBERS, ARGS[op])
)
RESULTS: dict[Op, st.SearchStrategy[Struct | None]] = dict.fromkeys(Op, st.just(NOTHING)) | {
    Op.PING: st.builds(ops.Pong, TEXTS, TEXTS, NUMBERS),
    Op.STATS: st.builds(ops.Stats, st.dictionaries(TEXTS, NUMBERS)),
    Op.BACKUP: st.builds(ops.BackupProgress, TEXTS, NUMBERS, NUMBERS, st.booleans()),
    Op.BACKUP_READ: st.builds(ops.BackupPart, BYTES, NUMBERS),
    Op.REPLICA: st.builds(ops.Replica, *[TEXTS] * 4, *[NUMBERS] * 7, st.lists(TEXTS, max_size=2), OTHERS),
    Op.SUBSCRIBE: st.builds(ops.Subscribed, st.booleans()),
    Op.PUBLISH: st.builds(ops.Published, NUMBERS, TEXTS, NUMBERS, NUMBERS, st.booleans()),
    Op.PUBLISH_APART: st.builds(
        ops.PublishedApart,
        *(NUMBERS, TEXTS, NUMBERS, st.lists(st.tuples(NUMBERS, TEXTS, TEXTS), max_size=2)),
        st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=2),
    ),
    Op.LOOK: st.builds(ops.Status, NUMBERS, TEXTS, NUMBERS, NUMBERS, NUMBERS),
    Op.WAIT: st.builds(ops.WaitResult, st.booleans(), NUMBERS),
    Op.FETCH: st.none() | st.builds(ops.Batch, TEXTS, NUMBERS, st.lists(RUNS, max_size=3), NUMBERS),
    Op.STREAM: st.builds(ops.StreamOpened, NUMBERS, TEXTS, NUMBERS),
    Op.CONFIRM: st.builds(ops.Confirmed, st.booleans()),
    Op.TAKE: st.none() | st.builds(ops.Message, TEXTS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, BYTES, BYTES),
    Op.FINISH: st.builds(ops.Finished, st.lists(TEXTS, max_size=5)),
    Op.DEAD_LIST: st.builds(ops.DeadLetters, TEXTS, NUMBERS, st.lists(LETTERS, max_size=3)),
    Op.DEAD_RETURN: st.builds(ops.Counted, NUMBERS),
    Op.DEAD_CLEAR: st.builds(ops.Counted, NUMBERS),
    Op.TOPICS: st.builds(ops.TopicPage, st.lists(TOPIC_ROWS, max_size=3), BYTES, st.booleans()),
    Op.TOPIC: st.builds(
        ops.TopicInfo,
        TOPIC_ROWS,
        NUMBERS,
        NUMBERS,
        TOPIC_SETTINGS,
        TOPIC_SETTINGS,
        st.lists(BYTES, max_size=3),
        BYTES,
        st.booleans(),
    ),
    Op.TOPIC_END: st.builds(ops.Ended, NUMBERS, NUMBERS),
    Op.USERS: st.builds(ops.UserPage, st.lists(USER_ROWS, max_size=3), BYTES, st.booleans()),
    Op.USER: USER_ROWS,
    Op.PEEK: st.builds(ops.PeekedAll, TEXTS, st.lists(PEEKED, max_size=3)),
    Op.PURGE: st.builds(ops.Counted, NUMBERS),
    Op.DELAYED_TOPICS: st.builds(ops.DelayedTopicPage, st.lists(DELAYED_TOPICS, max_size=3), BYTES, st.booleans()),
    Op.DELAYED: st.builds(ops.DelayedPage, st.lists(DELAYED, max_size=3), NUMBERS, st.booleans()),
    Op.DELAYED_END: st.builds(ops.Counted, NUMBERS),
    Op.DELAYED_CLEAR: st.builds(ops.Ended, NUMBERS, NUMBERS),
    Op.MOVE: MOVE_ROWS,
    Op.MOVE_ABORT: MOVE_ROWS,
    Op.SLOTS: SLOT_TABLES,
    Op.CLAIM: SLOT_TABLES,
    Op.ADOPT: st.builds(moves.Adopted, AMOUNTS, AMOUNTS),
    Op.MOVE_ASK: st.builds(moves.MoveOutcome, st.booleans(), AMOUNTS, TEXTS),
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


@table("name", ["self", "code", "detail", "fields", "", "not a name", "args", "__init__"])
def test_any_name_of_a_field_is_survived(name: str) -> None:
    caught = wire.unpack_error("cursor-lost", Raw(wire._encode(("why", {name: "x"}))))
    assert (caught.code, caught.detail) == ("cursor-lost", "why")


def test_every_result_of_the_table_is_made_here() -> None:
    for op in Op:
        made = find(RESULTS[op], lambda result: result is not None)
        assert type(made) is OPS[op].result


@table(
    ("op", "args", "wanted"),
    [
        (Op.TAKE, [], ops.Take(False, "", 0, 0)),
        (Op.TAKE, [True, "e1", 3], ops.Take(True, "e1", 3, 0)),
        (Op.PUBLISH, [b"h", b"b"], ops.Publish(b"h", b"b", 1, b"", 0, 0, b"", b"")),
        (Op.PUBLISH, [b"h", b"b", 1, b"o"], ops.Publish(b"h", b"b", 1, b"o", 0, 0, b"", b"")),
        (Op.FETCH, [True, "e1", 3, 5, 100, True], ops.Fetch(True, "e1", 3, 5, 100, True, 0)),
        (Op.SUBSCRIBE, [], ops.Settings(None, None)),
        (Op.WAIT, [], ops.Wait(0)),
    ],
)
def test_arguments_of_an_earlier_front_are_understood(op: Op, args: list[Any], wanted: Struct) -> None:
    """Of before `after` and batches, and of before leases."""
    frame = wire._encode((1, 77, 1, [(5, int(op), b"t", b"u", 9, args)]))
    assert wire.unpack_args(wire.unpack_requests([frame]).requests[0]) == wanted


def test_a_front_that_names_no_http_request_is_understood_and_needs_no_room_for_it() -> None:
    packed = wire._encode((5, int(Op.TAKE), b"t", b"u", 9, []))
    assert wire.unpack_requests([wire.pack_requests(1, 1, [packed])]).requests[0].request_id == ""
    assert request(5, Op.TAKE, b"t", b"u", 9, NOTHING) == packed


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=wire.MAX_REQUEST_ID))
def test_the_id_of_an_http_request_comes_out_as_it_went_in(request_id: str) -> None:
    packed = request(5, Op.TAKE, b"t", b"u", 9, NOTHING, request_id)
    assert wire.unpack_requests([wire.pack_requests(1, 1, [packed])]).requests[0].request_id == request_id


@given(st.text(max_size=200))
def test_an_id_that_could_break_a_line_of_a_log_is_refused(request_id: str) -> None:
    good = len(request_id) <= wire.MAX_REQUEST_ID and all("!" <= each <= "~" for each in request_id)
    packed = [request(number, Op.TAKE, b"t", b"u", 9, NOTHING, each) for number, each in enumerate(["r1", request_id])]
    with nullcontext() if good else pytest.raises(WireError) as caught:
        wire.unpack_requests([wire.pack_requests(1, 1, packed)])
    assert good or caught.value.ids == (0, 1)


@table(
    ("op", "result", "wanted"),
    [
        (Op.PUBLISH, [3, "e1", 9], ops.Published(3, "e1", 9, 0, False)),
        (Op.LOOK, [3, "e1", 9], ops.Status(3, "e1", 9, 0, 0)),
        (Op.FETCH, ["e1", 0, [[9, 1, 5, b"h", b"b"]]], ops.Batch("e1", 0, [ops.Run(9, 1, 5, b"h", b"b", 1)])),
        (Op.PING, ["fanmail", "b0"], ops.Pong("fanmail", "b0", 0)),
    ],
)
def test_results_of_an_earlier_broker_are_understood(op: Op, result: list[Any], wanted: Struct) -> None:
    assert wire.unpack_result(op, Raw(wire._encode(result))) == wanted


SPANS = [(0, True), (2**60, True), (2**60 + 1, False), (2**64 - 1, False), (-1, False), (-(2**63), False)]


@table(("span", "good"), SPANS)
@table(
    ("op", "args"),
    [
        (Op.TAKE, [False, "", 0, ...]),
        (Op.FETCH, [False, "", 0, 1, 1, False, ...]),
        (Op.PUBLISH, [b"", b"", 1, b"", ..., 0]),
        (Op.PUBLISH, [b"", b"", 1, b"", 0, ...]),
        (Op.SUBSCRIBE, [..., None]),
        (Op.CONFIGURE, [None, ...]),
        (Op.EXTEND, [["e1", 1, 1], ..., 0]),
        (Op.EXTEND, [["e1", 1, 1], 0, ...]),
    ],
)
def test_a_span_that_no_clock_could_bear_is_refused(op: Op, args: list[Any], span: int, good: bool) -> None:
    """Added to a clock it must still be a number of the wire and of a store: 2**60 us are 36,000 years."""
    packed = Raw(wire._encode([span if each is ... else each for each in args]))
    asked = wire.Request(5, op, b"t", b"u", 1, packed)
    if good:
        assert span in astuple(wire.unpack_args(asked))
    else:
        with pytest.raises(WireError, match=f"arguments of operation {op:d}"):
            wire.unpack_args(asked)


@table(("key", "digest", "good"), [(255, 16, True), (256, 16, False), (255, 17, False)])
def test_keys_and_digests_have_a_longest(key: int, digest: int, good: bool) -> None:
    packed = Raw(wire._encode([b"", b"", 1, b"", 0, 0, b"k" * key, b"d" * digest]))
    with nullcontext() if good else pytest.raises(WireError, match="length <= "):
        wire.unpack_args(wire.Request(5, Op.PUBLISH, b"t", b"", 1, packed))


def test_a_full_frame_is_taken_and_one_request_more_is_not() -> None:
    one = request(5, Op.TAKE, b"t", b"u", 1, NOTHING)
    assert len(wire.unpack_requests([wire.pack_requests(1, 1, [one] * wire.MAX_REQUESTS)]).requests) == 64
    with pytest.raises(WireError, match="too many requests") as caught:
        wire.unpack_requests([wire.pack_requests(1, 1, [one] * (wire.MAX_REQUESTS + 1))])
    assert set(caught.value.ids) == {5}


@table("parts", [0, 3, 4, 100])
def test_a_message_has_one_or_two_parts(parts: int) -> None:
    frame = wire.pack_requests(1, 1, [])
    for unpack in (wire.unpack_requests, wire.unpack_replies):
        with pytest.raises(WireError, match=f"1 or 2 frames, not {parts}"):
            unpack([frame] * parts)


def test_a_reply_of_a_later_version_is_refused() -> None:
    with pytest.raises(WireError, match="version 2"):
        wire.unpack_replies([wire._encode((2, 1, 1, 1, 1, []))])


def test_fields_that_a_later_version_adds_are_passed_over() -> None:
    frame = wire._encode((1, 77, 1, [(5, 13, b"t", b"u", 9, [], "r1", "later")], 0, {"later": 1}))
    (seen,) = wire.unpack_requests([frame]).requests
    assert (seen.id, wire.unpack_args(seen), seen.request_id) == (5, ops.Take(), "r1")
    answers = wire._encode((1, 77, 1, 1, 1, [(5, "", [True, "later"], "later")], 0, 3, "later"))
    (answer,) = wire.unpack_replies([answers]).replies
    assert wire.unpack_result(Op.SUBSCRIBE, answer.result) == ops.Subscribed(True)


def test_the_term_of_a_log_is_0_where_the_sender_has_none() -> None:
    for sent in (0, 5):
        assert wire.unpack_replies([wire.pack_replies(77, 1, 1, 1, [], sent)]).term == 0
        seen = wire.unpack_replies([wire.pack_replies(77, 1, BrokerState.STANDBY, 1, [], sent, 9)])
        assert (seen.sent, seen.term, seen.state) == (sent, 9, 3)


@table("op", list(Op))
def test_a_result_of_another_operation_is_refused(op: Op) -> None:
    with pytest.raises(WireError, match=f"result of operation {op:d}"):
        wire.unpack_result(op, Raw(wire._encode("not a result")))


def test_a_detail_that_is_no_text_is_left_out() -> None:
    for packed in (b"\xc0", b"\x91\x01", b"\xa1\xff", b"\x91" * hostile.DEEP, b""):
        assert wire.unpack_error("internal", Raw(packed)).detail == ""


# --- replies that are not of the wire


@table("name", hostile.CORPUS)
def test_a_hostile_reply_is_a_wire_error_or_nothing(name: str) -> None:
    read_reply(hostile.CORPUS[name])


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
