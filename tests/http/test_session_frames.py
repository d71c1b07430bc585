"""Frames of WebSocket over a raw socket; the names of cases are the numbers of Autobahn's test suite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.http.sessions import Playing, playing
from tests.support.table import table
from tests.support.web_socket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WebSocket, frame, message

OK = {"op": "ok", "ref": 1}
STOP = json.dumps({"op": "stop", "topic": "t", "user": "ü€😀", "ref": 1}, ensure_ascii=False).encode()
"""An operation that needs no broker, with characters of every length in UTF-8."""


@pytest.fixture(scope="module")
def front() -> Iterator[Playing]:
    with playing() as front:
        yield front


@pytest.fixture
def client(front: Playing) -> Iterator[WebSocket]:
    with WebSocket(front.port) as client:
        yield client


def cases(numbers: Sequence[str], column: str, rows: Sequence[Any]) -> Any:
    """A table whose rows have the numbers of Autobahn's cases."""
    return table(("case", column), list(zip(numbers, rows, strict=True)))


def publish(size: int) -> bytes:
    """An operation whose message has this size."""
    start = b'{"op":"publish","topic":"t","ref":1,"text":"'
    return start + b"x" * (size - len(start) - 2) + b'"}'


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def fragments(payload: bytes, size: int, between: bytes = b"") -> bytes:
    """A message in fragments of this size, with other frames between them."""
    pieces = in_pieces(payload, size)
    frames = [frame(each, CONTINUATION if n else TEXT, final=n == len(pieces) - 1) for n, each in enumerate(pieces)]
    return between.join(frames)


@cases(("1.1.2", "1.1.3", "1.1.4", "1.1.5", "1.1.6", "1.1.7"), "size", [125, 126, 127, 128, 65535, 65536])
def test_a_text_message_of_every_kind_of_length(front: Playing, size: int, case: str) -> None:
    with WebSocket(front.port) as client:
        client.send(frame(publish(size)))
        assert client.next()["op"] == "ok"


def test_a_text_message_that_comes_byte_by_byte(client: WebSocket) -> None:
    """Cases 1.1.8, 5.5, 10.1.1."""
    for each in in_pieces(frame(STOP) + fragments(STOP, 3), 1):
        client.send(each)
    assert [client.next(), client.next()] == [OK, OK]


@cases(("1.2.1", "1.2.2", "1.2.3", "1.2.7"), "payload", [b"", b"x" * 125, b"x" * 126, b"x" * 65536])
def test_binary_is_not_understood(front: Playing, payload: bytes, case: str) -> None:
    with WebSocket(front.port) as client:
        client.send(frame(payload, BINARY))
        assert client.closed() == (1003, "only text frames are understood")


