"""A raw client of the brokers: DEALER sockets, packed frames, many requests in flight. Loads and prepares."""

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
SILENCE = 20.0
"""Seconds without a reply after which a load is given up."""
FAR = 2**62
"""A deadline that does not come."""
NOTHING = ops.Nothing()

Item = tuple[Op, bytes, bytes, msgspec.Struct]
"""Operation, topic, user, arguments."""


class Frame(NamedTuple):
    """A request frame, and how many requests it holds."""

    packed: bytes
    requests: int


_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
"""Nothing but the number of replies, or of requests that are echoed, is looked at under load: it must cost less than
the broker does."""


class Dealer:
    """One connection to something that answers every request. A context manager."""

    def __init__(self, place: BrokerAddress, keys: KeyPair | None = None) -> None:
        """`keys` must be there where the other side has a key."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 100_000), (zmq.RCVHWM, 100_000)):
            self._socket.setsockopt(option, value)
        prepare(self._socket, place, keys)
        self._socket.connect(place.endpoint)

    def exchange(self, frames: Sequence[Frame], window: int = WINDOW) -> float:
        """Sends all with at most `window` requests in flight; the seconds until the last is answered.

        What was answered is not looked at. Raises `BenchError` after `SILENCE`.
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
        if not self._socket.poll(int(SILENCE * 1000)):
            raise BenchError(f"no answer to a request for {SILENCE:g} s")


class BrokerClient(Dealer):
    """Speaks to one broker. Everything it sends names the incarnation that answered its PING."""

    def __init__(self, cluster: ClusterMap, place: BrokerAddress, keys: KeyPair | None = None) -> None:
        """Raises `BenchError` where nobody answers."""
        super().__init__(place, keys)
        self._epoch = cluster.epoch
        self._incarnation = 0
        ping = [(Op.PING, b"", b"", ops.Ping(cluster.name, place.id))]
        self._incarnation = wire.unpack_replies(self._ask(self.frames(ping)[0])).incarnation

    def frames(self, items: Iterable[Item], per_frame: int = wire.MAX_REQUESTS) -> list[Frame]:
        """Requests packed, `per_frame` of them in each frame."""
        packed = [wire.pack_request(n, op, topic, user, FAR, args) for n, (op, topic, user, args) in enumerate(items)]
        groups = [packed[n : n + per_frame] for n in range(0, len(packed), per_frame)]
        return [Frame(wire.pack_requests(self._incarnation, self._epoch, group), len(group)) for group in groups]

    def run(self, items: Iterable[Item]) -> None:
        """Sends all. Raises `BenchError` where one was refused."""
        before = self.errors()
        self.exchange(self.frames(items))
        if self.errors() != before:
            raise BenchError(f"the broker refused what a measurement needs: {self.stats()}")

    def stats(self) -> dict[str, int]:
        """The broker's gauges and counters."""
        reply = wire.unpack_replies(self._ask(self.frames([(Op.STATS, b"", b"", NOTHING)])[0])).replies[0]
        values: dict[str, int] = wire.unpack_result(Op.STATS, reply.result).values
        return values

    def errors(self) -> int:
        """How many requests the broker has refused or failed since its start."""
        return sum(value for name, value in self.stats().items() if name.startswith("errors."))


def _count(packed: msgspec.Raw) -> int:
    """The length of a packed MessagePack array."""
    view = memoryview(packed)
    return view[0] & 0x0F if view[0] != 0xDC else view[1] << 8 | view[2]


class ClusterClient:
    """Prepares state in all brokers of a cluster. A context manager."""

    def __init__(self, cluster: ClusterMap, keys: KeyPair | None = None) -> None:
        self._map = cluster
        self.brokers = {each.id: BrokerClient(cluster, each, keys) for each in cluster.brokers}

    def run(self, items: Iterable[Item]) -> None:
        """Sends each item to the owner of its topic. Raises `BenchError` where one was refused."""
        shares: dict[str, list[Item]] = {broker: [] for broker in self.brokers}
        for item in items:
            shares[self._map.owner(item[1])].append(item)
        for broker, share in shares.items():
            self.brokers[broker].run(share)

    def total(self, name: str) -> int:
        """The sum of a gauge or counter over all brokers."""
        return sum(client.stats().get(name, 0) for client in self.brokers.values())

    def errors(self) -> int:
        """The sum over all brokers."""
        return sum(client.errors() for client in self.brokers.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self.brokers.values():
            client.close()
