"""Doubles of the ZeroMQ sockets and of epoll, as far as brokers and fronts use them. What travels is `network.py`."""

from __future__ import annotations

import itertools
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import zmq

from tests.simulation.world import Killed, Task, World

if TYPE_CHECKING:
    from tests.simulation.network import Connection, Network

TURN_COSTS = 50e-6
"""Seconds that a turn of a loop takes at the least, so that no loop turns for ever at one moment."""
descriptors = itertools.count(100_000)
"""Beyond all that the system has given out."""


class NotNow(zmq.Again):
    """Without a look at the system's texts."""

    def __init__(self) -> None:
        """There is nothing to say."""


class Router:
    """The ROUTER of one broker process."""

    def __init__(self, world: World, network: Network, task: Task) -> None:
        self.task = task
        self.peers: dict[bytes, Connection] = {}
        """Whom it can send to; a connection may be cut without its knowing."""
        self.inbox: dict[Connection, deque[list[bytes]]] = {}
        """What has come and was not read yet, also over connections that have ended since."""
        self.sends_left: int | None = None
        """After this many more replies the process is killed."""
        self._world = world
        self._network = network
        self._endpoint = ""
        self._parts: deque[bytes] = deque()
        """Of the message that is being read."""

    def setsockopt(self, option: int, value: int) -> None:
        """The options that matter are how the doubles behave."""

    def bind(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._network.routers[endpoint] = self

    def recv(self, flags: int) -> bytes:
        """In order of each connection, and in any order between them."""
        if self._parts:
            return self._parts.popleft()
        if not self.inbox:
            raise NotNow
        connection = self._world.rng.choice(list(self.inbox))
        waiting = self.inbox[connection]
        frames = waiting.popleft()
        if not waiting:
            del self.inbox[connection]
        self._parts.extend(frames)
        return connection.peer_id

    def getsockopt(self, option: int) -> int:
        """Whether the message is passed on."""
        assert option == zmq.RCVMORE
        return len(self._parts)

    def send_multipart(self, parts: list[bytes], flags: int) -> None:
        connection = self.peers.get(parts[0])
        if connection is None:
            raise zmq.ZMQError(zmq.EHOSTUNREACH)
        if connection.full_until > self._world.now:
            raise NotNow
        if self.sends_left is not None:
            self.sends_left -= 1
            if self.sends_left < 0:
                self._world.note("killed between replies", self._endpoint)
                raise Killed
        self._network.send(connection, parts[1:], to_broker=False)

    def close(self, linger: int = 0) -> None:
        """What was sent leaves yet."""
        self._network.unbind(self._endpoint, self)


class BrokerPeer:
    """A broker process as a client of others: what `Dealer` and `network.py` know of its owner."""

    def __init__(self, name: str, task: Task) -> None:
        self.name = name
        self._task = task

    def ready(self, fd: int) -> None:
        """Something came."""
        self._task.wake()


class BrokerContext:
    """A ZeroMQ context of one broker process, and its poller."""

    def __init__(self, world: World, network: Network, task: Task, name: str) -> None:
        self._world = world
        self._network = network
        self._task = task
        self._peer = BrokerPeer(name, task)
        self._dealers: list[Dealer] = []
        self.router = Router(world, network, task)
        self.idle: Callable[[], object] = lambda: None
        """Called when the loop has nothing to do."""

    def socket(self, kind: int) -> Any:
        if kind == zmq.ROUTER:
            return self.router
        self._dealers.append(Dealer(self._network, self._peer))
        return self._dealers[-1]

    def close(self) -> None:
        """The process is gone, and its connections to other brokers with it."""
        for dealer in self._dealers:
            if not dealer.closed:
                dealer.close()

    def term(self) -> None:
        """There is nothing to wait for."""

    def register(self, source: object, events: int) -> None:
        """Of the poller; everything wakes the loop."""

    def unregister(self, source: object) -> None:
        """Likewise."""

    def poll(self, milliseconds: int) -> list[Any]:
        """Gives way until something comes."""
        self.idle()
        self._task.wait(max(TURN_COSTS, milliseconds / 1000))
        return []


class Monitor:
    """Tells a front what becomes of its connection."""

    def __init__(self, ready: Callable[[int], object]) -> None:
        self.closed = False
        self._events: deque[int] = deque()
        self._fd = next(descriptors)
        self._ready = ready

    def tell(self, event: int) -> None:
        self._events.append(event)
        self._ready(self._fd)

    def getsockopt(self, option: int) -> int:
        return self._fd if option == zmq.FD else (zmq.POLLIN if self._events else 0)

    def recv_multipart(self, flags: int) -> list[bytes]:
        return [struct.pack("=hi", self._events.popleft(), 0), b""]

    def close(self, linger: int = 0) -> None:
        self.closed = True


class Dealer:
    """The DEALER of a front to one broker."""

    def __init__(self, network: Network, owner: Any) -> None:
        """`owner` is the process of the front; its `ready(fd)` is in place of epoll."""
        self.owner = owner
        self.closed = False
        self.connection: Connection | None = None
        self.endpoint = ""
        self.inbox: deque[list[bytes]] = deque()
        self.monitor = Monitor(owner.ready)
        self._fd = next(descriptors)
        self._network = network

    def setsockopt(self, option: int, value: int) -> None:
        """The options that matter are how the doubles behave."""

    def getsockopt(self, option: int) -> int:
        return self._fd

    def get_monitor_socket(self, events: int) -> Monitor:
        return self.monitor

    def disable_monitor(self) -> None:
        """It hears nothing more."""

    def connect(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._network.connect(self)

    def send(self, frame: bytes, flags: int) -> None:
        self.send_multipart([frame], flags)

    def send_multipart(self, frames: list[bytes], flags: int) -> None:
        """As with ZMQ_IMMEDIATE: nothing is queued for a connection that is not there."""
        if self.connection is None or self.connection.full_until > self._network.world.now:
            raise NotNow
        self._network.send(self.connection, frames, to_broker=True)

    def recv_multipart(self, flags: int) -> list[bytes]:
        if not self.inbox:
            raise NotNow
        return self.inbox.popleft()

    def arrived(self, frames: list[bytes]) -> None:
        self.inbox.append(frames)
        self.owner.ready(self._fd)

    def close(self, linger: int = 0) -> None:
        self.closed = True
        self._network.hang_up(self)


class FrontContext:
    """A ZeroMQ context of one front process."""

    def __init__(self, network: Network, owner: Any) -> None:
        self._network = network
        self._owner = owner
        self._dealers: list[Dealer] = []

    def socket(self, kind: int) -> Dealer:
        self._dealers.append(Dealer(self._network, self._owner))
        return self._dealers[-1]

    def close(self) -> None:
        """The process is gone, and its connections with it."""
        for dealer in self._dealers:
            dealer.close()

    def term(self) -> None:
        """There is nothing to wait for."""


class Epoll:
    """Gives the loop of a front way until a descriptor is ready; nothing comes at the one of a broker."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._fd = next(descriptors)
        self._watched: set[int] = set()
        self._ready: dict[int, int] = {}

    def register(self, fd: int, events: int) -> None:
        self._watched.add(fd)

    def unregister(self, fd: int) -> None:
        self._watched.discard(fd)
        self._ready.pop(fd, None)

    def ready(self, fd: int) -> None:
        """Something has changed there; said once, as the sockets' descriptors do."""
        if fd in self._watched:
            self._ready[fd] = 1

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        if not self._ready and timeout > 0:
            self._task.wait(timeout)
        ready, self._ready = self._ready, {}
        return list(ready.items())

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """Nothing is held."""
