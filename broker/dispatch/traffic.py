"""The bytes of bodies and answers that are under way between a broker and its fronts. No sockets.

ZeroMQ does not say what a peer has taken. So every reply frame names how many bytes of replies were sent over its
connection, and every request frame repeats the last number that its front has read.
"""

from __future__ import annotations

from common.errors import FanmailError
from common.protocol import ops

FUSE = 2
"""Answers are refused where all fronts together have this many times the window under way. Fronts keep within the
window by themselves; one that does not must not take the broker's memory.
"""


class Traffic:
    """By routing id of the connection."""

    def __init__(self, window: int = 0) -> None:
        """`window`: bytes that all fronts together may have under way, of bodies and of answers each; 0: any."""
        self._window = window
        self._sent: dict[bytes, int] = {}
        self._taken: dict[bytes, int] = {}
        """Of those that say it."""
        self.answers = 0
        """Bytes of answers under way to those."""

    @property
    def most_answers(self) -> int:
        """Bytes of answers under way from which on no more are given; 0: any."""
        return FUSE * self._window

    def windows(self) -> tuple[int, int]:
        """Bytes of bodies and of answers that each of the fronts may have under way: they share both alike."""
        share = self._window // max(1, len(self._sent))
        return share, share

    def begin(self, peer_id: bytes) -> None:
        """A connection was heard from for the first time."""
        self._sent[peer_id] = 0

    def sent(self, peer_id: bytes, size: int) -> int:
        """So many bytes of replies leave. Returns how many it were so far."""
        total = self._sent.get(peer_id)
        if total is None:
            return 0
        self._sent[peer_id] = total + size
        if peer_id in self._taken:
            self.answers += size
        return total + size

    def taken(self, peer_id: bytes, total: int) -> None:
        """The front has read so many. What cannot be is of its last connection, or not said."""
        before = self._taken.get(peer_id)
        sent = self._sent.get(peer_id)
        if total == before or sent is None or not 0 <= total <= sent:
            return
        self._taken[peer_id] = total
        self.answers += sent - total if before is None else before - total

    def forget(self, peer_id: bytes) -> None:
        """The connection is gone."""
        sent = self._sent.pop(peer_id, 0)
        if peer_id in self._taken:
            self.answers -= sent - self._taken.pop(peer_id)

    def check(self, peer_id: bytes, args: object) -> None:
        """Raises `broker-busy` (503) where an answer of the size that is asked for would be too much."""
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
                "broker-busy", f"{self.answers} bytes of answers are under way to fronts, close to the ceiling"
            )
