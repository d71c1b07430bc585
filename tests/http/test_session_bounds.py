"""What a client of a session can make a front hold or do is bounded; thresholds are small here."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from itertools import count, islice, pairwise
from typing import Any

import pytest

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.budget import Budget
from httpfront.server import session_connection
from httpfront.sessions.answers import Mailbox, MessageForm
from httpfront.sessions.shares import Share
from tests.http.rawhttp import PATIENCE, wait_for
from tests.http.sessions import EPOCH, Playing, playing
from tests.support.table import table
from tests.support.web_socket import CONTINUATION, PING, PONG, TEXT, WebSocket, frame, message

FEW, FEWER = Share(3, 3, 64 * 1024), Share(1, 1, 3)


@pytest.fixture
def front() -> Iterator[Playing]:
    with playing(bounds={"alone": FEW, "beside": FEWER, "operation_bytes": 3000, "readings": 3}) as front:
        yield front


def publish(ref: int, text: str = "x", topic: str = "t") -> bytes:
    return message(op="publish", topic=topic, text=text, ref=ref)


def batch(first: int, *bodies: bytes, pending: int = 0) -> ops.Batch:
    frames = b"".join(len(each).to_bytes(4) + each for each in bodies)
    return ops.Batch(EPOCH, pending, [ops.Run(first, len(bodies), 1_700_000_000_000, b"", frames)], 0)


def test_a_message_above_the_limit_closes_the_session(front: Playing) -> None:
    limit = front.table.limits.message
    fitting = b'{"op":"stop","topic":"t","user":"u","ref":1' + b" " * limit
    with WebSocket(front.port) as client:
        client.send(frame(fitting[: limit - 1] + b"}"))
        assert client.next() == {"op": "ok", "ref": 1}
        client.send(frame(b" " * (limit + 1))[:14])  # it is known before it has arrived
        assert client.closed() == (1009, f"a message has over {limit} bytes")
    with WebSocket(front.port) as client:
        client.send(frame(b" " * limit, final=False), frame(b" ", CONTINUATION, final=False))
        assert client.closed()[0] == 1009
    assert front.budget.used == 0


def test_a_message_in_too_many_fragments_closes_the_session(front: Playing) -> None:
    stop = b'{"op":"stop","topic":"t","user":"u","ref":1}'
    begin, more = frame(stop, final=False), frame(b" ", CONTINUATION, final=False)
    with WebSocket(front.port) as client:
        client.send(begin + more * 1022 + frame(b" ", CONTINUATION))
        assert client.next() == {"op": "ok", "ref": 1}
        client.send(begin + more * 1023)
        assert client.closed() == (1009, "a message has over 1024 fragments")


def test_no_more_operations_are_read_than_may_be_under_way(front: Playing) -> None:
    front.gateway.held.add(Op.PUBLISH)
    with WebSocket(front.port) as client:
        client.send(b"".join(publish(n, topic=f"t{n}") for n in range(10)))
        wait_for(lambda: len(front.gateway.waiting) == 3)
        front.gateway.let_go(2)
        assert [client.next()["ref"] for _ in range(2)] == [0, 1]
        wait_for(lambda: len(front.gateway.waiting) == 3)
        assert len(front.gateway.asked(Op.PUBLISH)) == 5
        front.gateway.held.clear()
        front.gateway.let_go(3)
        assert [client.next()["ref"] for _ in range(8)] == list(range(2, 10))


def test_acknowledgements_that_are_answered_together_make_room_together(front: Playing) -> None:
    acks = [message(op="ack", topic="t", user="u", receipt=f"{EPOCH}-{n}.1", ref=n) for n in range(1, 10)]
    with WebSocket(front.port) as client:
        client.send(b"".join(acks))
        assert [client.next()["ref"] for _ in acks] == list(range(1, 10))
    assert [len(each.receipts) for each in front.gateway.asked(Op.FINISH)] == [3, 3, 3]


def test_what_is_acknowledged_with_one_request_is_bounded(front: Playing) -> None:
    lists = [[f"{EPOCH}-{n}.1" for n in range(1, most + 1)] for most in (10, 995, 500)]
    acks = [message(op="ack", topic="t", user="u", receipts=each, ref=n) for n, each in enumerate(lists)]
    with playing() as roomy, WebSocket(roomy.port) as client:
        client.send(b"".join(acks))
        assert [client.next() for _ in acks] == [{"op": "ok", "ref": n} for n in range(3)]
        assert [len(each.receipts) for each in roomy.gateway.asked(Op.FINISH)] == [10, 995, 500]
    with WebSocket(front.port) as client:
        front.gateway.held.add(Op.FINISH)
        client.send(b"".join(acks))
        wait_for(lambda: len(front.gateway.waiting) == 2)
        front.gateway.let_go()
        assert client.next()["ref"] == 0
        assert len(front.gateway.asked(Op.FINISH)) == 2, "the bytes of the second are under way"


def test_acknowledgements_wait_a_few_turns_for_those_that_have_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_connection, "MESSAGES", 2)
    acks = [message(op="ack", topic="t", user="u", receipt=f"{EPOCH}-{n}.1", ref=n) for n in range(1, 14)]
    with playing() as front, WebSocket(front.port) as client:
        client.send(b"".join(acks))
        assert [client.next()["ref"] for _ in acks] == list(range(1, 14))
        assert [len(each.receipts) for each in front.gateway.asked(Op.FINISH)] == [8, 5]


@pytest.fixture
def not_alone_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was active once counts until the end of the test."""
    monkeypatch.setattr("httpfront.sessions.shares.RECENT_TICKS", 10**6)


