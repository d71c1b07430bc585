"""The sessions of a front: their limits, what they count, and their end together."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import Protocol

from msgspec import Struct

from common.errors import FanmailError
from common.protocol.ops import Op, Receipt
from httpfront.gateway.call import Answer
from httpfront.gateway.gateway import Gateway
from httpfront.sessions.lease_returns import LeaseReturns
from httpfront.sessions.shares import Share, Shares
from httpfront.streams.table import DRAIN_PART, StreamTable

ENDS = ("client", "slow", "stopped", "error", "draining", "unauthorized")
"""Why sessions end."""
ALONE, BESIDE = Share(256, 8, 64 * 1024), Share(32, 2, 16 * 1024)
"""What one session may have under way, without and with other active clients."""


class SessionLimits:
    """Bounds of one session; tests use small ones."""

    def __init__(
        self,
        max_body: int,
        max_name: int,
        *,
        alone: Share = ALONE,
        beside: Share = BESIDE,
        operation_bytes: int = 4 * 1024 * 1024,
        readings: int = 256,
    ) -> None:
        """Set the bytes of a message's body and of a name.

        `alone` and `beside` are what may be under way without and with other active clients, `operation_bytes` the
        bytes of operations before nothing more is read from the client, `readings` the mailboxes that may be read.
        """
        self.max_body, self.max_name = max_body, max_name
        self.alone, self.beside = alone, beside
        self.operation_bytes, self.readings = operation_bytes, readings
        self.message = -(-max_body * 4 // 3) + 32 * 1024
        """Bytes of one message of a client."""


class Ending(Protocol):
    """A session, as its table sees it."""

    def end_at(self, when: float) -> None:
        """End at this time, because the front stops."""


class SessionTable:
    """Belongs to the hub's thread."""

    def __init__(self, streams: StreamTable, limits: SessionLimits) -> None:
        """Share places, turns to read and the timing wheel with `streams`."""
        self.streams = streams
        self.gateway: Gateway = streams.gateway
        self.limits = limits
        self._sessions: set[Ending] = set()
        self._draining = False
        self.operations: dict[type, int] = {}
        """Operations of clients so far, by kind."""
        self.invalid = 0
        """Messages of clients that were no operation."""
        self.messages = 0
        """Messages sent to clients so far."""
        self._leases = LeaseReturns(self.gateway)
        self.shares = Shares(limits.alone, limits.beside)
        self.ended: Counter[str] = Counter(dict.fromkeys(ENDS, 0))

    @property
    def open(self) -> int:
        """Return the number of sessions."""
        return len(self._sessions)

    def counts(self) -> dict[str, int]:
        """Return the operations of clients so far by name; `invalid`: messages that were none."""
        return {kind.__name__.lower(): count for kind, count in self.operations.items()} | {"invalid": self.invalid}

    def take_place(self) -> None:
        """Take the place of a stream. Raises `draining`, and `front-busy` where there is none."""
        self.streams.begin_opening()

    def free_place(self) -> None:
        """Give a place back."""
        self.streams.end_opening()

    def add(self, session: Ending) -> None:
        """Count an open session, which has a place; it ends soon if a drain began meanwhile."""
        self._sessions.add(session)
        if self._draining:
            session.end_at(time.monotonic())

    def remove(self, session: Ending, reason: str) -> None:
        """Forget a session that has ended, and free its place."""
        self.shares.forget(session)
        if session in self._sessions:
            self._sessions.discard(session)
            self.ended[reason if reason in self.ended else "error"] += 1
            self.free_place()

    def forward(self, mailbox: tuple[bytes, bytes], op: Op, args: Struct, request_id: str) -> None:
        """Ask a broker for something whose answer nobody waits for."""
        with suppress(FanmailError):
            self.gateway.start(op, *mailbox, args, _Unread(), request_id)

    def return_leases(self, mailbox: tuple[bytes, bytes], receipts: list[Receipt], request_id: str) -> None:
        """Give leased messages back, as soon as their broker can be asked."""
        for receipt in receipts:
            self._leases.give_back(mailbox, receipt, request_id)

    def tick(self) -> None:
        """Give back leased messages that are left, and look who is active. To be called several times per second."""
        self._leases.tick()
        self.shares.tick(self.gateway.called)

    def drain(self, seconds: float) -> None:
        """End all sessions, spread over most of this time, so that their clients do not all come back at once."""
        self._draining = True
        sessions, now = list(self._sessions), time.monotonic()
        for number, session in enumerate(sessions):
            session.end_at(now + DRAIN_PART * seconds * number / len(sessions))


class _Unread:
    """In place of who waits for an answer: nobody does."""

    def switch(self, answer: Answer) -> None:
        """Do nothing."""
