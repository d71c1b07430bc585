"""The streams of a front: how many there may be, whose turn it is to read, their deadlines, and their end together.

A stream that waits has no greenlet, and nothing walks over all streams. At most `READS` of them have asked a broker for
messages at a time; the others wait for their turn, so that a message to thousands of streams takes bounded memory.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from contextlib import suppress
from typing import Any, Protocol

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.gateway.call import Answer
from httpfront.gateway.gateway import Gateway
from httpfront.streams.wheel import Wheel

READS = 128
"""Streams that read from brokers at a time."""
DRAIN_PART = 0.8
"""Part of the time of a drain over which the ends of streams are spread."""
REASONS = ("client", "slow", "stopped", "end", "error", "draining")
"""Why streams end."""

log = logging.getLogger("fanmail.front")


class TableEntry(Protocol):
    """A stream as the table sees it."""

    due: float
    slot: int

    def read(self) -> None:
        """Ask the broker for messages, unless the stream has ended meanwhile."""

    def timed(self, now: float) -> None:
        """Do what is due at `now`, monotonic seconds."""

    def end_at(self, when: float) -> None:
        """End at this time, because the front stops."""


class StreamTable:
    """Belongs to the hub's thread."""

    def __init__(self, gateway: Gateway, max_streams: int) -> None:
        """Allow `max_streams` at a time. `tick` is to be called several times per second."""
        self.gateway = gateway
        self._max_streams = max_streams
        self._streams: set[TableEntry] = set()
        self._opening = 0
        self._ready: deque[TableEntry] = deque()
        self.reading = 0
        """Streams that have asked a broker for messages."""
        self._draining = False
        self.wheel: Wheel[TableEntry] = Wheel(time.monotonic())
        self.events = 0
        """Messages and other events sent so far."""
        self.ended: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        """Streams that have ended so far, by reason."""

    @property
    def open(self) -> int:
        """Return the number of open streams."""
        return len(self._streams)

    def begin_opening(self) -> None:
        """Take a place. Raises `draining`, and `front-busy` where there is none."""
        if self._draining:
            raise FanmailError("draining", "this front is stopping")
        if len(self._streams) + self._opening >= self._max_streams:
            raise FanmailError("front-busy", f"this front has reached its limit of {self._max_streams} streams")
        self._opening += 1

    def end_opening(self) -> None:
        """Give the place back; a stream that was opened is added by then."""
        self._opening -= 1

    def add(self, stream: TableEntry) -> None:
        """Count an open stream."""
        self._streams.add(stream)

    def remove(self, stream: TableEntry, reason: str) -> None:
        """Forget a stream that has ended."""
        if stream in self._streams:
            self._streams.discard(stream)
            self.ended[reason] += 1
        self.wheel.drop(stream)

    def want_read(self, stream: TableEntry) -> None:
        """Let a stream read when it is its turn; now where there is room."""
        self._ready.append(stream)
        self.start_reads()

    def start_reads(self) -> None:
        """Let as many streams read as there is room for."""
        while self._ready and self.reading < READS:
            self._ready.popleft().read()

    def cancel(self, mailbox: tuple[bytes, bytes], wait_id: int, number: int, request_id: str) -> None:
        """Let the broker forget a stream and its WAIT; where it cannot be told, those end at their time."""
        with suppress(FanmailError):
            self.gateway.start(Op.CANCEL, *mailbox, ops.Cancel(wait_id, number), _Unread(), request_id)

    def drain(self, seconds: float) -> None:
        """End all streams, spread over most of this time, so that their clients do not all come back at once."""
        self._draining = True
        streams, now = list(self._streams), time.monotonic()
        for number, stream in enumerate(streams):
            stream.end_at(now + DRAIN_PART * seconds * number / len(streams))

    def tick(self) -> None:
        """Let every stream do what is due."""
        now = time.monotonic()
        for stream in self.wheel.pop_due(now):
            guarded(stream.timed, now)


class _Unread:
    """In place of who waits for an answer: nobody does."""

    def switch(self, answer: Answer) -> None:
        """Do nothing."""


def guarded(work: Any, *arguments: Any) -> None:
    """Call what belongs to one stream: its failure is logged and ends no other."""
    try:
        work(*arguments)
    except Exception:
        log.exception("a stream failed")