@cases(("2.1", "2.2", "2.3", "2.4"), "payload", [b"", b"Hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125])
def test_a_ping_is_answered_with_its_payload(front: Playing, payload: bytes, case: str) -> None:
    with WebSocket(front.port) as client:
        client.send(frame(payload, PING))
        assert client.frame() == (PONG, payload)


def test_pings_that_come_byte_by_byte_are_answered_in_order(client: WebSocket) -> None:
    """Cases 2.6, 2.10, 2.11."""
    for each in in_pieces(b"".join(frame(b"payload-%d" % n, PING) for n in range(10)), 1):
        client.send(each)
    assert [client.frame() for _ in range(10)] == [(PONG, b"payload-%d" % n) for n in range(10)]


def test_pongs_that_nobody_asked_for_are_ignored(client: WebSocket) -> None:
    """Cases 2.7, 2.8, 2.9."""
    client.send(frame(b"", PONG), frame(b"unsolicited", PONG), frame(b"asked", PING))
    assert client.frame() == (PONG, b"asked")


BROKEN = {
    "2.5 a ping with 126 bytes": frame(b"\xfe" * 126, PING),
    "3.1 RSV1": frame(STOP, reserved=4),
    "3.2 RSV2": frame(STOP, reserved=2),
    "3.3 RSV3": frame(STOP, reserved=1),
    "3.4 RSV1 and RSV2": frame(b"", reserved=6),
    "3.5 RSV1 on a ping": frame(b"", PING, reserved=4),
    "3.6 RSV on a close": frame(b"", CLOSE, reserved=3),
    "3.7 RSV on binary": frame(b"", BINARY, reserved=7),
    "4.1.1 opcode 3": frame(b"", 3),
    "4.1.2 opcode 4": frame(b"payload", 4),
    "4.1.3 opcode 5": frame(b"", 5),
    "4.1.4 opcode 6": frame(b"payload", 6),
    "4.1.5 opcode 7": frame(b"", 7),
    "4.2.1 opcode 11": frame(b"", 11),
    "4.2.2 opcode 12": frame(b"payload", 12),
    "4.2.3 opcode 13": frame(b"", 13),
    "4.2.4 opcode 14": frame(b"payload", 14),
    "4.2.5 opcode 15": frame(b"", 15),
    "5.1 a ping in fragments": frame(b"frag", PING, final=False) + frame(b"ment", CONTINUATION),
    "5.2 a pong in fragments": frame(b"frag", PONG, final=False) + frame(b"ment", CONTINUATION),
    "5.9 a continuation of nothing": frame(b"", CONTINUATION),
    "5.10 the same, with data": frame(b"payload", CONTINUATION),
    "5.12 a first fragment that continues nothing": frame(b"", CONTINUATION, final=False),
    "5.15 a fragment behind the last one": fragments(STOP, 30) + frame(b"x", CONTINUATION, final=False),
    "5.18 two first fragments": frame(b"a", final=False) + frame(b"b"),
    "7.3.2 a close of one byte": frame(b"\x03", CLOSE),
    "7.3.6 a close of 126 bytes": frame(b"\x03\xe8" + b"x" * 124, CLOSE),
    "no mask": frame(STOP, masked=False),
    "no mask on a close": frame(b"", CLOSE, masked=False),
} | {
    f"7.9, 7.13: code {code}": frame(code.to_bytes(2) + b"why", CLOSE)
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
}


@table("case", BROKEN)
def test_what_breaks_the_protocol_closes_the_connection(front: Playing, case: str) -> None:
    with WebSocket(front.port) as client:
        client.send(frame(b"before", PING), BROKEN[case])
        assert client.frame() == (PONG, b"before")
        if case.startswith("5.15"):
            assert client.next() == OK
        assert client.closed()[0] == 1002


@cases(("5.3", "5.4"), "size", [len(STOP) // 2 + 1, 1])
def test_a_message_in_fragments(front: Playing, size: int, case: str) -> None:
    with WebSocket(front.port) as client:
        client.send(fragments(STOP, size))
        assert client.next() == OK


@cases(("5.6", "5.19"), "size", [len(STOP) // 2 + 1, 5])
def test_a_message_in_fragments_with_pings_between_them(front: Playing, size: int, case: str) -> None:
    with WebSocket(front.port) as client:
        count = len(in_pieces(STOP, size)) - 1
        client.send(fragments(STOP, size, frame(b"ping", PING)), frame(STOP))
        assert [client.frame() for _ in range(count)] == [(PONG, b"ping")] * count
        assert [client.next(), client.next()] == [OK, OK]


def test_empty_fragments(client: WebSocket) -> None:
    """Cases 6.1.2, 6.1.3."""
    empty = frame(b"", CONTINUATION, final=False)
    client.send(frame(b"", final=False), empty, frame(STOP, CONTINUATION, final=False), empty, frame(b"", CONTINUATION))
    assert client.next() == OK


@cases(
    ("6.3.1", "6.4.1", "6.14.1", "6.16.1", "6.18.1", "6.18.2", "6.18.3", "6.20.7", "6.13.1", "6.11.1"),
    "text",
    [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
        b"\x80",
        b"\xfe",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xed\xbf\xbf",
        b"\xf8\x88\x80\x80\x80",
        b"\xce",
    ],
)
def test_text_that_is_not_utf8_closes_the_connection(front: Playing, text: bytes, case: str) -> None:
    inside = STOP.replace(b"\xf0\x9f\x98\x80", text)
    for whole in (frame(text), frame(inside), fragments(inside, 1)):
        with WebSocket(front.port) as client:
            client.send(whole)
            assert client.closed() == (1007, "a message is not UTF-8")


@table(
    ("sent", "echoed"),
    [
        (b"", b""),
        (b"\x03\xe8", b"\x03\xe8"),
        (b"\x03\xe8Hello World!", b"\x03\xe8"),
        (b"\x03\xe8" + b"x" * 123, b"\x03\xe8"),
        *[(code.to_bytes(2), code.to_bytes(2)) for code in (1001, 1002, 1003, 1007, 1011, 3000, 3999, 4000, 4999)],
    ],
)
def test_a_close_is_echoed(front: Playing, sent: bytes, echoed: bytes) -> None:
    """Cases 7.3.1, 7.3.3 to 7.3.5, 7.7."""
    with WebSocket(front.port) as client:
        client.send(frame(sent, CLOSE))
        assert client.frame() == (CLOSE, echoed)
        assert client.sock.recv(1) == b""


def test_a_reason_that_is_not_utf8(client: WebSocket) -> None:
    """Cases 7.5.1."""
    client.send(frame(b"\x03\xe8\xce\xba\xe1\xbd\xb9\xed\xa0\x80", CLOSE))
    assert client.closed() == (1007, "the reason of a close frame is not UTF-8")


@cases(
    ("7.1.2", "7.1.3", "7.1.4", "7.1.6"),
    "behind",
    [frame(b"\x03\xe8", CLOSE), frame(b"", PING), message(op="stop", topic="t", user="u", ref=2), frame(b"x" * 65536)],
)
def test_nothing_is_heard_behind_a_close(front: Playing, behind: bytes, case: str) -> None:
    with WebSocket(front.port) as client:
        client.send(message(op="stop", topic="t", user="u", ref=1), frame(b"\x03\xe8", CLOSE), behind)
        assert client.next() == OK
        assert client.closed() == (1000, "")


def test_a_close_within_a_message_in_fragments(client: WebSocket) -> None:
    """Cases 7.1.5."""
    client.send(frame(b"frag", final=False), frame(b"\x03\xe8", CLOSE))
    assert client.closed() == (1000, "")


def test_an_extension_is_not_negotiated(front: Playing) -> None:
    """Cases 12, 13."""
    with WebSocket(front.port, "/", "Sec-WebSocket-Extensions: permessage-deflate") as client:
        head = client.head.decode().split("\r\n")
        assert head[0] == "HTTP/1.1 101 Switching Protocols"
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, "the example of RFC 6455, section 1.3"
        assert "Sec-WebSocket-Protocol: fanmail.v1.json" in head
        assert "extensions" not in client.head.decode().lower()
        assert "content-length" not in client.head.decode().lower()
