"""When a message of a stream is done whose client does not confirm: some time after it was delivered. No clock here."""

from __future__ import annotations

from typing import NamedTuple

LEAST_SPAN_S = 0.5
MARKS = 32
"""Marks per `confirm`, so that a stream holds a bounded number of them."""


class Mark(NamedTuple):
    """Messages that were written within a short time."""

    began: float
    """When the first was written, monotonic seconds."""
    written: float
    """When the last was written."""
    offset: int
    """Offset of the connection behind the last."""
    seq: int
    """Sequence number of the last."""


class Confirmations:
    """What one stream has written and nobody has confirmed, in order."""

    __slots__ = ("_confirm_s", "_marks")

    def __init__(self, confirm_s: float) -> None:
        """Set the seconds after which a delivered message is done."""
        self._confirm_s = confirm_s
        self._marks: list[Mark] = []

    @property
    def due(self) -> float | None:
        """Return when the oldest messages may be done, monotonic seconds; None where there are none."""
        return self._marks[0].written + self._confirm_s if self._marks else None

    def add(self, now: float, offset: int, seq: int) -> None:
        """Record that everything up to `seq` was written, up to `offset`."""
        span = max(LEAST_SPAN_S, self._confirm_s / MARKS)
        if self._marks and now - self._marks[-1].began < span:
            self._marks[-1] = Mark(self._marks[-1].began, now, offset, seq)
        else:
            self._marks.append(Mark(now, now, offset, seq))

    def take_done(self, now: float, delivered: int) -> int:
        """Remove what was written long enough ago and is delivered; return the last sequence number, 0 for none."""
        done = 0
        while self._marks and self._marks[0].written + self._confirm_s <= now and self._marks[0].offset <= delivered:
            done = self._marks.pop(0).seq
        return done
