"""A broker that does what a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import zmq

from common.protocol import ops, wire
from common.protocol.ops import Op
from common.protocol.wire import BrokerState
from tests.e2e.cluster import PATIENCE


class FakeBroker:
    """Binds an endpoint of `b0` and answers PINGs like it, until it is told to do something else.

    Its ZeroMQ threads continue whatever it does, like those of a broker whose loop is stuck.
    """

    def __init__(self, endpoint: str, state: BrokerState = BrokerState.READY, term: int = 0) -> None:
        self.answering, self._ending = threading.Event(), threading.Event()
        self.answering.set()
        self.pings = 0
        self.requests: list[ops.Op] = []
        self.incarnation = 7
        self.state = state
        self.term = term
        """Of the replicated log."""
        self.unproven = False
        self.answers: dict[Op, Any] = {}
        """Results of requests; those of other operations stay unanswered, except PING and STATS."""
        self._announced = threading.Event()
        self._peers: dict[bytes, None] = {}
        self.instead: list[list[bytes]] = []
        """Messages that are sent instead of the next replies."""
        self.drains_on: Op | None = None
        """A request of this kind gets no reply: the broker only says that it is stopping."""
        self.unanswered: list[int] = []
        self.stats: dict[str, int] = {}
        self._endpoint = endpoint
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.ROUTER)
        socket.bind(self._endpoint)
        while not self._ending.is_set():
            if self._announced.is_set():
                self._announced.clear()
                for peer in self._peers:
                    socket.send_multipart([peer, *self._frame()])
            if self.answering.is_set() and socket.poll(20):
                peer, *frames = socket.recv_multipart()
                self._peers[peer] = None
                for answer in self._answers(frames):
                    socket.send_multipart([peer, *answer])
            elif not self.answering.is_set():
                self._ending.wait(0.02)
        context.destroy(linger=0)

    def _answers(self, frames: list[bytes]) -> Iterator[list[bytes]]:
        for request in wire.unpack_requests(frames).requests:
            if self.instead:
                yield self.instead.pop(0)
            elif request.op == Op.PING:
                self.pings += 1
                yield self._frame(wire.pack_reply(request.id, ops.Pong("fanmail", "b0", unproven=self.unproven)))
            else:
                self.requests.append(Op(request.op))
                if request.op in self.answers:
                    yield self._frame(wire.pack_reply(request.id, self.answers[Op(request.op)]))
                elif request.op == Op.STATS:
                    yield self._frame(wire.pack_reply(request.id, ops.Stats(self.stats)))
                elif request.op == self.drains_on:
                    self.state = BrokerState.DRAINING
                    self.unanswered.append(request.id)
                    yield self._frame()

    def _frame(self, *replies: bytes) -> list[bytes]:
        return [wire.pack_replies(self.incarnation, time.monotonic_ns() // 1000, self.state, 1, replies, 0, self.term)]

    def take_over(self, term: int) -> None:
        """Become the owner of the log, and say so to everybody without being asked."""
        self.incarnation, self.state, self.term = self.incarnation + 1, BrokerState.READY, term
        self._announced.set()

    def answer_the_rest(self) -> None:
        """Refuse what was left without a reply, instead of sending the next PONG."""
        refused = [wire.pack_error(each, "draining", "broker b0 is stopping") for each in self.unanswered]
        self.instead.append(self._frame(*refused))
