"""Bytes that are almost, or not at all, of the wire: a corpus of hand-made cases, and a seeded generator."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec

_encode = msgspec.msgpack.encode

DEEP = 100_000
HEADERS = b"\xdd\xdf\xdb\xc6\xdc\xde\xda\xc5\xd9\xc4\xc7\xc9\xcf\xd3\xce\xcb\xc1\xc0\xd6\xd8"
"""First bytes of MessagePack values that are followed by a length, a number or nothing legal."""

REQUEST = [5, 13, b"t", b"u", 2**62, []]
FRAME = [1, 77, 1, [REQUEST]]


def _request(**changed: Any) -> list[Any]:
    names = ("id", "op", "topic", "user", "deadline", "args")
    more = [changed["request_id"]] if "request_id" in changed else []
    return [changed.get(name, value) for name, value in zip(names, REQUEST, strict=True)] + more


CORPUS: dict[str, list[bytes]] = {
    "no parts": [],
    "an empty part": [b""],
    "two empty parts": [b"", b""],
    "three parts": [_encode(FRAME), b"body", b"more"],
    "a thousand parts": [b"x"] * 1000,
    "a byte that is never used": [b"\xc1"],
    "nil": [b"\xc0"],
    "text": [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    "json": [b'{"version": 1}'],
    "a ZMTP greeting": [b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + bytes(48)],
    "arrays in arrays": [b"\x91" * DEEP],
    "maps in maps": [b"\x81\x01" * DEEP],
    "deep arguments": [_encode([1, 77, 1, [_request(args=0)]])[:-1] + b"\x91" * DEEP + b"\x90"],
    "deep requests": [b"\x94\x01\x4d\x01" + b"\x91" * DEEP],
    "an array of four thousand million": [b"\xdd\xff\xff\xff\xff"],
    "requests, four thousand million": [b"\x94\x01\x4d\x01\xdd\xff\xff\xff\xff"],
    "a map of four thousand million": [b"\xdf\xff\xff\xff\xff"],
    "a text of four gigabytes": [b"\xdb\xff\xff\xff\xff"],
    "a topic of four gigabytes": [b"\x94\x01\x4d\x01\x91\x96\x05\x0d\xc6\xff\xff\xff\xff"],
    "arguments of four gigabytes": [_encode([1, 77, 1, [_request(args=0)]])[:-1] + b"\xc6\xff\xff\xff\xff"],
    "a map with a map as key": [b"\x81\x80\x01"],
    "a request that is a map with a map as key": [b"\x94\x01\x4d\x01\x91\x81\x80\x01"],
    "a time beyond all calendars": [b"\x94\x01\x4d\x01\x91\x91\xc7\x0c\xff" + b"\xff" * 12],
    "an extension": [b"\x94\x01\x4d\x01\x91\xc7\x03\x2a\x00\x00\x00"],
    "not a number": [b"\x94\x01\x4d\x01\x91\x96\xcb\x7f\xf8" + bytes(6)],
    "broken UTF-8 where text is": [_encode([1, 77, 1, [_request(op=1)]])[:-1] + b"\x92\xa1\xff\xa1\xff"],
    "something after the end": [_encode(FRAME) + b"\x00"],
    "two frames in one": [_encode(FRAME) * 2],
    "one field too few": [_encode(FRAME[:3])],
    "a request with one field too few": [_encode([1, 77, 1, [REQUEST[:5]]])],
    "a map instead of an array": [_encode({"version": 1, "incarnation": 77, "map_epoch": 1, "requests": []})],
    "requests that are a map": [_encode([1, 77, 1, {}])],
    "numbers as text": [_encode(["1", "77", "1", [REQUEST]])],
    "a version that is true": [_encode([True, 77, 1, [REQUEST]])],
    "a floating id": [_encode([1, 77, 1, [_request(id=5.0)]])],
    "a negative id": [_encode([1, 77, 1, [_request(id=-5, op=99)]])],
    "the greatest id": [_encode([1, 77, 1, [_request(id=2**64 - 1, op=99)]])],
    "the greatest epoch": [_encode([1, 77, 2**64 - 1, []])],
    "the least deadline": [_encode([1, 77, 1, [_request(deadline=-(2**63))]])],
    "no topic": [_encode([1, 77, 1, [_request(topic=b"")]])],
    "a topic of nil": [_encode([1, 77, 1, [_request(topic=None)]])],
    "a topic that is too long": [_encode([1, 77, 1, [_request(topic=b"t" * 1025)]])],
    "a request id with a line end": [_encode([1, 77, 1, [_request(request_id="r1\r\n{}")]])],
    "a request id with a space": [_encode([1, 77, 1, [_request(request_id="r 1")]])],
    "a request id of other letters": [_encode([1, 77, 1, [_request(request_id="r\u2603")]])],
    "a request id that is too long": [_encode([1, 77, 1, [_request(request_id="r" * 129)]])],
    "a request id of bytes": [_encode([1, 77, 1, [_request(request_id=b"r1")]])],
    "a request id of nil": [_encode([1, 77, 1, [_request(request_id=None)]])],
    "a request id that is broken": [_encode([1, 77, 1, [_request(request_id="r?")]])[:-1] + b"\xff"],
    "the longest lease and more": [_encode([1, 77, 1, [_request(args=[False, "", 0, 2**60 + 1])]])],
    "a lease of less than nothing": [_encode([1, 77, 1, [_request(args=[False, "", 0, -1])]])],
    "a delay beyond all numbers": [
        _encode([1, 77, 1, [_request(op=12, user=b"", args=[b"", b"", 1, b"", 0, 2**64 - 1])]])
    ],
    "a key that is too long": [
        _encode([1, 77, 1, [_request(op=12, user=b"", args=[b"", b"", 1, b"", 0, 0, b"k" * 256])]])
    ],
    "a digest that is too long": [
        _encode([1, 77, 1, [_request(op=12, user=b"", args=[b"", b"", 1, b"", 0, 0, b"k", b"d" * 17])]])
    ],
    "settings of less than nothing": [_encode([1, 77, 1, [_request(op=18, args=[-1, None])]])],
    "receipts that are one receipt": [_encode([1, 77, 1, [_request(op=19, args=["0badcafe1", 1, 1])]])],
    "receipts in receipts": [_encode([1, 77, 1, [_request(op=19, args=0)]])[:-1] + b"\x91" * DEEP + b"\x90"],
    "receipts, four thousand million": [
        _encode([1, 77, 1, [_request(op=19, args=0)]])[:-1] + b"\x91\xdd\xff\xff\xff\xff"
    ],
    "a receipt with one field too few": [_encode([1, 77, 1, [_request(op=20, args=[["0badcafe1", 1], 1])]])],
    "a receipt of nil": [_encode([1, 77, 1, [_request(op=20, args=[None, 1])]])],
    "dead letters without a place to begin": [_encode([1, 77, 1, [_request(op=21, args=[])]])],
    "a cancel of nothing": [_encode([1, 77, 1, [_request(op=24, args=[])]])],
    "sixty-five requests": [_encode([1, 77, 1, [REQUEST] * 65])],
    "two requests for one body": [_encode([1, 77, 1, [REQUEST] * 2]), b"body"],
    "no request for a body": [_encode([1, 77, 1, []]), b"body"],
}


def mutated(rng: random.Random, frame: bytes) -> bytes:
    """Return a valid frame with a few bytes changed, removed, doubled or replaced by the header of something huge."""
    result = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(result) + 1)
        match rng.randrange(7):
            case 0 if result:
                result[at % len(result)] = rng.randrange(256)
            case 1:
                del result[at:]
            case 2:
                del result[at : at + rng.randint(1, 8)]
            case 3:
                result[at:at] = rng.randbytes(rng.randint(1, 8))
            case 4:
                result[at:at] = result[: rng.randint(0, 40)]
            case 5:
                result[at:at] = bytes([rng.choice(HEADERS)]) + rng.choice([b"", b"\xff" * 8, rng.randbytes(8)])
            case _:
                result[at : at + 1] = b"\x91" * rng.choice([1, 10, 3000])
    return bytes(result)


def value(rng: random.Random, depth: int = 0) -> Any:
    """Return a random MessagePack value."""
    match rng.randrange(10 if depth < 4 else 7):
        case 0:
            return rng.choice([0, 1, 2, 5, 12, 13, 77, -1, 2**31, 2**62, 2**64 - 1, -(2**63)])
        case 1:
            return rng.randrange(128)
        case 2:
            return rng.randbytes(rng.choice([0, 1, 5, 1025]))
        case 3:
            return rng.choice(["", "fanmail", "b0", "\u2603" * 5])
        case 4:
            return rng.choice([None, True, False])
        case 5:
            return rng.choice([0.0, float("nan"), float("inf"), -1.5])
        case 6:
            return msgspec.msgpack.Ext(rng.randrange(128), rng.randbytes(4))
        case 7:
            return {rng.choice(["a", 1, b"k"]): value(rng, depth + 1) for _ in range(rng.randrange(3))}
        case _:
            return [value(rng, depth + 1) for _ in range(rng.randrange(8))]


def swapped(rng: random.Random, decoded: Any) -> Any:
    """Return the same structure with one value replaced by one of another type."""
    if not isinstance(decoded, list) or not decoded or rng.random() < 0.2:
        return value(rng)
    result = list(decoded)
    at = rng.randrange(len(result))
    match rng.randrange(6):
        case 0:
            del result[at]
        case 1:
            result.insert(at, value(rng))
        case _:
            result[at] = swapped(rng, result[at])
    return result


NUMBERS = (0, 1, 2, 5, -1, 2**31, 2**32 - 1, 2**60, 2**60 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))
OPERATIONS = (10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, *range(30, 38))
"""On topics, and their listing."""


def arguments(rng: random.Random, op: int, epoch: str) -> list[Any]:
    """Return arguments of an operation with the right types and numbers that our fronts never send."""

    def number() -> int:
        return rng.choice(NUMBERS) if rng.random() < 0.6 else rng.randrange(1, 8)

    def receipt() -> list[Any]:
        return [rng.choice([epoch, epoch, epoch, "", "0badcafe2"]), number(), number()]

    match op:
        case 10 | 18:
            return [rng.choice([None, number()]), rng.choice([None, number()])]
        case 12:
            key = rng.choice([b"", b"", b"k", b"k" * 255, b"k" * 256])
            return [b"h", b"body", 1, b"", number(), number(), key, rng.choice([b"d" * 16, b"d" * 17])]
        case 13:
            return [rng.random() < 0.3, epoch, number(), number()]
        case 17:
            return [rng.random() < 0.3, epoch, number(), number(), number(), rng.random() < 0.5, number()]
        case 19:
            return [[receipt() for _ in range(rng.choice([0, 1, 3, 1000]))]]
        case 20:
            return [receipt(), number(), number()]
        case 30:
            return [rng.choice([b"", b"t", b"\xff"]), rng.choice([b"", b"t"]), number(), number()]
        case 31 | 34:
            return [rng.choice([b"", b"u", b"\xff"]), number()]
        case 32:
            names = [rng.choice(["max_messages", "max_bytes", "max_age", "drop_oldest", "?"]) for _ in range(2)]
            return [names, [rng.choice([None, 10**6, 2**50, number()]) for _ in range(3)] + [rng.random() < 0.5]]
        case 33:
            return [number() if rng.random() < 0.1 else 0]
        case 36:
            return [number(), number()]
        case 21:
            return [number(), number(), number()]
        case 15 | 24:
            return [number()]
        case _:
            return []


def message(rng: random.Random, valid: Sequence[bytes]) -> list[bytes]:
    """Return one message of the generator, made of frames of the wire."""
    frame = rng.choice(valid)
    match rng.randrange(5):
        case 0:
            first = rng.randbytes(rng.choice([0, 1, 2, 8, 64, 1000]))
        case 1:
            first = _encode(swapped(rng, msgspec.msgpack.decode(frame)))
        case 2:
            first = frame[: rng.randrange(len(frame))]
        case _:
            first = mutated(rng, frame)
    parts = rng.choices([0, 1, 2, 3, 50], [1, 80, 15, 3, 1])[0]
    return [first, *[rng.randbytes(rng.choice([0, 5, 20_000])) for _ in range(parts - 1)]][:parts]