@pytest.mark.usefixtures("not_alone_for_long")
def test_a_session_that_is_not_alone_has_less_under_way(front: Playing) -> None:
    front.gateway.held.add(Op.PUBLISH)
    with WebSocket(front.port) as quiet, WebSocket(front.port) as greedy:
        greedy.send(b"".join(publish(n, topic=f"t{n}") for n in range(6)))
        wait_for(lambda: len(front.gateway.waiting) == 3)
        assert quiet.ask("subscribe", topic="t", user="u")["op"] == "ok"
        front.gateway.let_go(3)
        assert [greedy.next()["ref"] for _ in range(3)] == [0, 1, 2]
        for ref in (3, 4, 5):
            wait_for(lambda: len(front.gateway.waiting) == 1)
            assert quiet.ask("stop", topic="t", user="u")["op"] == "ok", "a turn, in which more could have been read"
            assert len(front.gateway.waiting) == 1
            front.gateway.let_go()
            assert greedy.next()["ref"] == ref


@pytest.mark.usefixtures("not_alone_for_long")
def test_reads_of_a_session_that_is_not_alone_ask_for_less() -> None:
    much, little = Share(9, 2, 5000), Share(9, 1, 50)
    with playing(bounds={"alone": much, "beside": little}) as front:
        front.gateway.answers[Op.FETCH] = batch(1, b"x", pending=5)
        front.gateway.held.add(Op.FETCH)
        with WebSocket(front.port) as quiet, WebSocket(front.port) as greedy:
            for user in ("a", "b"):
                greedy.op("read", topic="t", user=user, mode="take")
            wait_for(lambda: len(front.gateway.waiting) == 2)
            assert quiet.ask("subscribe", topic="t", user="u")["op"] == "ok"
            front.gateway.let_go(2)
            assert [greedy.next()["op"] for _ in range(2)] == ["message"] * 2
            wait_for(lambda: len(front.gateway.waiting) == 1)
            assert quiet.ask("stop", topic="t", user="u")["op"] == "ok"
            assert [each.max_bytes for each in front.gateway.asked(Op.FETCH)] == [5000, 5000, 50]


def test_no_more_bytes_are_read_than_may_be_under_way(front: Playing) -> None:
    front.gateway.held.add(Op.PUBLISH)
    with WebSocket(front.port) as client:
        client.send(publish(0, "x" * 3000), publish(1), publish(2))
        wait_for(lambda: len(front.gateway.waiting) == 1)
        assert front.budget.used >= 3000, "what is under way counts"
        front.gateway.held.clear()
        front.gateway.let_go()
        assert [client.next()["ref"] for _ in range(3)] == [0, 1, 2]
        wait_for(lambda: front.budget.used == 0)


