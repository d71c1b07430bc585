"""What the clients of a fault test did and saw. The promises are checked over it in `tests/e2e/checker.py`.

Bodies name messages: no two publishes of a test have the same one, so that whatever is delivered is known.
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
    """`GET`: at most once. An answer that was lost may have cost what it had, and nothing more."""
    AFTER = "after"
    """`?after=`: at least once; what was not confirmed comes again."""
    LEASE = "lease"
    """`?lease=`: at least once; what was not acknowledged comes again, with `Msg-Attempt` over 1."""


@dataclass
class Call:
    """One call of one client; times in seconds of one monotonic clock."""

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
    """One message or one batch. With a `key` it is everything from the first try to the last one: such a publish is
    repeated until its client knows what became of it.
    """

    body: bytes = b""
    msg_id: str = ""
    """Of the answer, of the first message of a batch; "" where there was none or nobody was subscribed."""
    batch: tuple[bytes, ...] = ()
    """All bodies of a batch; empty for a single message."""
    key: str = ""

    @property
    def bodies(self) -> tuple[bytes, ...]:
        """Of the messages that it makes, in order."""
        return self.batch or (self.body,)


@dataclass
class Take(Call):
    """One message that was read. A read of several is as many of these, with the same times and in order."""

    user: str = ""
    body: bytes | None = None
    """None: nothing was waiting."""
    msg_id: str = ""
    mode: Mode = Mode.PLAIN
    attempt: int = 1
    cursor: str = ""
    """Of `after`: what the request confirmed."""
    most: int = 1
    """How many messages the request asked for."""


@dataclass
class Ack(Call):
    """Receipts that were sent to say that their messages are done, as ids of messages."""

    user: str = ""
    tried: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    """Those of which the answer says so."""


_LISTS = {Subscribe: "subscribes", Unsubscribe: "unsubscribes", Publish: "publishes", Take: "takes", Ack: "acks"}


@dataclass
class History:
    """Filled by many threads; read when they are done. A user of a topic is read by one client at a time."""

    subscribes: list[Subscribe] = field(default_factory=list)
    publishes: list[Publish] = field(default_factory=list)
    takes: list[Take] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    unsubscribes: list[Unsubscribe] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *calls: Call) -> None:
        """Calls that are over."""
        with self._lock:
            for call in calls:
                getattr(self, _LISTS[type(call)]).append(call)

    @contextmanager
    def noting(self, call: Call) -> Iterator[None]:
        """Notes a call whatever becomes of it; the block makes the call and fills in what it saw."""
        self.add(call)
        try:
            yield
        finally:
            call.done = time.monotonic()
