"""WebSocket sessions over raw sockets, with a gateway whose answers the test sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from common.clock import ManualClock
from common.errors import FanmailError
from common.keys.api_keys import digest as key_digest
from common.protocol import ops
from common.protocol.ops import Op, Receipt
from httpfront.middleware.auth import Auth, KeyRing
from tests.http.playing import problem
from tests.http.rawhttp import Client, drain, wait_for
from tests.http.sessions import EPOCH, Playing, playing
from tests.support.table import table
from tests.support.web_socket import PROTOCOL, WebSocket, frame, handshake, message

TOKEN = f"fm_app_{'s' * 43}"
KEYS = """
[[keys]]
id = "app"
hash = "sha256:{hash}"
allow = [{{rights = ["publish"], topic = "news"}}, {{rights = ["consume"], topic = "news", user = "ann"}}]
"""


@pytest.fixture(scope="module")
def _front() -> Iterator[Playing]:
    with playing(max_streams=50) as front:
        yield front


@pytest.fixture
def front(_front: Playing) -> Playing:
    wait_for(lambda: _front.table.open == 0)
    _front.gateway.calls.clear()
    _front.gateway.answers.clear()
    _front.gateway.held.clear()
    return _front


def batch(first: int, *bodies: bytes, pending: int = 0, position: int = 0) -> ops.Batch:
    frames = b"".join(len(each).to_bytes(4) + each for each in bodies)
    return ops.Batch(EPOCH, pending, [ops.Run(first, len(bodies), 1_700_000_000_000, b"", frames)], position)


# --- the handshake


@table(
    ("sent", "status", "code"),
    [
        (handshake(leave_out="Upgrade"), 400, "bad-handshake"),
        (handshake(leave_out="Connection"), 400, "bad-handshake"),
        (handshake(leave_out="Sec-WebSocket-Key"), 400, "bad-handshake"),
        (handshake(leave_out="Sec-WebSocket-Protocol"), 400, "bad-handshake"),
        (handshake(protocol="fanmail.v2.json, chat"), 400, "bad-handshake"),
        (handshake(leave_out="Sec-WebSocket-Version"), 426, "upgrade-required"),
        (
            handshake(leave_out="Sec-WebSocket-Version").replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Version: 8\r\n\r\n"),
            426,
            "upgrade-required",
        ),
        (
            handshake(leave_out="Sec-WebSocket-Key").replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: AAAA\r\n\r\n"),
            400,
            "bad-handshake",
        ),
        (handshake().replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"), 400, "bad-handshake"),
        (handshake("/?mode=take"), 400, "bad-parameter"),
        (handshake("/t/u?mode=peek"), 400, "bad-parameter"),
        (handshake("/t/u?window=1001"), 400, "bad-parameter"),
        (handshake("/t/u?window=x"), 400, "bad-parameter"),
        (handshake("/t/u?lease=30"), 400, "bad-parameter"),
        (handshake("/t/u?mode=lease&lease=0.5"), 400, "bad-parameter"),
        (handshake("/t/u?mode=take&after=0"), 400, "bad-parameter"),
        (handshake("/t/u?after=7"), 400, "bad-parameter"),
        (handshake("/t/u?wait=7"), 400, "bad-parameter"),
        (handshake("/%00/u"), 400, "bad-name"),
        (handshake("/", "Origin: https://evil.example"), 403, "foreign-origin"),
        (handshake("/t/u/dead"), 406, "not-acceptable"),
    ],
)
def test_handshakes_that_are_refused(front: Playing, sent: bytes, status: int, code: str) -> None:
    with Client(front.port) as client:
        answer = client.send(sent).answer()
        assert problem(answer)[:2] == (status, code)
        assert (status == 426) == (answer.headers.get("sec-websocket-version") == "13")
    assert front.gateway.calls == []
    assert front.table.open == front.table.streams._opening == 0


def test_frames_may_come_with_the_handshake(front: Playing) -> None:
    with Client(front.port) as client:
        client.send(handshake() + message(op="stop", topic="t", user="u", ref="é"))
        while b'"ref"' not in client._rest:
            client._more()
        assert b"101 Switching Protocols\r\n" in client._rest


def test_a_session_is_logged_and_counted_once_at_its_end(front: Playing) -> None:
    before = len(front.reported)
    with WebSocket(front.port, "/", "X-Request-Id: mine") as client:
        client.ask("stop", topic="t", user="u")
        assert front.table.open == 1
        assert len(front.reported) == before
    wait_for(lambda: len(front.reported) > before)
    (summary,) = front.reported[before:]
    assert (summary.route, summary.status, summary.request_id, summary.ended) == ("/", 101, "mine", "client")
    assert summary.sent > 100
    assert front.table.counts()["stop"] >= 1


# --- publishing


def test_a_publish_is_the_same_as_over_http(front: Playing) -> None:
    front.gateway.answers[Op.PUBLISH] = ops.Published(1, EPOCH, 7)
    with WebSocket(front.port) as client:
        client.ask("publish", topic="t", text="é", type="text/plain", meta={"meta-a": "ü"}, ttl=1.5, delay=2, key="k")
    with Client(front.port) as http:
        lines = ["POST /t?ttl=1.5&delay=2 HTTP/1.1", "Host: test", "Content-Length: 2", "Content-Type: text/plain"]
        head = "\r\n".join([*lines, 'Idempotency-Key: "k"', "Meta-A: ü", "", "é"])
        assert http.send(head.encode()).answer().status == 200
    ours, theirs = front.gateway.asked(Op.PUBLISH)
    assert ours == theirs
    assert ours.digest


@table(
    ("result", "members"),
    [
        (ops.Published(2, EPOCH, 7), {"subscribers": 2, "id": f"{EPOCH}-7"}),
        (ops.Published(0, "", 0), {"subscribers": 0}),
        (ops.Published(0, "", 0, 1_700_000_000_000), {"due": "2023-11-14T22:13:20.000Z"}),
        (ops.Published(1, EPOCH, 7, 0, True), {"subscribers": 1, "id": f"{EPOCH}-7", "replayed": True}),
    ],
)
def test_what_a_publish_answers(front: Playing, result: ops.Published, members: dict[str, Any]) -> None:
    front.gateway.answers[Op.PUBLISH] = result
    with WebSocket(front.port) as client:
        for ref in (2**53, "r"):
            client.op("publish", topic="t", text="", ref=ref)
            assert client.next() == {"op": "ok", "ref": ref} | members


@table(
    ("members", "code", "named"),
    [
        ({}, "bad-op", "text"),
        ({"text": "a", "base64": "AA=="}, "bad-op", "text"),
        ({"base64": "A"}, "bad-parameter", "base64"),
        ({"text": "x" * 1_000_001}, "body-too-large", "1000000"),
        ({"text": "", "ttl": 0}, "bad-parameter", "ttl"),
        ({"text": "", "ttl": 31536001}, "bad-parameter", "ttl"),
        ({"text": "", "delay": -1}, "bad-parameter", "delay"),
        ({"text": "", "key": ""}, "bad-parameter", "key"),
        ({"text": "", "key": "a b"}, "bad-parameter", "key"),
        ({"text": "", "meta": {"x": "1"}}, "bad-parameter", "meta"),
        ({"text": "", "meta": {"content-type": "1"}}, "bad-parameter", "meta"),
        ({"text": "", "meta": {"meta-a": "1\r\nX: 1"}}, "bad-parameter", "meta"),
        ({"text": "", "type": "a\n"}, "bad-parameter", "type"),
        ({"text": "", "type": " a"}, "bad-parameter", "type"),
        ({"text": "", "meta": {"meta-a": "x" * 9000}}, "headers-too-large", "8192"),
        ({"text": "", "topic": ""}, "bad-name", "topic"),
        ({"text": "", "topic": "x" * 256}, "bad-name", "255"),
        ({"text": "", "topic": 7}, "bad-op", "topic"),
        ({"text": "", "more": 7}, "bad-op", "more"),
        ({"text": 7}, "bad-op", "text"),
    ],
)
def test_publishes_that_are_refused(front: Playing, members: dict[str, Any], code: str, named: str) -> None:
    with WebSocket(front.port) as client:
        answer = client.ask("publish", **({"topic": "t"} | members))
        assert (answer["op"], answer["code"]) == ("error", code)
        assert named in answer["detail"]
    assert front.gateway.asked(Op.PUBLISH) == []


@table(
    ("text", "ref"),
    [(b"", None), (b"[]", None), (b'{"op":"x","ref":"r"}', "r"), (b'{"ref":5}', 5), (b'{"op":"stop","ref":[]}', None)],
)
def test_text_that_is_no_operation_is_answered(front: Playing, text: bytes, ref: object) -> None:
    with WebSocket(front.port) as client:
        client.send(frame(text))
        answer = client.next()
        assert (answer["code"], answer["status"], answer.get("ref")) == ("bad-op", 400, ref)


def test_publishes_behind_a_large_one_wait_for_it(front: Playing) -> None:
    front.gateway.held.add(Op.PUBLISH)
    with WebSocket(front.port) as client:
        texts = ("L" * 20_000, "1", "L" * 20_000, "3")
        client.send(*(message(op="publish", topic="t", text=text, ref=n) for n, text in enumerate(texts)))
        client.op("publish", topic="other", text="x", ref="other")
        wait_for(lambda: len(front.gateway.waiting) == 2)
        front.gateway.let_go(2)
        assert [client.next()["ref"] for _ in range(2)] == [0, "other"]
        for count, refs in ((2, [1, 2]), (1, [3])):
            wait_for(lambda count=count: len(front.gateway.waiting) == count)
            front.gateway.let_go(count)
            assert [client.next()["ref"] for _ in range(count)] == refs


def test_the_answer_to_an_earlier_publish_does_not_let_others_overtake_a_large_one(front: Playing) -> None:
    front.gateway.held.add(Op.PUBLISH)
    with WebSocket(front.port) as client:
        for n, text in enumerate(("first", "L" * 20_000, "behind")):
            client.op("publish", topic="t", text=text, ref=n)
        wait_for(lambda: len(front.gateway.waiting) == 2)
        front.gateway.let_go()
        assert client.next()["ref"] == 0
        assert client.ask("stop", topic="t", user="u")["op"] == "ok"
        assert len(front.gateway.asked(Op.PUBLISH)) == 2, "the large one may still wait for room"
        front.gateway.let_go()
        assert client.next()["ref"] == 1
        wait_for(lambda: len(front.gateway.waiting) == 1)
        front.gateway.let_go()
        assert client.next()["ref"] == 2


@table("op", ["publish", "subscribe", "ack"])
def test_a_client_without_a_ref_is_told_of_errors_only(front: Playing, op: str) -> None:
    members = {"publish": {"text": "x"}, "subscribe": {"user": "u"}, "ack": {"user": "u", "id": "0"}}[op]
    for kind in (Op.PUBLISH, Op.SUBSCRIBE, Op.CONFIRM):
        front.gateway.answers[kind] = FanmailError("broker-down", "as asked")
    with WebSocket(front.port) as client:
        client.op(op, topic="t", **members)
        if op != "ack":
            answer = client.next()
            assert answer["retry_after"] == 1
            assert (answer["op"], answer["topic"], answer["status"]) == ("error", "t", 503)
            assert "ref" not in answer
        assert client.ask("stop", topic="t", user="u")["op"] == "ok"


# --- reading


def test_acknowledgements_of_one_turn_go_to_the_broker_as_one(front: Playing) -> None:
    with WebSocket(front.port) as client:
        acks = [message(op="ack", topic="t", user="u", id=f"{EPOCH}-{n}", ref=n) for n in (1, 2, 3)]
        acks += [message(op="ack", topic="t", user="v", receipt=f"{EPOCH}-{n}.1", ref=n) for n in (4, 5)]
        client.send(b"".join(acks))
        assert sorted(client.next()["ref"] for _ in range(5)) == [1, 2, 3, 4, 5]
        confirms, finishes = front.gateway.asked(Op.CONFIRM), front.gateway.asked(Op.FINISH)
        assert confirms[-1] == ops.Confirm(EPOCH, 3)
        assert [each for args in finishes for each in args.receipts] == [Receipt(EPOCH, 4, 1), Receipt(EPOCH, 5, 1)]
        assert len(confirms) + len(finishes) == 2


def test_acknowledgements_of_one_mailbox_go_to_the_broker_in_order(front: Playing) -> None:
    with WebSocket(front.port) as client:
        done: list[dict[str, str]] = [
            *({"receipt": f"{EPOCH}-1.1"}, {"id": f"{EPOCH}-2"}, {"receipt": f"{EPOCH}-3.1"}),
            *({"receipt": f"{EPOCH}-4.1"}, {"id": f"{EPOCH}-5"}),
        ]
        client.send(b"".join(message(op="ack", topic="t", user="u", ref=n, **each) for n, each in enumerate(done)))
        assert [client.next()["ref"] for _ in done] == list(range(5))
    assert [each.op for each in front.gateway.calls] == [Op.FINISH, Op.CONFIRM, Op.FINISH, Op.CONFIRM]


def test_each_receipt_has_an_answer_of_its_own(front: Playing) -> None:
    front.gateway.answers[Op.FINISH] = lambda topic, user, args: ops.Finished(["", "lease-lost"][: len(args.receipts)])
    with WebSocket(front.port) as client:
        client.send(*(message(op="ack", topic="t", user="u", receipt=f"{EPOCH}-{n}.1", ref=n) for n in (1, 2)))
        found = {each["ref"]: each for each in (client.next(), client.next())}
        assert found[1]["op"] == "ok"
        assert (found[2]["code"], found[2]["status"], found[2]["user"]) == ("lease-lost", 409, "u")


def receipts(*numbers: int) -> list[str]:
    return [f"{EPOCH}-{number}.1" for number in numbers]


def lost(*numbers: int) -> Callable[[bytes, bytes, ops.Finish], ops.Finished]:
    """What a broker answers where the leases of these messages were lost."""
    return lambda _, __, args: ops.Finished(["lease-lost" if each.seq in numbers else "" for each in args.receipts])


def test_one_acknowledgement_of_many_messages_names_those_whose_leases_were_lost(front: Playing) -> None:
    front.gateway.answers[Op.FINISH] = lost(3, 5)
    acks = [
        {"receipts": receipts(1, 2)},
        {"receipt": receipts(3)[0]},
        {"receipts": receipts(5, 4, 3)},
        {"receipt": receipts(6)[0]},
        {"receipts": receipts(3, 3, 7, 7)},
    ]
    with WebSocket(front.port) as client:
        client.send(b"".join(message(op="ack", topic="t", user="u", ref=n, **each) for n, each in enumerate(acks)))
        found = [client.next() for _ in acks]
    assert [each["op"] for each in found] == ["ok", "error", "ok", "ok", "ok"]
    assert found[1]["code"] == "lease-lost"
    assert [each.get("lost") for each in found] == [None, None, receipts(5, 3), None, receipts(3, 3)]
    (asked,) = front.gateway.asked(Op.FINISH)
    assert [each.seq for each in asked.receipts] == [1, 2, 3, 5, 4, 3, 6, 3, 3, 7, 7]


@table("answer", [FanmailError("broker-down", "away"), FanmailError("no-subscription", "gone"), lost(1)])
def test_an_acknowledgement_of_many_messages_without_a_ref_has_no_answer(front: Playing, answer: Any) -> None:
    front.gateway.answers[Op.FINISH] = answer
    with WebSocket(front.port) as client:
        client.op("ack", topic="t", user="u", receipts=receipts(1, 2))
        client.op("ack", topic="t", user="u", receipts=["x"])
        client.op("ack", topic="t", user="u", receipts=receipts(1, 2), ref=1)
        client.op("stop", topic="t", user="u", ref=2)
        found = {each["ref"]: each for each in (client.next(), client.next())}
    assert found[1].get("code") == getattr(answer, "code", None)
    assert found[2]["op"] == "ok"


@table(
    ("members", "code", "named"),
    [
        ({}, "bad-op", "one of id, receipt and receipts"),
        ({"receipt": f"{EPOCH}-1.1", "receipts": receipts(1)}, "bad-op", "one of"),
        ({"id": "0", "receipts": receipts(1)}, "bad-op", "one of"),
        ({"receipts": receipts(1)[0]}, "bad-op", "array"),
        ({"receipts": [*receipts(1), 7]}, "bad-op", "receipts[1]"),
        ({"receipts": []}, "bad-parameter", "'receipts' must have 1 to 1000"),
        ({"receipts": receipts(*range(1, 1002))}, "bad-parameter", "'receipts' must have 1 to 1000"),
        ({"receipts": [*receipts(1, 2), f"{EPOCH}-3"]}, "bad-parameter", "[2]"),
        ({"receipts": [*receipts(1), ""]}, "bad-parameter", "'receipts'"),
    ],
)
def test_acknowledgements_that_are_refused(front: Playing, members: dict[str, Any], code: str, named: str) -> None:
    with WebSocket(front.port) as client:
        answer = client.ask("ack", topic="t", user="u", **members)
        assert (answer["op"], answer["code"]) == ("error", code)
        assert named in answer["detail"]
    assert front.gateway.asked(Op.FINISH, Op.CONFIRM) == []


def test_a_read_is_told_of_what_it_missed_and_of_its_end(front: Playing) -> None:
    front.gateway.answers[Op.FETCH] = batch(6, b"a", position=5)
    with WebSocket(front.port) as client:
        assert client.ask("read", topic="t", user="u", after=f"{EPOCH}-2")["position"] == f"{EPOCH}-0"
        assert client.next() == {"op": "gap", "topic": "t", "user": "u", "from": f"{EPOCH}-1", "position": f"{EPOCH}-5"}
        found = client.next()
        assert (found["op"], found["id"], found["text"]) == ("message", f"{EPOCH}-6", "a")
        assert client.ask("stop", topic="t", user="u")["op"] == "ok"
        front.gateway.answers[Op.FETCH] = FanmailError("no-subscription", "gone")
        client.ask("read", topic="t", user="u")
        ended = client.next()
        assert (ended["op"], ended["code"], ended["status"], ended["user"]) == ("end", "no-subscription", 404, "u")
        front.gateway.answers[Op.STREAM] = FanmailError("cursor-lost", "lost", oldest=f"{EPOCH}-9")
        refused = client.ask("read", topic="t", user="u")
        assert (refused["op"], refused["oldest"]) == ("error", f"{EPOCH}-9")


def test_the_first_read_has_no_ref(front: Playing) -> None:
    front.gateway.answers[Op.LOOK] = FanmailError("no-subscription", "none")
    with WebSocket(front.port, "/t%2F1/%C3%A9?mode=take") as client:
        answer = client.next()
        assert (answer["op"], answer["topic"], answer["user"], answer["status"]) == ("error", "t/1", "é", 404)


def test_a_read_survives_a_broker_that_is_away(front: Playing) -> None:
    answers = [FanmailError("broker-down", "away"), FanmailError("broker-down", "away"), batch(1, b"a")]
    front.gateway.answers[Op.FETCH] = lambda *_: _raise_or(answers.pop(0))
    with WebSocket(front.port, "/t/u") as client:
        assert client.next()["text"] == "a"
        assert len(front.gateway.asked(Op.STREAM)) == 3, "it is opened anew"


def test_a_read_whose_broker_stays_away_ends(front: Playing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpfront.sessions.patience.PATIENCE_S", 0.3)
    away = FanmailError("broker-down", "away")
    front.gateway.held.add(Op.FETCH)
    front.gateway.answers[Op.FETCH] = away
    with WebSocket(front.port, "/t/u") as client:
        wait_for(lambda: front.gateway.waiting)
        front.gateway.answers[Op.STREAM] = away
        front.gateway.let_go()
        ended = client.next()
        assert (ended["op"], ended["code"], ended["status"]) == ("end", "broker-down", 503)
        assert client.ask("stop", topic="t", user="u")["op"] == "ok"
        assert client.ask("read", topic="t", user="u")["code"] == "broker-down"


def test_a_full_window_of_leases_goes_on_when_they_are_over(front: Playing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpfront.sessions.reading.EXPIRY_S", 0.05)
    asked = count(1)
    front.gateway.answers[Op.FETCH] = lambda *_: batch(next(asked), b"x", pending=5)
    with WebSocket(front.port, "/t/u?mode=lease&lease=1&window=1") as client:
        assert [client.next()["id"] for _ in range(2)] == [f"{EPOCH}-1", f"{EPOCH}-2"]
    assert {each.max for each in front.gateway.asked(Op.FETCH)} == {1}


def _raise_or(answer: Any) -> Any:
    if isinstance(answer, FanmailError):
        raise answer
    return answer


def test_leases_end_with_the_session_but_for_those_that_are_done(front: Playing) -> None:
    front.gateway.answers[Op.FETCH] = batch(1, b"a", b"b", b"c", b"d")
    with WebSocket(front.port, "/t/u?mode=lease&window=4") as client:
        receipts = [client.next()["receipt"] for _ in range(4)]
        client.ask("ack", topic="t", user="u", receipt=receipts[0])
        front.gateway.answers[Op.FETCH] = None
        client.ask("nack", topic="t", user="u", receipt=receipts[1], delay=1.5)
        client.ask("stop", topic="t", user="u")
        assert client.ask("extend", topic="t", user="u", receipt=receipts[2], lease=60)["op"] == "ok"
    wait_for(lambda: front.table.open == 0)
    third, fourth = Receipt(EPOCH, 3, 1), Receipt(EPOCH, 4, 1)
    nacked, extended, *returned = front.gateway.asked(Op.EXTEND)
    assert nacked == ops.Extend(Receipt(EPOCH, 2, 1), 0, 1_500_000)
    assert extended == ops.Extend(third, 60_000_000)
    assert returned == [ops.Extend(third, 0), ops.Extend(fourth, 0)]


def test_leases_are_given_back_when_their_broker_is_there_again(
    front: Playing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpfront.sessions.lease_returns.PAUSE_S", 0.05)
    away = [FanmailError("broker-down", "away"), FanmailError("outcome-unknown", "away")]
    front.gateway.answers[Op.EXTEND] = lambda *_: away.pop() if away else ops.Nothing()
    front.gateway.answers[Op.FETCH] = batch(1, b"a")
    with WebSocket(front.port, "/t/u?mode=lease&window=1") as client:
        client.next()
    wait_for(lambda: len(front.gateway.asked(Op.EXTEND)) == 3)
    assert front.gateway.asked(Op.EXTEND) == [ops.Extend(Receipt(EPOCH, 1, 1), 0)] * 3
    assert away == []


def test_what_a_broker_leases_to_a_session_that_has_ended_is_given_back(front: Playing) -> None:
    front.gateway.held.add(Op.FETCH)
    front.gateway.answers[Op.FETCH] = batch(1, b"a", b"b")
    with WebSocket(front.port, "/t/u?mode=lease"):
        wait_for(lambda: len(front.gateway.waiting) == 1)
    wait_for(lambda: front.table.open == 0)
    front.gateway.let_go()
    wait_for(lambda: len(front.gateway.asked(Op.EXTEND)) == 2)
    assert front.budget.used == 0


def test_a_message_that_woke_a_session_that_has_ended_wakes_another(front: Playing) -> None:
    front.gateway.held.add(Op.WAIT)
    front.gateway.answers |= {Op.FETCH: None, Op.WAIT: ops.WaitResult(True, 1)}
    with WebSocket(front.port, "/t/u?mode=take"):
        wait_for(lambda: len(front.gateway.waiting) == 1)
    wait_for(lambda: front.gateway.asked(Op.CANCEL))
    front.gateway.let_go()
    wait_for(lambda: front.gateway.asked(Op.SKIP))


def test_a_taken_message_is_sent_before_a_stop_is_answered(front: Playing) -> None:
    front.gateway.held.add(Op.FETCH)
    front.gateway.answers[Op.FETCH] = batch(1, b"a", pending=3)
    with WebSocket(front.port, "/t/u?mode=take") as client:
        wait_for(lambda: len(front.gateway.waiting) == 1)
        client.op("stop", topic="t", user="u", ref=1)
        front.gateway.let_go()
        assert [client.next()["op"], client.next()["op"]] == ["message", "ok"]
        assert len(front.gateway.asked(Op.FETCH)) == 1


def test_a_stop_waits_for_the_answer_of_its_read(front: Playing) -> None:
    front.gateway.held.add(Op.STREAM)
    with WebSocket(front.port) as client:
        for number in range(3):
            client.op("read", topic="t", user="u", ref=2 * number)
            client.op("stop", topic="t", user="u", ref=2 * number + 1)
            wait_for(lambda: front.gateway.waiting)
            front.gateway.let_go()
            assert [client.next()["ref"] for _ in range(2)] == [2 * number, 2 * number + 1]
    assert front.gateway.asked(Op.FETCH) == []


@table("held", [set(), {Op.STREAM}])
def test_reads_and_stops_that_come_together_are_executed_in_order(front: Playing, held: set[Op]) -> None:
    front.gateway.held |= held
    front.gateway.answers[Op.FETCH] = lambda topic, user, args: batch(args.place, b"x")
    with WebSocket(front.port) as client:
        for number in range(5):
            client.op("stop" if number % 2 else "read", topic="t", user="u", ref=number)
        client.op("read", topic="t", user="u", ref=5)
        answers = []
        while len(answers) < 6:
            if front.gateway.waiting:
                front.gateway.let_go()
            client.sock.settimeout(0.05)
            with suppress(TimeoutError):
                answers.append(client.next())
                if answers[-1]["op"] == "message":
                    answers.pop()
        assert [each["ref"] for each in answers if each["op"] == "ok"] == [0, 1, 2, 3, 4]
        assert [each["code"] for each in answers if each["op"] == "error"] == ["already-reading"]
    front.gateway.held.clear()
    wait_for(lambda: front.table.open == 0)


# --- keys


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    path = tmp_path / "keys.toml"
    path.write_text(KEYS.format(hash=key_digest(TOKEN).hex()))
    return KeyRing(str(path), ManualClock())


@pytest.fixture
def guarded(ring: KeyRing) -> Iterator[Playing]:
    with playing(parts={"auth": lambda routes: Auth(ring, routes, lambda reason: None)}) as front:
        yield front


def test_a_key_comes_as_a_header_or_as_a_subprotocol(guarded: Playing) -> None:
    for headers, protocol in (([f"Authorization: Bearer {TOKEN}"], PROTOCOL), ([], f"bearer.{TOKEN}, {PROTOCOL}")):
        with WebSocket(guarded.port, "/news/ann", *headers, protocol=protocol) as client:
            assert client.head.startswith(b"HTTP/1.1 101 ")
            assert TOKEN.encode() not in client.head
    for target, protocol, status in (
        ("/", PROTOCOL, 401),
        ("/", f"{PROTOCOL}, bearer.fm_app_wrong", 401),
        ("/news/bob", f"{PROTOCOL}, bearer.{TOKEN}", 403),
    ):
        with WebSocket(guarded.port, target, protocol=protocol) as client:
            assert client.head.startswith(f"HTTP/1.1 {status} ".encode())


def test_the_right_is_looked_at_for_each_operation(guarded: Playing) -> None:
    with WebSocket(guarded.port, protocol=f"{PROTOCOL}, bearer.{TOKEN}") as client:
        assert client.ask("publish", topic="news", text="x")["op"] == "ok"
        assert client.ask("read", topic="news", user="ann")["op"] == "ok"
        for op, members in (
            ("publish", {"topic": "other", "text": "x"}),
            ("subscribe", {"topic": "news", "user": "ann"}),
            ("read", {"topic": "news", "user": "bob"}),
            ("ack", {"topic": "news", "user": "bob", "id": "0"}),
            ("stop", {"topic": "news", "user": "bob"}),
        ):
            answer = client.ask(op, **members)
            assert (answer["op"], answer["code"], answer["status"]) == ("error", "forbidden", 403)


@table("by", ["operation", "delivery", "time"])
def test_a_key_that_is_gone_closes_its_sessions(tmp_path: Path, by: str) -> None:
    path = tmp_path / f"{by}.toml"
    path.write_text(KEYS.format(hash=key_digest(TOKEN).hex()))
    ring = KeyRing(str(path), ManualClock())
    with playing(parts={"auth": lambda routes: Auth(ring, routes, lambda reason: None)}) as front:
        front.gateway.held.add(Op.WAIT)
        front.gateway.answers |= {Op.WAIT: ops.WaitResult(True, 1), Op.FETCH: batch(1)}
        with WebSocket(front.port, "/news/ann", protocol=f"{PROTOCOL}, bearer.{TOKEN}") as client:
            wait_for(lambda: len(front.gateway.waiting) == 1)
            path.write_text(KEYS.format(hash="0" * 64).replace("app", "new"))
            ring.reload()
            if by == "operation":
                client.op("publish", topic="news", text="x")
            elif by == "delivery":
                front.gateway.let_go()
            else:
                _beat(front)
            assert client.closed() == (1008, "unauthorized: the API key is not valid any more")
        assert front.gateway.asked(Op.PUBLISH) == []
        assert front.table.ended["unauthorized"] == 1


def _beat(front: Playing) -> None:
    """Let the sessions look at their keys, as they do every 15 s."""
    looked = threading.Event()

    def look() -> None:
        for session in list(front.table._sessions):
            session.check_key()  # type: ignore[attr-defined]
        looked.set()

    front.server.hub.spawn(look)
    front.server.hub.wake()
    assert looked.wait(10)


# --- the end


def test_a_drain_answers_what_is_under_way_and_closes() -> None:
    with playing() as front:
        front.gateway.held |= {Op.PUBLISH, Op.FETCH}
        front.gateway.answers[Op.FETCH] = batch(1, b"a")
        with WebSocket(front.port, "/t/u?mode=lease") as client:
            client.op("publish", topic="t", text="x", ref=1)
            wait_for(lambda: len(front.gateway.waiting) == 2)
            (session,) = front.table._sessions
            drain(front.server, 10, 10)
            front.server.hub.spawn(lambda: front.table.drain(0))
            wait_for(lambda: session.busy)  # type: ignore[attr-defined]
            client.op("publish", topic="t", text="x", ref=2)
            front.gateway.let_go(2)
            assert sorted(client.next()["op"] for _ in range(2)) == ["message", "ok"]
            assert client.closed() == (1001, "draining: this front is stopping")
    assert front.table.ended["draining"] == 1
    assert len(front.gateway.asked(Op.PUBLISH)) == 1
    assert front.gateway.asked(Op.EXTEND) == [ops.Extend(Receipt(EPOCH, 1, 1), 0)]


def test_nothing_is_left_of_sessions_that_are_cut(front: Playing) -> None:
    front.gateway.answers[Op.FETCH] = lambda topic, user, args: batch(args.place or 1, b"x" * 1000, pending=5)
    clients = [WebSocket(front.port, f"/t/u?mode={mode}") for mode in ("after", "lease", "take")]
    for client in clients:
        assert json.loads(client.frame()[1])["op"] == "message"
        client.sock.close()
    wait_for(lambda: front.table.open == 0)
    wait_for(lambda: front.budget.used == 0)
    assert front.table.streams._opening == 0
    assert not front.table.streams._ready
