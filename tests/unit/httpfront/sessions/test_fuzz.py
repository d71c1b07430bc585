"""Mutated frames and operations: nothing a client sends raises anything but what is meant for it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any, cast

from websockets.frames import Frame as TheirFrame
from websockets.protocol import OPEN, SERVER, Protocol

from common.errors import FanmailError
from common.protocol import ops
from httpfront.server import websocket_frames as ours
from httpfront.server.websocket_frames import FrameError, FrameReader
from httpfront.sessions.origin import Origin
from httpfront.sessions.session import Session
from httpfront.sessions.table import SessionLimits, SessionTable
from httpfront.streams.table import StreamTable
from tests.support.web_socket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

STREAMS, OPERATIONS = 10_000, 10_000
LIMIT = 4000
Seen = list[tuple[int, bytes]]


def stream(rng: random.Random) -> bytes:
    """Frames of a client, most of them right, with some bytes changed, left out or repeated."""
    frames = []
    for _ in range(rng.randrange(1, 6)):
        opcode = rng.choice((TEXT, TEXT, TEXT, CONTINUATION, CONTINUATION, PING, PONG, CLOSE, rng.randrange(16)))
        payload = rng.randbytes(rng.choice((0, 1, 2, 3, 20, 125, 126, 127, 300, 5000)))
        if opcode == CLOSE and rng.random() < 0.7:
            payload = rng.choice((1000, 1001, 999, 3000)).to_bytes(2) + b"why"
        frames.append(frame(payload, opcode, rng.random() < 0.7, rng.random() < 0.98, rng.random() < 0.03))
    data = bytearray(b"".join(frames))
    for _ in range(rng.choice((0, 0, 1, 2))):
        at = rng.randrange(len(data))
        data[at : at + 1] = rng.randbytes(rng.randrange(3))
    return bytes(data) or b"\0"


def read_ours(data: bytes, rng: random.Random) -> tuple[Seen, bool]:
    """Return what was read, and whether that ended with an error; data comes in pieces."""
    reader, seen = FrameReader(LIMIT), Seen()
    at = 0
    try:
        while at < len(data):
            size = rng.randrange(1, len(data) + 1)
            reader.feed(data[at : at + size])
            at += size
            while (found := reader.next()) is not None:
                if found[0] == CLOSE:
                    ours.read_close(found[1])
                seen.append(found)
                if found[0] == CLOSE:
                    return seen, False
    except FrameError:
        return seen, True
    return seen, False


def read_theirs(data: bytes) -> tuple[Seen, bool]:
    protocol = Protocol(SERVER, state=OPEN, max_size=LIMIT)
    protocol.receive_data(data)
    seen, parts = Seen(), list[TheirFrame]()
    for each in cast(list[TheirFrame], protocol.events_received()):
        if each.opcode in (PING, PONG, CLOSE):
            seen.append((int(each.opcode), bytes(each.data)))
        else:
            parts.append(each)
            if parts[0].opcode == BINARY:
                return seen, True
            if each.fin:
                seen.append((int(parts[0].opcode), b"".join(bytes(part.data) for part in parts)))
                parts.clear()
    return seen, protocol.parser_exc is not None and not isinstance(protocol.parser_exc, EOFError)


def test_mutated_streams_are_read_as_another_implementation_reads_them() -> None:
    rng, broken = random.Random(18), 0
    for _ in range(STREAMS):
        data = stream(rng)
        mine, failed = read_ours(data, rng)
        theirs, they_failed = read_theirs(data)
        if mine and mine[-1][0] == CLOSE:  # they refuse it within a message in fragments, which RFC 6455 allows
            mine = mine[:-1]
            theirs = theirs[: len(mine)]
            they_failed = failed
        elif failed and not they_failed:  # they wait for the whole frame
            they_failed = read_theirs(data + bytes(70_000))[1]
        assert (mine, failed) == (theirs, they_failed), data
        broken += failed
    assert 0.2 < broken / STREAMS < 0.9, "both kinds are there"


class Outlet:
    """A connection that takes everything."""

    def __init__(self) -> None:
        self.account: Any = None
        self.sent: list[bytes] = []
        self.code = 0
        self.unsent = 0

    def send(self, text: bytes) -> None:
        self.sent.append(text)

    def send_all(self, texts: Iterable[bytes]) -> None:
        self.sent += texts

    def close(self, code: int, reason: str, ended: str) -> None:
        self.code = code

    def settle(self) -> None:
        pass

    def proceed(self) -> None:
        pass


class Gateway:
    """It takes what brokers would unpack, and answers nothing."""

    def __init__(self) -> None:
        self.taken = 0

    def start(self, op: ops.Op, topic: bytes, user: bytes, args: Any, *rest: Any) -> Any:
        assert isinstance(args, ops.OPS[op].args)
        assert 0 < len(topic) <= 255
        self.taken += 1
        return self

    def start_publish(self, op: ops.Op, topic: bytes, args: Any, body: bytes | None, *rest: Any) -> None:
        assert isinstance(args, ops.OPS[op].args)
        assert isinstance(args.body if body is None else body, bytes)
        self.taken += 1

    id = 1


WHOLE: list[dict[str, Any]] = [
    {
        "op": "publish",
        "topic": "t",
        "text": "é",
        "type": "a/b",
        "meta": {"meta-a": "1"},
        "ttl": 1.5,
        "key": "k",
        "ref": 1,
    },
    {"op": "publish", "topic": "t", "base64": "AAA=", "delay": 3},
    {"op": "subscribe", "topic": "t", "user": "u", "expires_after": 60, "max_deliveries": 3, "ref": "r"},
    {"op": "unsubscribe", "topic": "t", "user": "u"},
    {"op": "read", "topic": "t", "user": "u", "mode": "after", "after": "0badcafe1-7", "window": 9, "ref": 2},
    {"op": "read", "topic": "t", "user": "v", "mode": "lease", "lease": 30},
    {"op": "ack", "topic": "t", "user": "u", "id": "0badcafe1-7", "ref": 3},
    {"op": "ack", "topic": "t", "user": "u", "receipt": "0badcafe1-7.1"},
    {"op": "ack", "topic": "t", "user": "u", "receipts": ["0badcafe1-7.1", "0badcafe1-8.2"], "ref": 7},
    {"op": "nack", "topic": "t", "user": "u", "receipt": "0badcafe1-7.1", "delay": 0.5, "ref": 4},
    {"op": "extend", "topic": "t", "user": "u", "receipt": "0badcafe1-7.1", "lease": 60, "ref": 5},
    {"op": "stop", "topic": "t", "user": "u", "ref": 6},
]
STRANGE: list[Any] = [
    *(None, True, -1, 0, 2**53 + 1, 1e308, -0.0, "", "\0", "x" * 300, "\ud800", [], {}, [[[]]], "0-0", "\u202e", 1e-9),
]


def operation(rng: random.Random) -> bytes:
    whole: dict[str, Any] = dict(rng.choice(WHOLE))
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice([*whole, "unknown", "meta", "window", "ref"])
        if rng.random() < 0.3:
            whole.pop(name, None)
        else:
            whole[name] = rng.choice(STRANGE)
    data = bytearray(json.dumps(whole, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass"))
    if rng.random() < 0.3:
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def test_mutated_operations_are_executed_or_refused() -> None:
    rng = random.Random(18)
    gateway = Gateway()
    table = SessionTable(StreamTable(cast(Any, gateway), 10**6), SessionLimits(1000, 255))
    refused = 0
    session, outlet = fresh(table)
    for number in range(OPERATIONS):
        data = operation(rng)
        session.received(data)
        session.turn_over(False)
        refused += sum(b'"op":"error"' in each for each in outlet.sent)
        assert outlet.code in (0, 1007), data
        assert all(json.loads(each) for each in outlet.sent)
        outlet.sent.clear()
        if outlet.code or number % 50 == 0:
            session.gone("client")
            session, outlet = fresh(table)
    assert gateway.taken > OPERATIONS / 4
    assert refused > OPERATIONS / 4


def fresh(table: SessionTable) -> tuple[Session, Outlet]:
    outlet = Outlet()
    table.take_place()
    session = Session(table, Origin("r", None, None), cast(Any, outlet))
    table.add(session)
    return session, outlet


def test_deep_nesting_is_refused() -> None:
    table = SessionTable(StreamTable(cast(Any, Gateway()), 9), SessionLimits(1000, 255))
    session, outlet = fresh(table)
    session.received(b'{"op":"publish","topic":' + b"[" * 100_000)
    assert FanmailError("bad-op").code in outlet.sent[0].decode()
