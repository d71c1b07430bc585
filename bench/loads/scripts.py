"""Scripts that a load plays against a front, with checks of the answers.

Every script checks that exactly the expected messages arrive: consecutive ids, counts, sizes. Each reads or publishes
alone in its topic, so that the next id is known.
"""

from __future__ import annotations

import re
from struct import pack
from typing import NamedTuple

from bench.harness.processes import BenchError
from bench.loads.client import Answer, Script, request

FRAMES = b"Accept: application/vnd.fanmail.frames"
LEASE_S = 30
"""Seconds; longer than any measurement holds a lease."""
_receipts = re.compile(rb'"receipt":\s*"([^"]+)"').findall


class Batch(NamedTuple):
    """Messages that are published in one request."""

    messages: int
    size: int
    """Bytes per message."""
    frames: bytes


def make_batch(messages: int, size: int) -> Batch:
    """Return a batch of `messages` different messages of `size` bytes."""
    return Batch(messages, size, b"".join(pack(">I", size) + b"%0*d" % (size, n) for n in range(messages)))


class Ids:
    """Checks that the ids of a topic are consecutive. The first may be any."""

    def __init__(self) -> None:
        self._next = (b"", 0)

    def follow(self, first: bytes, count: int = 1) -> None:
        """Take in `count` messages from id `first` on. Raises `BenchError` if they do not follow the last ones."""
        epoch, _, number = first.partition(b"-")
        if self._next[1] and self._next != (epoch, int(number)):
            expected = b"%s-%d" % self._next
            raise BenchError(f"message {expected.decode()} was expected, got {first.decode()}")
        self._next = epoch, int(number) + count


def ask(method: str, target: bytes) -> Script:
    """Send one request and accept any answer below 400."""
    yield request(method, target)


def publish_batches(topic: bytes, batch: Batch, times: int) -> Script:
    """Publish a batch `times` times to a topic that has subscribers."""
    sent = request("POST", b"/%s?batch=frames" % topic, batch.frames)
    ids = Ids()
    for _ in range(times):
        answer = yield sent
        _expect(answer.number(b"msg-count"), batch.messages, "messages of a batch")
        ids.follow(answer.header(b"msg-id"), batch.messages)


def fetch_batches(target: bytes, batch: Batch, times: int, content: bool = False) -> Script:
    """Fetch exactly the messages that were published. `content`: compare the bytes too, which takes time."""
    asked = request("GET", b"%s?max=%d" % (target, batch.messages), b"", FRAMES)
    ids, left = Ids(), batch.messages * times
    while left > 0:
        answer = yield asked
        count = _several(answer, ids)
        _expect(len(answer.body), count * (4 + batch.size), "bytes of frames")
        if content and bytes(answer.body) != batch.frames:
            raise BenchError("the fetched bytes differ from those published")
        left -= count
        _expect(answer.number(b"msg-pending"), left, "waiting messages")


def publish_each(topic: bytes, size: int, times: int) -> Script:
    """Publish one message at a time."""
    sent = request("POST", b"/%s" % topic, b"x" * size)
    ids = Ids()
    for _ in range(times):
        answer = yield sent
        ids.follow(answer.header(b"msg-id"))


def get_each(target: bytes, size: int, times: int) -> Script:
    """Read one message at a time, at per_request once."""
    asked = request("GET", target)
    ids = Ids()
    for _ in range(times):
        answer = yield asked
        ids.follow(_one(answer, size))


def get_after(target: bytes, size: int, times: int) -> Script:
    """Read one message at a time with `after`, which acknowledges the one before; the last request finds none."""
    ids = Ids()
    last = b"0"
    for _ in range(times):
        answer = yield request("GET", b"%s?after=%s" % (target, last))
        last = _one(answer, size)
        ids.follow(last)
    answer = yield request("GET", b"%s?after=%s" % (target, last))
    _expect(answer.status, 204, "as the status when no message is left")


def lease_each(target: bytes, size: int, times: int) -> Script:
    """Lease and acknowledge one message at a time."""
    asked = request("GET", b"%s?lease=%d" % (target, LEASE_S))
    ids = Ids()
    for _ in range(times):
        answer = yield asked
        ids.follow(_one(answer, size))
        yield request("DELETE", b"%s/%s" % (target, answer.header(b"msg-receipt")))
    yield from expect_empty(target)


def fetch_lines(target: bytes, per_request: int, times: int) -> Script:
    """Read up to `per_request` messages at a time as NDJSON, at per_request once."""
    asked = request("GET", b"%s?max=%d" % (target, per_request))
    ids, left = Ids(), times
    while left > 0:
        answer = yield asked
        left -= _several(answer, ids)
    _expect(left, 0, "messages more than were published")


def lease_batches(target: bytes, per_request: int, times: int) -> Script:
    """Lease up to `per_request` messages at a time as NDJSON and acknowledge them together."""
    asked = request("GET", b"%s?lease=%d&max=%d" % (target, LEASE_S, per_request))
    ids, left = Ids(), times
    while left > 0:
        answer = yield asked
        count = _several(answer, ids)
        receipts = _receipts(answer.body)
        _expect(len(receipts), count, "receipts")
        answer = yield request("POST", target + b"/acks", b"\n".join(receipts) + b"\n")
        _expect(answer.number(b"msg-count"), count, "acknowledged messages")
        left -= count
    _expect(left, 0, "messages more than were published")
    yield from expect_empty(target)


def expect_empty(target: bytes) -> Script:
    """Check that no message waits and none is leased."""
    answer = yield request("HEAD", target)
    _expect(answer.number(b"msg-pending"), 0, "waiting messages")
    _expect(answer.number(b"msg-leased"), 0, "leases")


def _one(answer: Answer, size: int) -> bytes:
    """Check the size of a single message and return its id."""
    _expect(len(answer.body), size, "bytes of a message")
    return answer.header(b"msg-id")


def _several(answer: Answer, ids: Ids) -> int:
    count = answer.number(b"msg-count")
    ids.follow(answer.header(b"msg-first-id"), count)
    return count


def _expect(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise BenchError(f"got {found} {what}, expected {expected}")