@table(("bound", "value"), [("MESSAGES", 3), ("MOST_PER_TURN", 5)])
def test_a_turn_handles_some_of_what_has_arrived(
    front: Playing, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    turns: list[int] = []
    front.server.hub.each_turn(lambda: turns.append(front.table.invalid))
    with WebSocket(front.port) as client, monkeypatch.context() as patch:
        patch.setattr(session_connection, bound, value)
        client.send(frame(b"{}") * 30)
        assert [client.next()["code"] for _ in range(30)] == ["bad-op"] * 30
    steps = {later - earlier for earlier, later in pairwise(turns)}
    assert max(steps) <= 6, "three of what is read, and three of what was left"


def test_a_client_that_reads_nothing_is_not_read(front: Playing) -> None:
    """Answers that it does not take are bounded, and so are pongs."""
    for flood in (frame(b"x" * 120, PING), frame(b"{}")):
        with WebSocket(front.port, tiny=True) as client:
            client.sock.settimeout(0.5)
            with pytest.raises(TimeoutError):
                _send_without_end(client, flood)
            assert front.budget.used < 2_000_000
            assert front.table.open == 1


def test_a_client_that_takes_nothing_for_too_long_is_closed() -> None:
    with playing(write_timeout=0.5) as front, WebSocket(front.port, tiny=True) as client:
        client.sock.settimeout(PATIENCE)
        with pytest.raises((ConnectionError, TimeoutError)):
            _send_without_end(client, frame(b"{}"))
        wait_for(lambda: front.table.open == 0)
        assert front.table.ended["slow"] == 1
        assert front.reported[-1].ended == "slow"
        wait_for(lambda: front.budget.used == 0)


def test_the_memory_for_messages_that_are_not_whole_is_bounded() -> None:
    budget = Budget(3_000_000)
    with playing(budget=budget, max_streams=50) as front:
        clients = [WebSocket(front.port) for _ in range(8)]
        for client in clients:
            client.send(frame(b" " * 1_200_000)[:-1])
        wait_for(lambda: front.table.ended["slow"] + front.table.ended["error"] >= 5)
        assert budget.used <= budget.limit
        for client in clients:
            client.sock.close()


def test_reads_and_sessions_have_places(front: Playing) -> None:
    with WebSocket(front.port) as client:
        for user in ("a", "b", "c"):
            assert client.ask("read", topic="t", user=user)["op"] == "ok"
        refused = client.ask("read", topic="t", user="d")
        assert (refused["code"], refused["status"]) == ("too-many-reads", 429)
        assert client.ask("read", topic="t", user="a")["code"] == "already-reading"
        with WebSocket(front.port) as second:
            second.ask("read", topic="t", user="a")
            refused = second.ask("read", topic="t", user="b")
            assert refused["op"] == "ok", "three reads, a session, and its second read"
            assert second.ask("read", topic="t", user="c")["code"] == "front-busy"
            with WebSocket(front.port) as third:
                assert third.head.startswith(b"HTTP/1.1 503 ")
        wait_for(lambda: front.table.open == 1)
        assert client.ask("stop", topic="t", user="b")["op"] == "ok"
        assert client.ask("read", topic="t", user="d")["op"] == "ok"
    wait_for(lambda: front.table.open == 0)
    assert front.table.streams._opening == 0


def test_no_more_is_sent_than_the_window_allows(front: Playing) -> None:
    sent: list[int] = []

    def fetch(topic: bytes, user: bytes, args: ops.Fetch) -> ops.Batch:
        sent.append(args.max)
        return batch(args.place, *[b"x"] * args.max, pending=5)

    front.gateway.answers[Op.FETCH] = fetch
    with WebSocket(front.port, "/t/u?window=3") as client:
        assert [client.next()["id"] for _ in range(3)] == [f"{EPOCH}-{n}" for n in (1, 2, 3)]
        client.op("ack", topic="t", user="u", id=f"{EPOCH}-2")
        assert [client.next()["id"] for _ in range(2)] == [f"{EPOCH}-{n}" for n in (4, 5)]
        assert sent == [3, 2]
        assert client.ask("stop", topic="t", user="u") == {"op": "ok", "ref": "asked"}


@table("mode", ["lease", "after"])
def test_few_acknowledgements_in_a_nearly_full_window_wait_for_more(
    front: Playing, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr("httpfront.sessions.reading.GATHER_S", PATIENCE)
    front.gateway.calls.clear()
    numbers = count(1)
    front.gateway.answers[Op.FETCH] = lambda _, __, args: _some(numbers, args.max)
    name = "receipt" if mode == "lease" else "id"
    with WebSocket(front.port, f"/t/u?mode={mode}&window=8") as client:
        first = [client.next()[name] for _ in range(8)]
        client.ask("ack", topic="t", user="u", **{name: first[0]})
        assert client.ask("stop", topic="t", user="-")["op"] == "ok"
        assert [each.max for each in front.gateway.asked(Op.FETCH)] == [8]
        client.op("ack", topic="t", user="u", **{name: first[1]})
        assert [client.next()["op"] for _ in range(2)] == ["message"] * 2
        assert [each.max for each in front.gateway.asked(Op.FETCH)] == [8, 2]


@table("mode", ["lease", "after"])
def test_a_client_may_acknowledge_only_whole_windows(front: Playing, mode: str) -> None:
    numbers = count(1)
    front.gateway.answers[Op.FETCH] = lambda _, __, args: _some(numbers, min(args.max, 7))
    name = "receipt" if mode == "lease" else "id"
    with WebSocket(front.port, f"/t/u?mode={mode}&window=8") as client:
        for _ in range(3):
            window = [client.next()[name] for _ in range(8)]
            client.send(*(message(op="ack", topic="t", user="u", **{name: each}) for each in window))
    assert max(each.max for each in front.gateway.asked(Op.FETCH)) == 8


@table("failure", ["broker-down", "outcome-unknown", "broker-busy"])
def test_an_acknowledgement_that_its_broker_was_not_told_is_repeated(front: Playing, failure: str) -> None:
    """Nobody else would: the client has sent it without a `ref`, and the window stays full."""
    told: list[ops.OpenStream] = []

    def opened(topic: bytes, user: bytes, args: ops.OpenStream) -> ops.StreamOpened:
        told.append(args)
        return ops.StreamOpened(len(told), EPOCH, args.seq + 1)

    front.gateway.answers |= {
        Op.STREAM: opened,
        Op.FETCH: lambda _, __, args: batch(args.place, *[b"x"] * args.max, pending=5),
        Op.CONFIRM: FanmailError(failure, "away"),
    }
    with WebSocket(front.port, "/t/u?window=3") as client:
        assert [client.next()["id"][-1] for _ in range(3)] == ["1", "2", "3"]
        client.op("ack", topic="t", user="u", id=f"{EPOCH}-2")
        assert [client.next()["id"][-1] for _ in range(2)] == ["4", "5"]
        assert told == [ops.OpenStream(), ops.OpenStream(True, EPOCH, 2)]
        front.gateway.answers[Op.CONFIRM] = ops.Confirmed(True)
        client.op("ack", topic="t", user="u", id=f"{EPOCH}-5")
        assert [client.next()["id"][-1] for _ in range(3)] == ["6", "7", "8"]
    assert len(told) == 2


@table(("mode", "op"), [("after", "ack"), ("after", "unsubscribe"), ("lease", "ack"), ("lease", "nack")])
def test_a_read_with_a_full_window_ends_with_its_subscription(front: Playing, mode: str, op: str) -> None:
    gone, numbers = FanmailError("no-subscription", "gone"), count(1)
    front.gateway.answers[Op.FETCH] = lambda _, __, args: _some(numbers, args.max)
    for kind in (Op.STREAM, Op.LOOK):
        front.gateway.answers.pop(kind, None)
    with WebSocket(front.port, f"/t/u?mode={mode}&window=3") as client:
        first, _, _ = (client.next() for _ in range(3))
        front.gateway.answers |= dict.fromkeys((Op.STREAM, Op.LOOK, Op.CONFIRM, Op.FINISH, Op.EXTEND), gone)
        name = "id" if mode == "after" else "receipt"
        client.op(op, topic="t", user="u", **({} if op == "unsubscribe" else {name: first[name]}))
        end = client.next()
        assert (end["op"], end["code"]) == ("end", "no-subscription")
        for kind in (Op.STREAM, Op.LOOK):
            del front.gateway.answers[kind]
        client.op("read", topic="t", user="u", mode=mode, window=3)
        assert [client.next()["op"] for _ in range(3)] == ["message"] * 3, "nothing is left of the window"


def _some(numbers: Iterator[int], most: int) -> ops.Batch:
    """Return the next messages, behind which there are more."""
    return batch(next(islice(numbers, most - 1, None)) - most + 1, *[b"x"] * most, pending=5)


def test_the_window_has_bytes_too(front: Playing) -> None:
    def fetch(topic: bytes, user: bytes, args: ops.Fetch) -> ops.Batch:
        return batch(args.place, b"x" * 150_000, pending=5)

    front.gateway.answers[Op.FETCH] = fetch
    with WebSocket(front.port, "/t/u?window=1000") as client:
        assert [client.next()["id"][-1] for _ in range(2)] == ["1", "2"]
        assert client.ask("stop", topic="t", user="-")["ref"] == "asked", "no third message comes before"
        client.op("ack", topic="t", user="u", id=f"{EPOCH}-1")
        assert client.next()["id"][-1] == "3"


@table(("unit", "size", "member"), [("\x01", 70_000, "base64"), ("x", 70_000, "text"), ("\x01", 100, "text")])
def test_a_large_body_that_would_grow_is_sent_as_base64(unit: str, size: int, member: str) -> None:
    mailbox, body = Mailbox(b"t", b"u", "t", "u"), unit.encode() * size
    _, (counted,), (text,) = MessageForm(mailbox, leased=False).of_runs(EPOCH, batch(1, body).runs)
    found = json.loads(text)
    assert counted == size
    assert found.keys() & {"text", "base64"} == {member}
    came_back = (found[member].encode() if member == "text" else base64.b64decode(found[member])) == body
    assert came_back


def test_a_read_waits_until_the_client_has_taken_what_was_sent(front: Playing) -> None:
    def fetch(topic: bytes, user: bytes, args: ops.Fetch) -> ops.Batch:
        return batch(1, b"x" * 60_000, pending=5)

    front.gateway.answers[Op.FETCH] = fetch
    with WebSocket(front.port, "/t/u?mode=take", tiny=True) as client:
        wait_for(lambda: len(front.gateway.asked(Op.FETCH)) > 3)
        before = -1
        while before != (before := len(front.gateway.asked(Op.FETCH))):
            client.sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                _await_nothing(client)
        assert front.budget.used < 1_500_000
        client.sock.settimeout(PATIENCE)
        for _ in range(before + 5):
            assert client.next()["op"] == "message"


def _send_without_end(client: WebSocket, flood: bytes) -> None:
    while True:
        client.sock.sendall(flood * 1000)


def _await_nothing(client: WebSocket) -> None:
    """Wait for what never comes: time passes while the client reads nothing."""
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(client.sock.gettimeout())
        left.recv(1)


def test_an_unexpected_failure_closes_one_session(front: Playing, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("as asked")

    front.gateway.answers[Op.UNSUBSCRIBE] = fail
    with WebSocket(front.port) as client:
        client.op("unsubscribe", topic="t", user="u")
        assert client.closed() == (1011, "internal error")
    assert "as asked" in caplog.text


def test_what_is_refused_is_not_sent_back_whole(front: Playing) -> None:
    long = "x" * 100_000
    with WebSocket(front.port) as client:
        client.op("publish", topic=long, text="")
        client.op("publish", topic="t", text="", **{long: 1})
        client.op(long)
        client.op("publish", topic="t", text="", meta={f"meta-{n}": "" for n in range(10_000)})
        found = [client.frame()[1] for _ in range(4)]
    assert [json.loads(each)["code"] for each in found] == ["bad-name", "bad-op", "bad-op", "headers-too-large"]
    assert max(map(len, found)) < 1000


def test_what_a_broker_answers_wrongly_is_one_error(front: Playing) -> None:
    front.gateway.answers[Op.SUBSCRIBE] = ops.Status(1, "x", 1)  # not what this operation gives
    with WebSocket(front.port) as other, WebSocket(front.port) as client:
        answer: dict[str, Any] = client.ask("subscribe", topic="t", user="u")
        assert answer["code"] == "internal"
        front.gateway.answers[Op.PUBLISH] = FanmailError("internal", "as asked")
        assert client.ask("publish", topic="t", text="x")["status"] == 500
        client.send(frame(b"x", PING))
        assert client.frame() == (PONG, b"x")
        assert other.ask("stop", topic="t", user="u")["op"] == "ok"


def test_pings_that_are_not_answered_close_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpfront.sessions.timer.PING_S", 0.2)
    with playing() as front, WebSocket(front.port) as silent, WebSocket(front.port) as client:
        for _ in range(5):
            assert client.frame() == (PING, b"")
            client.send(frame(b"", PONG))
        assert silent.frame() == silent.frame() == (PING, b"")
        assert silent.closed() == (1013, "two pings were not answered")
        assert json.loads(client_text(client)) == {"op": "ok", "ref": 1}


def client_text(client: WebSocket) -> bytes:
    """Return the answer to an operation, behind pings."""
    client.op("stop", topic="t", user="u", ref=1)
    while (found := client.frame())[0] != TEXT:
        client.send(frame(b"", PONG))
    return found[1]
