"""A connection for tools on the host of a running broker: one request at a time."""

from __future__ import annotations

import itertools
import time
from types import TracebackType
from typing import Any, Self

import zmq
from msgspec import Struct

from common.cluster.slots import ClusterMap
from common.errors import FanmailError
from common.keys.curve import KeyPair, prepare
from common.protocol import ops, wire
from common.protocol.ops import Op
from common.protocol.wire import BrokerState

CONNECT_S = 5.0
"""How long a connection may take."""
TIMEOUT_S = 60.0
"""How long a broker may take to answer: it syncs a large copy within one turn of its loop."""


class Control:
    """A connection to one broker. A context manager."""

    def __init__(
        self,
        cluster: ClusterMap,
        broker_id: str,
        keys: KeyPair | None = None,
        host: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`keys` have passed `check_front`. `host` is that of the candidate, where the broker has several."""
        self._cluster, self._broker, self._timeout_s = cluster, broker_id, timeout_s
        self.state, self.term = BrokerState.LOADING, 0
        """What the broker has said with its last answer."""
        self._ids = itertools.count(1)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        address = cluster.address(broker_id, host)
        prepare(self._socket, address, keys)
        self._endpoint = address.endpoint
        self._socket.connect(self._endpoint)

    def ask(self, op: Op, args: Struct) -> Any:
        """Return the result of an operation that names no topic. Raises the broker's error, and `broker-down`."""
        request_id = next(self._ids)
        frame = wire.pack_requests(0, self._cluster.epoch, [wire.pack_request(request_id, op, b"", b"", 0, args)])
        if not self._socket.poll(int(min(CONNECT_S, self._timeout_s) * 1000), zmq.POLLOUT):
            raise FanmailError("broker-down", f"nothing answers at {self._endpoint}: is the broker running?")
        self._socket.send(frame)
        until = time.monotonic() + self._timeout_s
        while True:
            if not self._socket.poll(max(0, int((until - time.monotonic()) * 1000))):
                raise self._down()
            try:
                answer = wire.unpack_replies(self._socket.recv_multipart())
                self.state, self.term = BrokerState(answer.state), answer.term
            except (wire.WireError, ValueError) as error:
                raise FanmailError("broker-down", f"broker {self._broker} sent an invalid reply: {error}") from None
            for reply in answer.replies:
                if reply.id == request_id:
                    if reply.code:
                        raise wire.unpack_error(reply.code, reply.result)
                    return wire.unpack_result(op, reply.result)

    def check(self) -> None:
        """Check who answers. Raises `broker-down` where it is another broker."""
        pong: ops.Pong = self.ask(Op.PING, ops.Ping(self._cluster.name, self._broker))
        if (pong.cluster, pong.broker) != (self._cluster.name, self._broker):
            raise FanmailError("broker-down", f"broker {pong.broker} of cluster {pong.cluster} answers there")

    def _down(self) -> FanmailError:
        return FanmailError("broker-down", f"broker {self._broker} does not answer")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close(linger=0)
        self._context.term()
