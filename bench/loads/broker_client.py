"""A raw client of the brokers, for loads and preparation: DEALER sockets, packed frames, many requests in flight."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import msgspec
import zmq

from bench.harness.processes import BenchError
from common.cluster.slots import BrokerAddress, ClusterMap
from common.keys.curve import KeyPair, prepare
from common.protocol import ops, wire
from common.protocol.ops import Op

WINDOW = 2000
"""Requests in flight."""
ANSWER_TIMEOUT_S = 20.0
"""Seconds without a reply after which a load fails."""
NO_DEADLINE = 2**62
"""A deadline that never passes."""
NOTHING = ops.Nothing()

Item = tuple[Op, bytes, bytes, msgspec.Struct]
"""Operation, topic, user, arguments."""


class Frame(NamedTuple):
    """A request frame and the number of its requests."""

    packed: bytes
    requests: int


_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
"""Under load only the number of replies (or echoed requests) is decoded: the client must cost less than the broker."""


class Dealer:
    """A connection to a server that answers every request. A context manager."""

    def __init__(self, place: BrokerAddress, keys: KeyPair | None = None) -> None:
        """Connect. `keys` are required if the other side has a key."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 100_000), (zmq.RCVHWM, 100_000)):
            self._socket.setsockopt(option, value)
        prepare(self._socket, place, keys)
        self._socket.connect(place.endpoint)

    def exchange(self, frames: Sequence[Frame], window: int = WINDOW) -> float:
        """Send all with at most `window` requests in flight; return the seconds until the last is answered.

        Results are not examined. Raises `BenchError` after `ANSWER_TIMEOUT_S` without a reply.
        """
        waiting = deque(frames)
        left = sum(frame.requests for frame in frames)
        in_flight = 0
        began = time.perf_counter()
        while left:
            while waiting and in_flight + waiting[0].requests <= window:
                frame = waiting.popleft()
                self._socket.send(frame.packed)
                in_flight += frame.requests
            answered = self._receive()
            in_flight -= answered
            left -= answered
        return time.perf_counter() - began

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, frame: Frame) -> list[bytes]:
        self._socket.send(frame.packed)
        self._wait()
        return self._socket.recv_multipart()

    def _receive(self) -> int:
        self._wait()
        answered = 0
        try:
            while True:
                parts = _parts(self._socket.recv(zmq.NOBLOCK))
                answered += _count(parts[5] if len(parts) > 5 else parts[3])
        except zmq.Again:
            return answered

    def _wait(self) -> None:
        if not self._socket.poll(int(ANSWER_TIMEOUT_S * 1000)):
            raise BenchError(f"no answer to a request for {ANSWER_TIMEOUT_S:g} s")


class BrokerClient(Dealer):
    """A connection to one broker. Requests name the incarnation that answered the PING."""

    def __init__(self, cluster: ClusterMap, place: BrokerAddress, keys: KeyPair | None = None) -> None:
        """Connect and send PING. Raises `BenchError` if there is no answer."""
        super().__init__(place, keys)
        self._epoch = cluster.epoch
        self._incarnation = 0
        ping = [(Op.PING, b"", b"", ops.Ping(cluster.name, place.id))]
        self._incarnation = wire.unpack_replies(self._ask(self.frames(ping)[0])).incarnation

    def frames(self, items: Iterable[Item], per_frame: int = wire.MAX_REQUESTS) -> list[Frame]:
        """Pack requests, `per_frame` of them per frame."""
        packed = [
            wire.pack_request(n, op, topic, user, NO_DEADLINE, args) for n, (op, topic, user, args) in enumerate(items)
        ]
        groups = [packed[n : n + per_frame] for n in range(0, len(packed), per_frame)]
        return [Frame(wire.pack_requests(self._incarnation, self._epoch, group), len(group)) for group in groups]

    def run(self, items: Iterable[Item]) -> None:
        """Send all. Raises `BenchError` if the broker refuses one."""
        before = self.errors()
        self.exchange(self.frames(items))
        if self.errors() != before:
            raise BenchError(f"the broker refused requests: {self.stats()}")

    def stats(self) -> dict[str, int]:
        """Return the gauges and counters of the broker."""
        reply = wire.unpack_replies(self._ask(self.frames([(Op.STATS, b"", b"", NOTHING)])[0])).replies[0]
        values: dict[str, int] = wire.unpack_result(Op.STATS, reply.result).values
        return values

    def errors(self) -> int:
        """Return the number of requests refused or failed since the broker started."""
        return sum(value for name, value in self.stats().items() if name.startswith("errors."))


def _count(packed: msgspec.Raw) -> int:
    """Return the length of a packed MessagePack array."""
    view = memoryview(packed)
    return view[0] & 0x0F if view[0] != 0xDC else view[1] << 8 | view[2]


class ClusterClient:
    """Connections to all brokers of a cluster, to prepare state. A context manager."""

    def __init__(self, cluster: ClusterMap, keys: KeyPair | None = None) -> None:
        self._map = cluster
        self.brokers = {each.id: BrokerClient(cluster, each, keys) for each in cluster.brokers}

    def run(self, items: Iterable[Item]) -> None:
        """Send each item to the owner of its topic. Raises `BenchError` if a broker refuses one."""
        shares: dict[str, list[Item]] = {broker: [] for broker in self.brokers}
        for item in items:
            shares[self._map.owner(item[1])].append(item)
        for broker, share in shares.items():
            self.brokers[broker].run(share)

    def total(self, name: str) -> int:
        """Return the sum of a gauge or counter over all brokers."""
        return sum(client.stats().get(name, 0) for client in self.brokers.values())

    def errors(self) -> int:
        """Return the number of errors of all brokers."""
        return sum(client.errors() for client in self.brokers.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self.brokers.values():
            client.close()
