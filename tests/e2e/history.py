"""What the clients of a fault test did and saw. `tests/e2e/checker.py` checks the promises over it.

Bodies identify messages: no two publishes of a test have the same body, so that each delivery is unambiguous.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum


class Outcome(Enum):
    """What the client knows."""

    OK = "ok"
    FAILED = "failed"
    """Provably not executed: 503, 429 or a connection that was refused."""
    UNKNOWN = "unknown"


class Mode(Enum):
    """How a user reads."""

    PLAIN = "plain"
    """`GET`: at most once. A lost response may have lost the messages in it, and nothing more."""
    AFTER = "after"
    """`?after=`: at least once; what was not acknowledged is delivered again."""
    LEASE = "lease"
    """`?lease=`: at least once; what was not acknowledged is redelivered, with `Msg-Attempt` over 1."""
    TIMED = "timed"
    """A stream whose messages are done by time. It may lose what it announces as a gap, and nothing else. A stream
    with `confirm=client` is `AFTER`.
    """


@dataclass
class Call:
    """One call of one client. Times are seconds of one monotonic clock."""

    client: str
    topic: str
    invoked: float
    done: float = 0.0
    outcome: Outcome = Outcome.UNKNOWN


@dataclass
class Subscribe(Call):
    user: str = ""


@dataclass
class Unsubscribe(Call):
    user: str = ""


@dataclass
class Publish(Call):
    """One message or one batch.

    With a `key` it covers everything from the first try to the last one: such a publish is repeated until its client
    knows the outcome.
    """

    body: bytes = b""
    msg_id: str = ""
    """From the response; of a batch that of its first message. "" without a response or subscribers."""
    batch: tuple[bytes, ...] = ()
    """All bodies of a batch; empty for a single message."""
    key: str = ""

    @property
    def bodies(self) -> tuple[bytes, ...]:
        """The bodies of the messages, in order."""
        return self.batch or (self.body,)


@dataclass
class Take(Call):
    """One message that was read. A read of several is recorded as several, with the same times and in order."""

    user: str = ""
    body: bytes | None = None
    """None: nothing was waiting."""
    msg_id: str = ""
    mode: Mode = Mode.PLAIN
    attempt: int = 1
    cursor: str = ""
    """The `after` of the request: what it acknowledged."""
    most: int = 1
    """How many messages the request asked for."""
    gap: range | None = None
    """Sequence numbers of messages that were announced as missed, in place of a message."""


@dataclass
class Ack(Call):
    """Receipts that were sent to acknowledge messages, as ids of messages."""

    user: str = ""
    tried: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    """Those that the response says are acknowledged."""


_LISTS = {Subscribe: "subscribes", Unsubscribe: "unsubscribes", Publish: "publishes", Take: "takes", Ack: "acks"}


@dataclass
class History:
    """Filled by many threads, and read when they have ended. At any time, one client reads as a user of a topic."""

    subscribes: list[Subscribe] = field(default_factory=list)
    publishes: list[Publish] = field(default_factory=list)
    takes: list[Take] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    unsubscribes: list[Unsubscribe] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *calls: Call) -> None:
        """Add calls that have ended."""
        with self._lock:
            for call in calls:
                getattr(self, _LISTS[type(call)]).append(call)

    @contextmanager
    def noting(self, call: Call) -> Iterator[None]:
        """Record a call however it ends. The block makes the call and fills in what it saw."""
        self.add(call)
        try:
            yield
        finally:
            call.done = time.monotonic()
