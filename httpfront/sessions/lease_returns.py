"""Leased messages that sessions have left: they are given back, again where their broker was away meanwhile."""

from __future__ import annotations

import time
from collections import deque

from msgspec import Struct

from common.errors import FanmailError
from common.protocol.ops import Extend, Op, Receipt
from httpfront.gateway.call import Answer
from httpfront.gateway.gateway import Gateway

AT_ONCE = 1000
"""Messages that are given back between two ticks."""
PATIENCE_S, PAUSE_S = 60.0, 1.0
"""How long it is tried, and the time between two tries; later their leases end by themselves."""
MOST = 100_000
"""Messages that wait; the leases of more end by themselves."""


class LeaseReturns:
    """Belongs to the hub's thread."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._waiting: deque[_Return] = deque()
        self._room = AT_ONCE
        """How many may still be given back before the next tick."""
        self._later: deque[_Return] = deque()
        """Those that could not be given back, in the order of their next try."""

    def give_back(self, mailbox: tuple[bytes, bytes], receipt: Receipt, request_id: str) -> None:
        """Give back one message: now, or with one of the next ticks."""
        each = _Return(self, mailbox, receipt, request_id, time.monotonic() + PATIENCE_S)
        if len(self._waiting) < MOST:
            self._waiting.append(each)
            self._send_some()

    def tick(self) -> None:
        """Give back what is left, and try again what failed."""
        now = time.monotonic()
        while self._later and self._later[0].again_at <= now:
            self._waiting.append(self._later.popleft())
        self._room = AT_ONCE
        self._send_some()

    def failed(self, each: _Return) -> None:
        """Try again later."""
        now = time.monotonic()
        if now < each.until and len(self._later) < MOST:
            each.again_at = now + PAUSE_S
            self._later.append(each)

    def _send_some(self) -> None:
        while self._waiting and self._room:
            self._room -= 1
            each = self._waiting.popleft()
            try:
                self._gateway.start(Op.EXTEND, *each.mailbox, Extend(each.receipt, 0), each, each.request_id)
            except FanmailError:
                self.failed(each)


class _Return(Struct, eq=False):
    """One message; stands in for the greenlet of its call."""

    returns: LeaseReturns
    mailbox: tuple[bytes, bytes]
    receipt: Receipt
    request_id: str
    until: float
    """Monotonic seconds after which it is given up."""
    again_at: float = 0.0

    def switch(self, answer: Answer) -> None:
        """Take the answer: what was executed is done, whether it had an effect or not."""
        if answer.error is not None and answer.error.spec.status in (503, 504):
            self.returns.failed(self)
