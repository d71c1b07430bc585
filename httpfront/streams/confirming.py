"""Confirming for a client that does not: what was delivered long enough ago is done."""

from __future__ import annotations

import time
from math import inf
from typing import NamedTuple

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.gateway.call import Answer
from httpfront.outlet import Outlet
from httpfront.streams.confirmations import Confirmations
from httpfront.streams.origin import StreamOrigin
from httpfront.streams.table import StreamTable

EVERY_S = 1.0
"""Time between two confirmations of one stream."""
REFUSED_S = 30.0
"""Time after which one is sent again that did not count because there is a newer stream."""
AGAIN_S = 5.0
"""Time after which a confirmation is sent again that was not answered."""


class _Reply(NamedTuple):
    """Takes the answer to the confirmation of a sequence number."""

    confirming: Confirming
    seq: int

    def switch(self, answer: Answer) -> None:
        self.confirming.answered(self.seq, answer)


class Confirming:
    """The confirmations of one stream. `confirm` is to be called once `due` has passed."""

    __slots__ = ("_confirmations", "_confirmed", "_origin", "_seq", "_table", "due")

    def __init__(self, table: StreamTable, origin: StreamOrigin, confirm_s: float) -> None:
        """Set the seconds after which delivered messages are done; 0: as soon as they are written."""
        self._table = table
        self._origin = origin
        self._confirmations = Confirmations(confirm_s)
        self._seq = self._confirmed = 0
        """What is done, and what the broker knows of."""
        self.due = inf
        """When something may be confirmed, monotonic seconds."""

    def wrote(self, now: float, offset: int, seq: int) -> None:
        """Record that messages up to `seq` were written, up to this offset of the connection."""
        self._confirmations.add(now, offset, seq)
        self._plan(now)

    def confirm(self, now: float, outlet: Outlet, number: int) -> None:
        """Confirm what is done, as the stream with this number."""
        self.due = inf
        at_once = self._origin.confirm_s == 0
        delivered = outlet.written - outlet.unsent if at_once else outlet.delivered()
        self._seq = self._confirmations.take_done(now, delivered) or self._seq
        if self._seq > self._confirmed:
            args = ops.Confirm(self._origin.opened.epoch, self._seq, number)
            about = self._origin.request_id
            try:
                self._table.gateway.start(Op.CONFIRM, *self._origin.mailbox, args, _Reply(self, self._seq), about)
            except FanmailError:
                self.due = now + EVERY_S
                return
            self.due = now + AGAIN_S
        self._plan(now)

    def answered(self, seq: int, answer: Answer) -> None:
        """Take the answer of the broker. An error changes nothing: the stream itself meets it too."""
        if answer.error is not None:
            return
        if not self._table.gateway.result_of(Op.CONFIRM, answer).done:  # a newer stream counts, until it ends
            self.due = max(self.due, time.monotonic() + REFUSED_S)
            return
        self._confirmed = max(self._confirmed, seq)
        if self._confirmed == self._seq and self._confirmations.due is None:
            self.due = inf

    def _plan(self, now: float) -> None:
        oldest = self._confirmations.due
        if oldest is not None:
            self.due = min(self.due, max(oldest, now + EVERY_S))
