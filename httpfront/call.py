"""A request to a broker that is under way, and what came of it."""

from __future__ import annotations

from typing import Any

import greenlet


class Call:
    """One request under way, and the greenlet that waits for its answer."""

    __slots__ = ("body", "broker", "expires", "id", "packed", "waiting")

    def __init__(self, call_id: int, broker: str, packed: bytes, body: bytes | None, expires: float) -> None:
        self.id = call_id
        self.broker = broker
        self.packed = packed
        self.body = body
        self.expires = expires
        """Monotonic seconds; then the outcome counts as unknown."""
        self.waiting = greenlet.getcurrent()


class Answer:
    """What came of a call: a result still packed, or an error of the table."""

    __slots__ = ("body", "code", "detail", "result")

    def __init__(self, code: str, detail: str, result: Any = None, body: bytes | None = None) -> None:
        self.code = code
        self.detail = detail
        self.result = result
        self.body = body
