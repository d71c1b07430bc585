"""The streams of a front: how many there may be, whose turn it is to read, their deadlines, and their end together.

A stream that waits has no greenlet, and nothing walks over all streams. At most `READS` of them have asked a broker for
messages at a time; the others wait for their turn, so that a message to thousands of streams takes bounded memory.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.gateway.call import Answer
from httpfront.gateway.gateway import Gateway
from httpfront.streams.wheel import Wheel

READS = 128
"""Streams that read from brokers at a time."""
LARGE_READS = 4
"""Of these, streams that read one large message: other work goes on between their answers, which take time to render
(8 MiB up to a third of a second).
"""
DRAIN_PART = 0.8
"""Part of the time of a drain over which the ends of streams are spread."""
REASONS = ("client", "slow", "stopped", "end", "error", "draining")
"""Why streams end."""

log = logging.getLogger("fanmail.front")


class TimedEntry(Protocol):
    """What the wheel wakes: a stream, or a session."""

    due: float
    slot: int

    def timed(self, now: float) -> None:
        """Do what is due at `now`, monotonic seconds."""

    def failed(self, error: FanmailError) -> None:
        """End, or try again later, as the error allows."""


class TableEntry(TimedEntry, Protocol):
    """A stream as the table sees it."""

    def read(self) -> None:
        """Ask the broker for messages, unless the stream has ended meanwhile."""

    def end_at(self, when: float) -> None:
        """End at this time, because the front stops."""

    def answered(self, reply: Reply, answer: Answer) -> None:
        """Take the answer of a broker."""


class Reply(NamedTuple):
    """Stands in for the greenlet of a call: `Hub.resume` switches to it."""

    stream: TableEntry
    op: Op
    size: int = 0
    """Of a read: the size of the only message that was asked for; 0: as many as there is room for."""

    def switch(self, answer: Answer) -> None:
        """Give the answer to the stream."""
        guarded(self.stream, self.stream.answered, self, answer)


class StreamTable:
    """Belongs to the hub's thread."""

    def __init__(self, gateway: Gateway, max_streams: int) -> None:
        """Allow `max_streams` at a time. `tick` is to be called several times per second."""
        self.gateway = gateway
        self._max_streams = max_streams
        self._streams: set[TableEntry] = set()
        self._opening = 0
        self._ready: deque[TableEntry] = deque()
        self._large: deque[TableEntry] = deque()
        self.reading = self._reading_large = 0
        """Streams that have asked a broker for messages."""
        self._draining = False
        self.wheel: Wheel[TimedEntry] = Wheel(time.monotonic())
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
        """Count an open stream; it ends soon if a drain began while it was opened."""
        self._streams.add(stream)
        if self._draining:
            stream.end_at(time.monotonic())

    def remove(self, stream: TableEntry, reason: str) -> None:
        """Forget a stream that has ended."""
        if stream in self._streams:
            self._streams.discard(stream)
            self.ended[reason] += 1
        self.wheel.drop(stream)

    def want_read(self, stream: TableEntry, large: bool = False) -> None:
        """Let a stream read when it is its turn; now where there is room."""
        (self._large if large else self._ready).append(stream)
        self.start_reads()

    def start_reads(self) -> None:
        """Let as many streams read as there is room for."""
        while self._large and self._reading_large < LARGE_READS:
            self._large.popleft().read()
        while self._ready and self.reading < READS:
            self._ready.popleft().read()

    def read_began(self, size: int) -> None:
        """Count a read; of one large message where `size` is not 0."""
        self.reading += 1
        self._reading_large += size > 0

    def read_ended(self, size: int) -> None:
        """Count the end of a read."""
        self.reading -= 1
        self._reading_large -= size > 0

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
            guarded(stream, stream.timed, now)


class _Unread:
    """In place of who waits for an answer: nobody does."""

    def switch(self, answer: Answer) -> None:
        """Do nothing."""


def guarded(stream: TimedEntry, work: Any, *arguments: Any) -> None:
    """Call what belongs to one stream. Its failure is logged, and ends it: its client would wait for nothing."""
    try:
        work(*arguments)
    except Exception:
        log.exception("a stream failed")
        with suppress(Exception):
            stream.failed(FanmailError("internal", "this stream failed"))
