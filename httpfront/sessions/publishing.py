"""The publishes of a session: many at a time, and those of one topic in the order in which they came.

Calls to one broker are sent and answered in order, but for bodies that travel in a frame of their own, which may wait
for room. While one of those is under way, what comes behind it for its topic waits here until that one is answered.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from common.errors import FanmailError
from common.protocol import ops, wire
from common.protocol.ops import Op
from httpfront.gateway.call import Answer
from httpfront.sessions import answers
from httpfront.sessions.operations import Publish
from httpfront.sessions.pending import Pending
from httpfront.sessions.ports import Owner
from httpfront.sessions.values import name_of, publish_of


class Publishing:
    """The publishes of one session."""

    __slots__ = ("_behind", "_owner")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._behind: dict[bytes, tuple[Pending, deque[tuple[ops.Publish, Pending]]]] = {}
        """By topic with a large body under way: that publish, and those that came after it."""

    def publish(self, op: Publish, size: int) -> None:
        """Begin a publish. Raises `FanmailError` where it cannot be."""
        limits = self._owner.limits
        topic = name_of(op.topic, "topic", limits.max_name)
        args = publish_of(op, limits.max_body)
        pending = Pending(self, Op.PUBLISH, op.ref, size, topic)
        if topic in self._behind:
            self._behind[topic][1].append((args, pending))
        else:
            self._start(topic, args, pending)
        self._owner.began(size)

    def _start(self, topic: bytes, args: ops.Publish, pending: Pending) -> None:
        body = None
        if len(args.body) >= wire.LARGE_BODY:
            body, args.body = args.body, b""
        self._owner.gateway.start_publish(topic, args, body, pending, self._owner.request_id)
        if body is not None:
            self._behind[topic] = pending, deque()

    def answered(self, pending: Pending, answer: Answer) -> None:
        """Take the answer of a broker."""
        owner, ref = self._owner, pending.ref
        try:
            result = owner.gateway.result_of(Op.PUBLISH, answer)
        except FanmailError as error:
            self._refused(pending, error)
        else:
            if ref is not None:
                owner.send(answers.published(ref, result))
        owner.done(pending.size)
        if self._behind and (large := self._behind.get(pending.about)) is not None and large[0] is pending:
            self._go_on(pending.about)

    def failed(self, error: FanmailError) -> None:
        """End after an unexpected error."""
        self._owner.failed(error)

    def _go_on(self, topic: bytes) -> None:
        """Send what waited behind a large body, up to the next one."""
        _, waiting = self._behind.pop(topic)
        while waiting and topic not in self._behind:
            args, pending = waiting.popleft()
            try:
                self._start(topic, args, pending)
            except FanmailError as error:
                self._refused(pending, error)
                self._owner.done(pending.size)
        if waiting:
            self._behind[topic] = self._behind[topic][0], waiting

    def _refused(self, pending: Pending, error: FanmailError) -> None:
        about: dict[str, Any] = {"topic": pending.about.decode()}
        self._owner.send(answers.failed(pending.ref, {} if pending.ref is not None else about, error))
