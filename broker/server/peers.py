"""The fronts that a broker has heard from, and the replies that their connections would not take yet. No sockets.

A ROUTER drops what a full or vanished peer cannot take without a word (measured), so every reply is sent with
an error asked for, and kept here in bounded queues until the peer takes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from broker.dispatch.traffic import Traffic

MAX_WAITING = 16 * 1024 * 1024
"""Bytes of replies that wait for one slow front; more are dropped and counted. A front's requests time out, so
its connections bound what it can ever wait for; this stops a peer that is not one of ours."""
FORGET_AFTER_US = 10_000_000
"""Microseconds of silence after which a front is not waited for any more; fronts ping every second."""


@dataclass(slots=True)
class Peer:
    """One connection of one front."""

    last_heard: int
    """Monotonic microseconds."""
    said_goodbye: bool = False
    waiting: deque[list[bytes]] = field(default_factory=deque)
    waiting_ids: deque[Sequence[str]] = field(default_factory=deque)
    """Of the requests that these messages answer."""
    waiting_bytes: int = 0


class Peers:
    """By routing id."""

    def __init__(
        self, dropped: Callable[[Iterable[str]], object] = lambda _: None, traffic: Traffic | None = None
    ) -> None:
        """`dropped` is told of which requests the answers were dropped, `traffic` who is there."""
        self._traffic = traffic or Traffic()
        self._dropped = dropped
        self._peers: dict[bytes, Peer] = {}
        self._blocked: dict[bytes, None] = {}
        """The longest blocked first: the same run is the same, whatever the routing ids hash to."""

    def heard(self, peer_id: bytes, mono: int, goodbye: bool) -> None:
        """A message came from this peer."""
        peer = self._peers.get(peer_id)
        if peer is None:
            peer = self._peers[peer_id] = Peer(mono)
            self._traffic.begin(peer_id)
        peer.last_heard = mono
        peer.said_goodbye |= goodbye

    def keep(self, peer_id: bytes, frames: list[bytes], request_ids: Sequence[str] = ()) -> bool:
        """Queues a message that the connection would not take; False where it is dropped: the queue is full, or
        the peer has been silent for so long that it is forgotten.
        """
        peer = self._peers.get(peer_id)
        size = sum(map(len, frames))
        if peer is None or (peer.waiting and peer.waiting_bytes + size > MAX_WAITING):
            self._dropped(request_ids)
            return False
        peer.waiting.append(frames)
        peer.waiting_ids.append(request_ids)
        peer.waiting_bytes += size
        self._blocked[peer_id] = None
        return True

    def is_blocked(self, peer_id: bytes) -> bool:
        """Whether older messages wait, which must go first."""
        return peer_id in self._blocked

    @property
    def any_blocked(self) -> bool:
        """Whether anything waits at all."""
        return bool(self._blocked)

    def blocked(self) -> list[bytes]:
        """The peers for which messages wait, the longest waiting first."""
        return list(self._blocked)

    def first_waiting(self, peer_id: bytes) -> list[bytes]:
        """The oldest message that waits for a blocked peer."""
        return self._peers[peer_id].waiting[0]

    def sent_first(self, peer_id: bytes) -> None:
        """The oldest message that waited has gone out."""
        peer = self._peers[peer_id]
        peer.waiting_bytes -= sum(map(len, peer.waiting.popleft()))
        peer.waiting_ids.popleft()
        if not peer.waiting:
            self._blocked.pop(peer_id, None)

    def forget(self, peer_id: bytes) -> int:
        """The peer is gone. Returns how many messages that waited for it are dropped."""
        self._blocked.pop(peer_id, None)
        peer = self._peers.pop(peer_id, None)
        self._traffic.forget(peer_id)
        if peer is None:
            return 0
        self._dropped(chain.from_iterable(peer.waiting_ids))
        return len(peer.waiting)

    def forget_silent(self, mono: int) -> int:
        """Forgets who has been silent for long. Returns how many waiting messages that drops."""
        silent = [each for each, peer in self._peers.items() if peer.last_heard < mono - FORGET_AFTER_US]
        return sum(map(self.forget, silent))

    def expected(self) -> list[bytes]:
        """Those who may still send: heard from and without a goodbye."""
        return [each for each, peer in self._peers.items() if not peer.said_goodbye]
