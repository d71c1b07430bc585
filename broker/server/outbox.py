"""Sends replies through the ROUTER, after those that a slow front has not taken yet."""

from __future__ import annotations

from collections.abc import Sequence

import zmq

from broker.dispatch.dispatcher import Dispatcher
from broker.dispatch.reply import Outgoing
from broker.server.peers import Peers
from common.clock import Clock
from common.protocol import stats, wire
from common.protocol.grouping import group_messages


class Outbox:
    """The replies on their way to fronts. Dropped ones are counted. Belongs to the loop's thread."""

    def __init__(self, socket: zmq.Socket[bytes], dispatcher: Dispatcher, clock: Clock) -> None:
        self._socket = socket
        self._dispatcher = dispatcher
        self._clock = clock
        self._log = dispatcher.request_log
        self._traffic = dispatcher.traffic
        self.term = 0
        """Of the owner of the replicated log, as far as this process knows."""
        self.peers = Peers(self._log.dropped, self._traffic)

    def reply(self, peer_id: bytes, outgoing: Sequence[Outgoing]) -> None:
        """Send replies to one peer in as few messages as possible."""
        for group in group_messages(outgoing):
            packed, body = [each.packed for each in group], group[0].body
            head = self._head(packed, self._traffic.sent(peer_id, sum(map(len, packed)) + len(body or b"")))
            self._send(peer_id, [head] if body is None else [head, body], group)

    def announce(self) -> None:
        """Send the broker's state to every front that may still send something."""
        for peer_id in self.peers.expected():
            self._send(peer_id, [self._head([], self._traffic.sent(peer_id, 0))])

    def retry_blocked(self) -> None:
        """Send what waits for slow peers, as much as they take."""
        for peer_id in self.peers.blocked():
            while self.peers.is_blocked(peer_id) and self._try_send(peer_id, self.peers.first_waiting(peer_id)):
                if self.peers.is_blocked(peer_id):
                    self.peers.sent_first(peer_id)

    def forget_silent(self, mono_us: int) -> None:
        """Forget the peers that have been silent for long; count and log the replies that this drops."""
        counters = self._dispatcher.counters
        counters[stats.REPLIES_DROPPED] += self.peers.forget_silent(mono_us)
        self._log.report_dropped(counters[stats.REPLIES_DROPPED])

    def _head(self, packed: list[bytes], sent: int) -> bytes:
        it = self._dispatcher
        clock = self._clock.now().mono
        epoch = it.ownership.map.epoch
        return wire.pack_replies(it.identity.incarnation, clock, it.state, epoch, packed, sent, self.term)

    def _send(self, peer_id: bytes, frames: list[bytes], replies: Sequence[Outgoing] = ()) -> None:
        if not self.peers.is_blocked(peer_id) and self._try_send(peer_id, frames, replies):
            return
        if not self.peers.keep(peer_id, frames, [each.request_id for each in replies]):
            self._dispatcher.counters[stats.REPLIES_DROPPED] += 1

    def _try_send(self, peer_id: bytes, frames: list[bytes], replies: Sequence[Outgoing] = ()) -> bool:
        """Return False where the peer takes nothing now.

        A peer that is gone counts as sent to, and its replies as dropped, unless it has said goodbye: then it waits for
        none, and the answer to the goodbye may find it gone.
        """
        try:
            self._socket.send_multipart([peer_id, *frames], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            if self.peers.has_left(peer_id):
                self.peers.forget(peer_id)
                return True
            self._log.dropped(each.request_id for each in replies)
            self._dispatcher.counters[stats.REPLIES_DROPPED] += self.peers.forget(peer_id) or int(bool(replies))
        return True
