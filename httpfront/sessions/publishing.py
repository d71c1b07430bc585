"""The publishes of a session: many at a time, and those of one topic in the order in which they came.

What arrives in one turn for one topic, with the same kept headers, goes to the broker as one batch of messages that
stand apart: one request, one piece of its log, one answer, whatever the number of publishes.

Calls to one broker are sent and answered in order, but for bodies that travel in a frame of their own, which may wait
for room. While one of those is under way, what comes behind it for its topic waits here until that one is answered.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from struct import pack
from typing import Any

from msgspec import Struct

from common.errors import FanmailError
from common.protocol import ops, wire
from common.protocol.ops import Op
from common.protocol.publish_ops import MAX_APART
from httpfront.gateway.call import Answer
from httpfront.sessions import answers
from httpfront.sessions.operations import Publish
from httpfront.sessions.pending import Pending
from httpfront.sessions.ports import Owner
from httpfront.sessions.values import name_of, publish_of

MOST_BYTES = wire.LARGE_BODY - 4 * MAX_APART - 1
"""Bytes of bodies in one batch, so that its frames are no large body."""
_Entry = tuple[Any, int]
"""The `ref` of a publish, and the bytes of its message."""


class _Batch(Struct):
    """Publishes of one topic that have not been sent yet."""

    headers: bytes
    ttl: int
    bodies: list[bytes]
    keys: list[bytes]
    """b"": none."""
    digests: list[bytes]
    entries: list[_Entry]
    size: int
    """Bytes of bodies."""


class Publishing:
    """The publishes of one session."""

    __slots__ = ("_batches", "_behind", "_most", "_most_bytes", "_owner")

    def __init__(self, owner: Owner, most: int = MAX_APART, most_bytes: int = MOST_BYTES) -> None:
        """`most` messages with `most_bytes` of bodies go together."""
        self._owner = owner
        self._most, self._most_bytes = most, most_bytes
        self._batches: dict[bytes, _Batch] = {}
        """By topic, what `flush` sends."""
        self._behind: dict[bytes, tuple[Pending, deque[tuple[ops.Publish, _Entry]]]] = {}
        """By topic with a large body under way: that publish, and those that came after it."""

    def publish(self, op: Publish, size: int) -> None:
        """Begin a publish; `flush` sends it. Raises `FanmailError` where it cannot be."""
        limits = self._owner.limits
        topic = name_of(op.topic, "topic", limits.max_name)
        args = publish_of(op, limits.max_body)
        self._owner.began(size)
        self._begin(topic, args, (op.ref, size))

    def flush(self) -> None:
        """Send what this turn has brought."""
        for topic in [*self._batches]:
            self._send(topic)

    def _begin(self, topic: bytes, args: ops.Publish, entry: _Entry) -> None:
        body = args.body
        if self._behind and topic in self._behind:
            self._behind[topic][1].append((args, entry))
        elif args.delay or len(body) > self._most_bytes:
            self._send(topic)
            self._start_alone(topic, args, entry)
        else:
            batch = self._batches.get(topic)
            if batch is not None and not self._fits(batch, args):
                self._send(topic)
                batch = None
            if batch is None:
                self._batches[topic] = _Batch(
                    args.headers, args.ttl, [body], [args.key], [args.digest], [entry], len(body)
                )
            else:
                batch.bodies.append(body)
                batch.keys.append(args.key)
                batch.digests.append(args.digest)
                batch.entries.append(entry)
                batch.size += len(body)

    def _fits(self, batch: _Batch, args: ops.Publish) -> bool:
        """Return whether a publish can be sent with these."""
        room = len(batch.bodies) < self._most and batch.size + len(args.body) <= self._most_bytes
        return room and batch.headers == args.headers and batch.ttl == args.ttl

    def _send(self, topic: bytes) -> None:
        """Send the batch of a topic, where there is one."""
        batch = self._batches.pop(topic, None)
        if batch is None:
            return
        if len(batch.bodies) == 1:
            args = ops.Publish(
                batch.headers, batch.bodies[0], ttl=batch.ttl, key=batch.keys[0], digest=batch.digests[0]
            )
            self._start_alone(topic, args, batch.entries[0])
        else:
            self._start(Op.PUBLISH_APART, topic, _args_of(batch), None, batch.entries)

    def _start_alone(self, topic: bytes, args: ops.Publish, entry: _Entry) -> None:
        body = None
        if len(args.body) >= wire.LARGE_BODY:
            body, args.body = args.body, b""
        pending = self._start(Op.PUBLISH, topic, args, body, [entry])
        if pending is not None and body is not None:
            self._behind[topic] = pending, deque()

    def _start(self, op: Op, topic: bytes, args: Struct, body: bytes | None, entries: list[_Entry]) -> Pending | None:
        """Ask the broker; return None where it cannot be asked."""
        pending = Pending(self, op, None, 0, (topic, entries))
        try:
            self._owner.gateway.start_publish(op, topic, args, body, pending, self._owner.request_id)
        except FanmailError as error:
            self._refused(topic, entries, error)
            return None
        return pending

    def answered(self, pending: Pending, answer: Answer) -> None:
        """Take the answer of a broker."""
        topic, entries = pending.about
        try:
            result = self._owner.gateway.result_of(pending.op, answer)
        except FanmailError as error:
            self._refused(topic, entries, error)
        else:
            if pending.op is Op.PUBLISH:
                self._answer(entries[0], result)
            else:
                self._settle(topic, entries, result)
        if self._behind and (large := self._behind.get(topic)) is not None and large[0] is pending:
            self._go_on(topic)

    def failed(self, error: FanmailError) -> None:
        """End after an unexpected error."""
        self._owner.failed(error)

    def _go_on(self, topic: bytes) -> None:
        """Send what waited behind a large body, up to the next one."""
        _, waiting = self._behind.pop(topic)
        while waiting and topic not in self._behind:
            self._begin(topic, *waiting.popleft())
        self._send(topic)
        if waiting:
            self._behind[topic] = self._behind[topic][0], waiting

    def _settle(self, topic: bytes, entries: list[_Entry], result: ops.PublishedApart) -> None:
        """Answer what the broker has executed together."""
        if not (result.refused or result.replayed):
            refs = [ref for ref, _ in entries]
            self._owner.send_all(answers.stored(refs, result.subscribers, result.epoch, result.seq))
            self._count(entries)
            return
        refused = {index: FanmailError(code, detail) for index, code, detail in result.refused}
        replayed = {
            index: ops.Published(count, result.epoch, seq, replayed=True) for index, count, seq in result.replayed
        }
        new = ops.Published(result.subscribers, result.epoch, result.seq)
        for index, entry in enumerate(entries):
            if index in refused:
                self._refused(topic, [entry], refused[index])
                continue
            self._answer(entry, replayed.get(index, new))
            if index not in replayed:
                new.seq += 1

    def _answer(self, entry: _Entry, result: ops.Published) -> None:
        """Answer a publish that the broker has executed."""
        if entry[0] is not None:
            self._owner.send(answers.published(entry[0], result))
        self._count([entry])

    def _refused(self, topic: bytes, entries: list[_Entry], error: FanmailError) -> None:
        about: dict[str, Any] = {"topic": topic.decode()}
        self._owner.send_all([answers.failed(ref, {} if ref is not None else about, error) for ref, _ in entries])
        self._count(entries)

    def _count(self, entries: list[_Entry]) -> None:
        self._owner.done(sum([size for _, size in entries]), len(entries))


def _args_of(batch: _Batch) -> ops.PublishApart:
    bodies = batch.bodies
    sizes = [len(body) for body in bodies]
    frames = b"".join([part for size, body in zip(sizes, bodies, strict=True) for part in (pack(">I", size), body)])
    offsets = pack(f"<{len(bodies) + 1}I", *accumulate(sizes, lambda at, size: at + 4 + size, initial=0))
    args = ops.PublishApart(batch.headers, frames, len(bodies), offsets, batch.ttl)
    if any(batch.keys):
        args.keys, args.digests = batch.keys, batch.digests
    return args
