"""The fronts that a broker has heard from, and the replies that their connections do not take yet. No sockets.

By default a ROUTER drops what a full or vanished peer cannot take (measured). So sends are made to fail, and the
replies are kept here, in bounded queues, until the peer takes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from broker.dispatch.traffic import Traffic

MAX_WAITING = 16 * 1024 * 1024
"""Bytes of replies that wait for one slow front; more are dropped and counted. A front's requests time out, so its
connections bound what it can wait for; this stops a peer that is not a front.
"""
FORGET_AFTER_US = 10_000_000
"""Microseconds of silence after which a front is forgotten; fronts ping every second."""


@dataclass(slots=True)
class Peer:
    """One connection of one front."""

    last_heard: int
    """Microseconds of the monotonic clock."""
    said_goodbye: bool = False
    waiting: deque[list[bytes]] = field(default_factory=deque)
    waiting_ids: deque[Sequence[str]] = field(default_factory=deque)
    """Ids of the HTTP requests that these messages answer."""
    waiting_bytes: int = 0


class Peers:
    """All peers, by routing id."""

    def __init__(
        self, dropped: Callable[[Iterable[str]], object] = lambda _: None, traffic: Traffic | None = None
    ) -> None:
        """Create it; `dropped` is called with the ids of requests whose answers are dropped, `traffic` counts bytes."""
        self._traffic = traffic or Traffic()
        self._dropped = dropped
        self._peers: dict[bytes, Peer] = {}
        self._blocked: dict[bytes, None] = {}
        """The longest blocked first. A dictionary and not a set: the order must not depend on hashes of routing ids."""

    def heard(self, peer_id: bytes, mono: int, goodbye: bool) -> None:
        """Record that a message came from this peer."""
        peer = self._peers.get(peer_id)
        if peer is None:
            peer = self._peers[peer_id] = Peer(mono)
            self._traffic.begin(peer_id)
        peer.last_heard = mono
        peer.said_goodbye |= goodbye

    def has_left(self, peer_id: bytes) -> bool:
        """Return whether this peer has said goodbye."""
        peer = self._peers.get(peer_id)
        return peer is not None and peer.said_goodbye

    def keep(self, peer_id: bytes, frames: list[bytes], request_ids: Sequence[str] = ()) -> bool:
        """Queue a message that the connection does not take.

        Returns False where it is dropped: the queue is full, or the peer is forgotten.
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
        """Return whether older messages wait, which must go first."""
        return peer_id in self._blocked

    @property
    def any_blocked(self) -> bool:
        """Whether anything waits at all."""
        return bool(self._blocked)

    def blocked(self) -> list[bytes]:
        """Return the peers for which messages wait, the longest waiting first."""
        return list(self._blocked)

    def first_waiting(self, peer_id: bytes) -> list[bytes]:
        """Return the oldest message that waits for a blocked peer."""
        return self._peers[peer_id].waiting[0]

    def sent_first(self, peer_id: bytes) -> None:
        """Remove the oldest waiting message: it was sent."""
        peer = self._peers[peer_id]
        peer.waiting_bytes -= sum(map(len, peer.waiting.popleft()))
        peer.waiting_ids.popleft()
        if not peer.waiting:
            self._blocked.pop(peer_id, None)

    def forget(self, peer_id: bytes) -> int:
        """Forget a peer. Return the number of its waiting messages, which are dropped."""
        self._blocked.pop(peer_id, None)
        peer = self._peers.pop(peer_id, None)
        self._traffic.forget(peer_id)
        if peer is None:
            return 0
        self._dropped(chain.from_iterable(peer.waiting_ids))
        return len(peer.waiting)

    def forget_silent(self, mono: int) -> int:
        """Forget peers that have been silent for long. Return the number of waiting messages that this drops."""
        silent = [each for each, peer in self._peers.items() if peer.last_heard < mono - FORGET_AFTER_US]
        return sum(map(self.forget, silent))

    def clock_moved(self, by: int) -> None:
        """Note that the monotonic clock continues `by` microseconds further on, or before."""
        for peer in self._peers.values():
            peer.last_heard += by

    def expected(self) -> list[bytes]:
        """Return the peers that may still send: heard from, without a goodbye."""
        return [each for each, peer in self._peers.items() if not peer.said_goodbye]
