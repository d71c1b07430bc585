"""The bytes of bodies and answers in transit between a broker and its fronts. No sockets.

ZeroMQ does not tell what a peer has received. So every reply frame names the bytes of replies that were sent over its
connection so far, and every request frame repeats the last number that its front has read.
"""

from __future__ import annotations

from broker.dispatch.refusals import Refusals
from common.errors import FanmailError
from common.protocol import ops

FUSE = 2
"""Answers are refused above this many times the window, of all fronts together. Fronts keep within the window; one that
does not must not exhaust the broker's memory.
"""


class Traffic:
    """Bytes in transit, by routing id of the connection."""

    def __init__(self, window: int = 0) -> None:
        """Create it; `window` is the bytes of bodies, and of answers, that all fronts share; 0: no limit."""
        self._window = window
        self._sent: dict[bytes, int] = {}
        self._taken: dict[bytes, int] = {}
        """Of the fronts that report it."""
        self.answers = 0
        """Bytes of answers in transit to those fronts."""
        self.refusals = Refusals(self._sent)

    @property
    def most_answers(self) -> int:
        """Bytes of answers in transit above which no more are given; 0: no limit."""
        return FUSE * self._window

    def windows(self) -> tuple[int, int]:
        """Return the bytes of bodies and of answers that each front may have in transit; all have the same share."""
        share = self._window // max(1, len(self._sent))
        return share, share

    def begin(self, peer_id: bytes) -> None:
        """Start counting for a connection that was heard from for the first time."""
        self._sent[peer_id] = 0

    def sent(self, peer_id: bytes, size: int) -> int:
        """Count `size` bytes of replies that leave; return the total for this connection."""
        total = self._sent.get(peer_id)
        if total is None:
            return 0
        self._sent[peer_id] = total + size
        if peer_id in self._taken:
            self.answers += size
        return total + size

    def taken(self, peer_id: bytes, total: int) -> None:
        """Record the total that a front has read. A number that cannot be is ignored: it is of its last connection."""
        before = self._taken.get(peer_id)
        sent = self._sent.get(peer_id)
        if total == before or sent is None or not 0 <= total <= sent:
            return
        self._taken[peer_id] = total
        self.answers += sent - total if before is None else before - total

    def forget(self, peer_id: bytes) -> None:
        """Stop counting for a connection that is gone."""
        self.refusals.forget(peer_id)
        sent = self._sent.pop(peer_id, 0)
        if peer_id in self._taken:
            self.answers -= sent - self._taken.pop(peer_id)

    def check(self, peer_id: bytes, args: object) -> None:
        """Raise `broker-busy` (503) where an answer of the requested size would be too much."""
        if not self._window or self.answers <= self._window or peer_id not in self._taken:
            return
        if isinstance(args, ops.Fetch | ops.ListDead | ops.Peek):
            room = args.max_bytes
        elif isinstance(args, ops.Take):
            room = args.room
        else:
            return
        if self.answers + room > self.most_answers:
            raise FanmailError(
                "broker-busy", f"{self.answers} bytes of answers are in transit to fronts, close to the ceiling"
            )
