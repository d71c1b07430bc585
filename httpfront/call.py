"""A request to a broker that is under way, and what came of it."""

from __future__ import annotations

from typing import Any, Protocol

import greenlet

from common.errors import FanmailError


class Waiting(Protocol):
    """What goes on with the answer: a greenlet, or what collects for one."""

    def switch(self, answer: Answer) -> object: ...


class Call:
    """One request under way, and the greenlet that waits for its answer. A call that `waits` can be ended early."""

    __slots__ = ("body", "expires", "id", "packed", "waiting", "waits")

    def __init__(self, call_id: int, packed: bytes, body: bytes | None, expires: float) -> None:
        self.id = call_id
        self.packed = packed
        self.body = body
        self.expires = expires
        """Monotonic seconds; then the outcome counts as unknown."""
        self.waiting: Waiting = greenlet.getcurrent()
        self.waits = False


class Answer:
    """What came of a call: a result still packed, or an error of the table."""

    __slots__ = ("body", "error", "result")

    def __init__(self, error: FanmailError | None, result: Any = None, body: bytes | None = None) -> None:
        self.error = error
        self.result = result
        self.body = body
