"""What the connections of a load say to a front, and whether they were told the truth.

Every script checks that all it was to get has come and nothing else: ids follow each other without a gap, counts and
sizes are right. Each reads or publishes alone in its topic, so that it knows what comes next.
"""

from __future__ import annotations

import re
from struct import pack
from typing import NamedTuple

from bench.harness.processes import BenchError
from bench.loads.client import Answer, Script, request

FRAMES = b"Accept: application/vnd.fanmail.frames"
LEASE = 30
"""Seconds; no measurement leases anything for so long."""
_receipts = re.compile(rb'"receipt":\s*"([^"]+)"').findall


class Batch(NamedTuple):
    """Messages that are published together."""

    messages: int
    size: int
    """Bytes of each."""
    frames: bytes


def make_batch(messages: int, size: int) -> Batch:
    """Messages that differ."""
    return Batch(messages, size, b"".join(pack(">I", size) + b"%0*d" % (size, n) for n in range(messages)))


class Ids:
    """Ids of one topic in order. The first may be any."""

    def __init__(self) -> None:
        self._next = (b"", 0)

    def follow(self, first: bytes, count: int = 1) -> None:
        """Raises `BenchError` where the messages from id `first` on are not those behind the last ones."""
        epoch, _, number = first.partition(b"-")
        if self._next[1] and self._next != (epoch, int(number)):
            expected = b"%s-%d" % self._next
            raise BenchError(f"the message {expected.decode()} was expected, it is {first.decode()}")
        self._next = epoch, int(number) + count


def ask(method: str, target: bytes) -> Script:
    """One request that any good answer will do for."""
    yield request(method, target)


def publish_batches(topic: bytes, batch: Batch, times: int) -> Script:
    """All batches of one topic that has subscribers."""
    sent = request("POST", b"/%s?batch=frames" % topic, batch.frames)
    ids = Ids()
    for _ in range(times):
        answer = yield sent
        _expect(answer.number(b"msg-count"), batch.messages, "messages of a batch")
        ids.follow(answer.header(b"msg-id"), batch.messages)


def fetch_batches(target: bytes, batch: Batch, times: int, content: bool = False) -> Script:
    """As many as were published and not one more. `content`: the bytes are compared too, which takes time."""
    asked = request("GET", b"%s?max=%d" % (target, batch.messages), b"", FRAMES)
    ids, left = Ids(), batch.messages * times
    while left > 0:
        answer = yield asked
        count = _several(answer, ids)
        _expect(len(answer.body), count * (4 + batch.size), "bytes of frames")
        if content and bytes(answer.body) != batch.frames:
            raise BenchError("what was fetched is not what was published")
        left -= count
        _expect(answer.number(b"msg-pending"), left, "messages that wait")


def publish_each(topic: bytes, size: int, times: int) -> Script:
    """Message by message."""
    sent = request("POST", b"/%s" % topic, b"x" * size)
    ids = Ids()
    for _ in range(times):
        answer = yield sent
        ids.follow(answer.header(b"msg-id"))


def get_each(target: bytes, size: int, times: int) -> Script:
    """Message by message, each taken."""
    asked = request("GET", target)
    ids = Ids()
    for _ in range(times):
        answer = yield asked
        ids.follow(_one(answer, size))


def get_after(target: bytes, size: int, times: int) -> Script:
    """Message by message, each acknowledged with the request for the next one; the last finds that none is left."""
    ids = Ids()
    last = b"0"
    for _ in range(times):
        answer = yield request("GET", b"%s?after=%s" % (target, last))
        last = _one(answer, size)
        ids.follow(last)
    answer = yield request("GET", b"%s?after=%s" % (target, last))
    _expect(answer.status, 204, "as status when everything is done")


def lease_each(target: bytes, size: int, times: int) -> Script:
    """Message by message: leased, then acknowledged."""
    asked = request("GET", b"%s?lease=%d" % (target, LEASE))
    ids = Ids()
    for _ in range(times):
        answer = yield asked
        ids.follow(_one(answer, size))
        yield request("DELETE", b"%s/%s" % (target, answer.header(b"msg-receipt")))
    yield from none_left(target)


def fetch_lines(target: bytes, most: int, times: int) -> Script:
    """`most` at a time as NDJSON, each taken."""
    asked = request("GET", b"%s?max=%d" % (target, most))
    ids, left = Ids(), times
    while left > 0:
        answer = yield asked
        left -= _several(answer, ids)
    _expect(left, 0, "messages that should not have come")


def lease_batches(target: bytes, most: int, times: int) -> Script:
    """`most` at a time as NDJSON: leased, then acknowledged together."""
    asked = request("GET", b"%s?lease=%d&max=%d" % (target, LEASE, most))
    ids, left = Ids(), times
    while left > 0:
        answer = yield asked
        count = _several(answer, ids)
        receipts = _receipts(answer.body)
        _expect(len(receipts), count, "receipts")
        answer = yield request("POST", target + b"/acks", b"\n".join(receipts) + b"\n")
        _expect(answer.number(b"msg-count"), count, "messages acknowledged")
        left -= count
    _expect(left, 0, "messages that should not have come")
    yield from none_left(target)


def none_left(target: bytes) -> Script:
    """Nothing waits, and nothing is leased."""
    answer = yield request("HEAD", target)
    _expect(answer.number(b"msg-pending"), 0, "messages that wait")
    _expect(answer.number(b"msg-leased"), 0, "leases")


def _one(answer: Answer, size: int) -> bytes:
    """The id of the only message."""
    _expect(len(answer.body), size, "bytes of a message")
    return answer.header(b"msg-id")


def _several(answer: Answer, ids: Ids) -> int:
    count = answer.number(b"msg-count")
    ids.follow(answer.header(b"msg-first-id"), count)
    return count


def _expect(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise BenchError(f"{found} {what}, {expected} were expected")
