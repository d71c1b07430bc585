"""Batches: read and checked by the front, opaque to the broker, cut where asked."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from struct import pack
from typing import Any

import falcon
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.state.piece import offsets_fit
from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.formats.batch import FRAMES, as_ndjson, bodies, choose_format, present_batch, read_batch
from httpfront.formats.metadata import pack_headers
from httpfront.formats.ndjson import NDJSON
from tests.support.counting import calls_of
from tests.support.driver import ROOMY, BrokerDriver
from tests.support.table import table

PLENTY = 10**9


def frames(*messages: bytes) -> bytes:
    return b"".join(pack(">I", len(each)) + each for each in messages)


def refusal(form: str, body: bytes) -> FanmailError:
    with pytest.raises(FanmailError) as caught:
        read_batch(form, body, max_body=10, max_messages=3)
    return caught.value


def batch(*messages: bytes, headers: bytes = b"") -> ops.Publish:
    args = read_batch("frames", frames(*messages), PLENTY, PLENTY)
    args.headers = headers
    return args


def fetch(broker: BrokerDriver, most: int, room: int = PLENTY, one_run: bool = True, **cursor: Any) -> Any:
    args = ops.Fetch(cursor.get("after", False), cursor.get("epoch", ""), cursor.get("seq", 0), most, room, one_run)
    return broker.ask(Op.FETCH, b"t", b"u", args).result


def content(found: ops.Batch | None) -> list[bytes]:
    return [] if found is None else [each for run in found.runs for each in bodies(run.body)]


@pytest.fixture
def broker() -> BrokerDriver:
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u")
    return broker


# --- what the front reads


@table(
    ("body", "messages"),
    [
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a", b"b"]),
        (b"\n", [b""]),
        (b"\n\n", [b"", b""]),
        (b"a\r\n\xff", [b"a\r", b"\xff"]),
    ],
)
def test_lines_are_messages(body: bytes, messages: list[bytes]) -> None:
    assert list(bodies(read_batch("lines", body, 10, 3).body)) == messages


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=20))
def test_frames_are_kept_as_they_came_with_a_table_that_fits(messages: list[bytes]) -> None:
    args = read_batch("frames", frames(*messages), 20, 20)
    assert (args.body, args.count) == (frames(*messages), len(messages))
    assert offsets_fit(args.body, args.offsets, args.count)


@table(
    ("form", "body", "detail"),
    [
        ("lines", b"", "the batch is empty"),
        ("frames", b"", "the batch is empty"),
        ("frames", b"\0\0\0", "message 1 of the batch is truncated within its length"),
        ("frames", frames(b"ab") + b"\0\0\0\5x", "message 2 of the batch is truncated"),
        ("frames", frames(b"", b"", b"", b""), "over 3 messages"),
        ("lines", b"\n\n\n\n", "over 3 messages"),
    ],
)
def test_a_malformed_batch_is_refused_and_says_where(form: str, body: bytes, detail: str) -> None:
    error = refusal(form, body)
    assert error.code == "bad-batch"
    assert detail in error.detail


@table("form_body", [("frames", frames(b"x" * 11)), ("frames", b"\xff\xff\xff\xff"), ("lines", b"y" * 11)])
def test_a_message_of_a_batch_has_the_ceiling_of_one_message(form_body: tuple[str, bytes]) -> None:
    assert refusal(*form_body).code == "body-too-large"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_batch_or_refused(body: bytes) -> None:
    with suppress(FanmailError):
        args = read_batch("frames", body, 50, 10)
        assert frames(*bodies(args.body)) == body


# --- what the broker does


def test_a_batch_has_consecutive_ids_and_goes_out_in_parts(broker: BrokerDriver) -> None:
    published = broker.ask(Op.PUBLISH, b"t", args=batch(*[b"%d" % n for n in range(10)])).result
    assert (published.subscribers, published.seq) == (1, 1)
    broker.publish(b"t", b"ten")
    found = fetch(broker, 4)
    assert content(found) == [b"0", b"1", b"2", b"3"]
    assert (found.runs[0].first, found.runs[0].count, found.pending) == (1, 4, 7)
    assert broker.take(b"t", b"u").result.body == b"4"
    assert content(fetch(broker, 100)) == [b"5", b"6", b"7", b"8", b"9", b"ten"]
    assert broker.state.messages == 0
    assert fetch(broker, 1) is None


def test_a_fetch_stops_at_its_bytes_but_gives_one_at_least(broker: BrokerDriver) -> None:
    broker.ask(Op.PUBLISH, b"t", args=batch(b"x" * 100, b"y" * 100, b"z"))
    broker.publish(b"t", b"w" * 50)
    assert content(fetch(broker, 100, room=1)) == [b"x" * 100]
    assert content(fetch(broker, 100, room=109)) == [b"y" * 100, b"z"]
    assert content(fetch(broker, 100, room=1)) == [b"w" * 50]


def test_one_run_ends_where_headers_change_and_many_runs_do_not(broker: BrokerDriver) -> None:
    for _ in range(2):
        broker.ask(Op.PUBLISH, b"t", args=batch(b"a", b"b", headers=b"1"))
        broker.publish(b"t", b"c", headers=b"1")
        broker.publish(b"t", b"d", headers=b"2")
    first = fetch(broker, 100)
    assert [(run.first, run.count, run.headers) for run in first.runs] == [(1, 3, b"1")]
    rest = fetch(broker, 100, one_run=False)
    assert [(run.first, run.count, run.headers) for run in rest.runs] == [
        (4, 1, b"2"),
        (5, 2, b"1"),
        (7, 1, b"1"),
        (8, 1, b"2"),
    ]


def test_a_cursor_into_the_middle_of_a_batch(broker: BrokerDriver) -> None:
    epoch = broker.ask(Op.PUBLISH, b"t", args=batch(*[b"%d" % n for n in range(5)])).result.epoch
    assert content(fetch(broker, 2, after=True)) == [b"0", b"1"]
    assert content(fetch(broker, 2, after=True)) == [b"0", b"1"], "nothing is taken"
    assert content(fetch(broker, 2, after=True, epoch=epoch, seq=2)) == [b"2", b"3"]
    assert broker.state.messages == 5, "a batch is freed as a whole"
    assert fetch(broker, 2, after=True, epoch=epoch, seq=5) is None
    assert broker.state.messages == 0


def test_a_batch_over_a_ceiling_stores_nothing() -> None:
    broker = BrokerDriver(limits=ROOMY._replace(topic_messages=3))
    broker.subscribe(b"t", b"u")
    assert broker.ask(Op.PUBLISH, b"t", args=batch(b"a", b"b", b"c", b"d")).code == "topic-full"
    assert broker.state.messages == 0
    assert broker.ask(Op.PUBLISH, b"t", args=batch(b"a", b"b", b"c")).code == ""


@pytest.mark.parametrize(
    ("count", "offsets"), [(2, b""), (0, pack("<I", 0)), (1, pack("<2I", 0, 4)), (2, pack("<3I", 1, 2, 5)), (-1, b"")]
)
def test_a_table_that_does_not_fit_is_refused(broker: BrokerDriver, count: int, offsets: bytes) -> None:
    args = ops.Publish(b"", frames(b"x"), count, offsets)
    assert broker.ask(Op.PUBLISH, b"t", args=args).code == "bad-request"
    assert broker.state.messages == 0


def test_random_batches_and_reads_give_everything_in_order() -> None:
    rng = random.Random(7)
    broker = BrokerDriver()
    users = [b"u", b"v", b"w"]
    for user in users:
        broker.subscribe(b"t", user)
    sent: list[bytes] = []
    got: dict[bytes, list[bytes]] = {user: [] for user in users}
    for _ in range(3000):
        if rng.random() < 0.4:
            messages = [b"%d" % (len(sent) + n) for n in range(rng.randint(1, 30))]
            broker.ask(Op.PUBLISH, b"t", args=batch(*messages, headers=rng.choice([b"", b"h"])))
            sent += messages
        user = rng.choice(users)
        if rng.random() < 0.5:
            answer = broker.take(b"t", user).result
            got[user] += [] if answer is None else [answer.body]
        else:
            args = ops.Fetch(False, "", 0, rng.randint(1, 50), rng.choice([20, PLENTY]), rng.random() < 0.5)
            got[user] += content(broker.ask(Op.FETCH, b"t", user, args).result)
    for user in users:
        assert got[user] + broker.bodies(b"t", user) == sent
    assert (broker.state.messages, broker.state.content_bytes) == (0, 0)


def test_the_broker_does_no_work_for_each_message_of_a_batch() -> None:
    def calls(count: int) -> int:
        broker = BrokerDriver()
        broker.subscribe(b"t", b"u")
        args = batch(*[b"x"] * count)

        def through() -> None:
            broker.ask(Op.PUBLISH, b"t", args=args)
            assert fetch(broker, count).runs[0].count == count

        return calls_of(through)

    calls(5_000)  # fills the caches
    # A few calls may differ (hash tables, the collector); work for each message would be 5,000 more.
    assert abs(calls(10_000) - calls(5_000)) < 50


# --- what goes out


def test_ndjson_has_an_object_a_line_with_text_or_base64() -> None:
    headers = pack_headers([("content-type", "text/plain"), ("meta-a", "1")])
    found = ops.Batch("e1", 0, [ops.Run(7, 2, 1_700_000_000_000, headers, frames(b"hi\n", b"\xff"))])
    first, second = (json.loads(line) for line in as_ndjson(found).splitlines())
    same = {"time": "2023-11-14T22:13:20.000Z", "attempt": 1, "type": "text/plain", "meta": {"meta-a": "1"}}
    assert first == {"id": "e1-7", "text": "hi\n"} | same
    assert second == {"id": "e1-8", "base64": "/w=="} | same


def test_ndjson_says_how_often_each_was_handed_out_and_with_a_lease_the_receipt() -> None:
    found = ops.Batch("e1", 0, [ops.Run(7, 2, 0, b"", frames(b"a", b"b"), 3), ops.Run(12, 1, 0, b"", frames(b"c"))])
    assert [json.loads(line)["attempt"] for line in as_ndjson(found).splitlines()] == [3, 3, 1]
    assert b"receipt" not in as_ndjson(found)
    leased = [json.loads(line) for line in as_ndjson(found, leased=True).splitlines()]
    assert [each["receipt"] for each in leased] == ["e1-7.3", "e1-8.3", "e1-12.1"]


def test_the_count_of_a_batch_leaves_out_what_is_missing_between_its_runs() -> None:
    response = falcon.Response()
    runs = [ops.Run(7, 2, 0, b"", frames(b"a", b"b")), ops.Run(12, 1, 0, b"", frames(b"c"))]
    present_batch(ops.Batch("e1", 4, runs), NDJSON, response)
    told = {name: response.get_header(name) for name in ("Msg-Count", "Msg-First-Id", "Msg-Id", "Msg-Pending")}
    assert told == {"Msg-Count": "3", "Msg-First-Id": "e1-7", "Msg-Id": "e1-12", "Msg-Pending": "4"}


@table(
    ("accept", "form"),
    [
        ("", NDJSON),
        ("*/*", NDJSON),
        ("application/*", NDJSON),
        (FRAMES, FRAMES),
        (f"{NDJSON};q=0.5, {FRAMES}", FRAMES),
        (f"{FRAMES};q=0, */*", NDJSON),
        ("text/html, */*;q=0.1", NDJSON),
    ],
)
def test_accept_chooses_the_format(accept: str, form: str) -> None:
    assert choose_format(accept) == form


@table("accept", ["", "*/*", f"{FRAMES}, {NDJSON};q=0.1", f"{FRAMES}, application/*;q=0.1"])
def test_what_is_leased_comes_as_lines_where_they_are_accepted_at_all(accept: str) -> None:
    assert choose_format(accept, leased=True) == NDJSON


@table("accept", [FRAMES, f"{FRAMES}, {NDJSON};q=0", "text/html"])
def test_what_is_leased_never_comes_as_frames(accept: str) -> None:
    with pytest.raises(FanmailError, match="with lease the available formats are application/x-ndjson"):
        choose_format(accept, leased=True)


@table("accept", ["text/html", f"{FRAMES};q=0", "application/json", ";;,,", "*/*;q=x"])
def test_what_cannot_be_given_is_406(accept: str) -> None:
    with pytest.raises(FanmailError, match="not-acceptable"):
        choose_format(accept)


def test_a_batch_costs_the_memory_of_one_piece(broker: BrokerDriver) -> None:
    before = broker.state.memory
    broker.ask(Op.PUBLISH, b"t", args=batch(*[b"x" * 100] * 1000))
    assert broker.state.memory - before < 1000 * (100 + 4 + 4) + 1000
    fetch(broker, 1000)
    assert broker.state.memory == before
