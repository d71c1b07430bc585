"""A connection for tools of this host to a running broker: asks and waits, one request at a time."""

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

PATIENCE = 60.0
"""Seconds that a broker may take to answer; the last sync of a large copy is one of its turns."""


class Control:
    """To one broker. A context manager."""

    def __init__(self, cluster: ClusterMap, broker_id: str, keys: KeyPair | None = None) -> None:
        """`keys` as `check_front` has found them good."""
        self._cluster, self._broker = cluster, broker_id
        self._ids = itertools.count(1)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        address = cluster.address(broker_id)
        prepare(self._socket, address, keys)
        self._socket.connect(address.endpoint)

    def ask(self, op: Op, args: Struct) -> Any:
        """The result of an operation that names no topic. Raises what the broker answers, and `broker-down`."""
        wanted = next(self._ids)
        until = time.monotonic() + PATIENCE
        frame = wire.pack_requests(0, self._cluster.epoch, [wire.pack_request(wanted, op, b"", b"", 0, args)])
        if not self._socket.poll(int(PATIENCE * 1000), zmq.POLLOUT):
            raise self._down()
        self._socket.send(frame)
        while True:
            if not self._socket.poll(max(0, int((until - time.monotonic()) * 1000))):
                raise self._down()
            try:
                replies = wire.unpack_replies(self._socket.recv_multipart()).replies
            except wire.WireError as error:
                raise FanmailError("broker-down", f"broker {self._broker} is not understood: {error}") from None
            for reply in replies:
                if reply.id == wanted:
                    if reply.code:
                        raise wire.unpack_error(reply.code, reply.result)
                    return wire.unpack_result(op, reply.result)

    def check(self) -> None:
        """Raises `broker-down` where somebody else answers."""
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
