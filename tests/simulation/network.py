"""What lies between fronts and brokers: connections that delay, end, lose what is under way, and are made again.

As ZeroMQ over ipc or TCP: within a connection nothing is reordered and nothing is lost while it lasts; between
connections everything may be. What has come before the end can still be read. Either side may notice an end late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import zmq

from tests.simulation.sockets import Dealer, Router
from tests.simulation.world import SAME_MOMENT, World

ENDLESS = float("inf")
RECONNECT = (0.05, 0.2)
"""Seconds between two attempts to connect."""
LEAVING = 0.005
"""Seconds within which the end of a process is noticed by the other side, mostly."""


class Connection:
    """One front's connection to one broker process. A new one has a new routing id."""

    def __init__(self, peer_id: bytes, dealer: Dealer, router: Router) -> None:
        self.peer_id = peer_id
        self.dealer = dealer
        self.router = router
        self.full_until = 0.0
        """Nobody can send until then: the other side does not take anything."""
        self.ends = {True: ENDLESS, False: ENDLESS}
        """When what is under way is lost: to the broker, and to the front."""
        self.last = {True: 0.0, False: 0.0}
        """When the last message arrives, likewise."""

    @property
    def name(self) -> str:
        """For the trace."""
        return f"{self.dealer.owner.name}-{self.peer_id.hex()}"


class Network:
    """All connections of a cluster."""

    def __init__(self, world: World, delay: Callable[[], float]) -> None:
        """`delay` draws the seconds that a message needs."""
        self.world = world
        self.routers: dict[str, Router] = {}
        """Of the broker processes that listen, by endpoint."""
        self.all: dict[bytes, Connection] = {}
        """Every connection that ever was, by routing id."""
        self.delay = delay

    def connect(self, dealer: Dealer) -> None:
        """Begins to connect, and continues until there is a connection."""
        self.world.after(self.delay(), lambda: self._try(dealer))

    def send(self, connection: Connection, frames: list[bytes], to_broker: bool) -> None:
        """The frames arrive later, and after those that were sent before."""
        arrives = max(self.world.now + self.delay(), connection.last[to_broker] + SAME_MOMENT)
        connection.last[to_broker] = arrives
        self.world.after(arrives - self.world.now, lambda: self._arrive(connection, frames, to_broker))

    def cut(self, connection: Connection, front_notices: float, broker_notices: float, last: float = 0.0) -> None:
        """End a connection. Each side notices after its number of seconds.

        What would have reached the front within `last` seconds still does.
        """
        now = self.world.now
        if connection.ends[True] < ENDLESS:
            return
        self.world.note("cut", connection.name, round(front_notices, 6), round(broker_notices, 6))
        connection.ends = {True: now, False: now + last}
        self.world.after(max(front_notices, last), lambda: self._front_notices(connection))
        self.world.after(broker_notices, lambda: connection.router.peers.pop(connection.peer_id, None))

    def unbind(self, endpoint: str, router: Router) -> None:
        """A broker process has stopped: what it has sent arrives, what was sent to it is lost."""
        if self.routers.get(endpoint) is router:
            del self.routers[endpoint]
        for connection in list(router.peers.values()):
            left = max(0.0, connection.last[False] - self.world.now) + SAME_MOMENT
            self.cut(connection, left, 0.0, left)

    def died(self, endpoint: str, router: Router) -> None:
        """A broker process was killed. Of what it had sent nothing, the first part or all of it arrives."""
        if self.routers.get(endpoint) is router:
            del self.routers[endpoint]
        rng = self.world.rng
        for connection in list(router.peers.values()):
            silent = rng.uniform(1.0, 4.0) if rng.random() < 0.1 else rng.uniform(0.0, LEAVING)
            left = max(0.0, connection.last[False] - self.world.now) + SAME_MOMENT
            self.cut(connection, silent, 0.0, rng.choice((0.0, rng.uniform(0.0, left), left, left)))

    def hang_up(self, dealer: Dealer) -> None:
        """A front has closed a socket, or is gone."""
        if dealer.connection is not None:
            self.cut(dealer.connection, 0.0, self.world.rng.uniform(0.0, LEAVING))

    def _try(self, dealer: Dealer) -> None:
        if dealer.closed:
            return
        router = self.routers.get(dealer.endpoint)
        if router is None:
            self.world.after(self.world.rng.uniform(*RECONNECT), lambda: self._try(dealer))
            return
        connection = Connection(self.world.rng.randbytes(5), dealer, router)
        self.world.note("connected", connection.name, dealer.endpoint)
        self.all[connection.peer_id] = router.peers[connection.peer_id] = dealer.connection = connection
        dealer.monitor.tell(zmq.EVENT_HANDSHAKE_SUCCEEDED)

    def _arrive(self, connection: Connection, frames: list[bytes], to_broker: bool) -> None:
        if self.world.now > connection.ends[to_broker]:
            self.world.note("lost", connection.name, "to broker" if to_broker else "to front")
        elif to_broker:
            connection.router.inbox.setdefault(connection, deque()).append(frames)
            connection.router.task.wake(self.world.rng.uniform(0.0, 0.001))
        elif not connection.dealer.closed:
            connection.dealer.arrived(frames)

    def _front_notices(self, connection: Connection) -> None:
        dealer = connection.dealer
        if dealer.connection is connection and not dealer.closed:
            dealer.connection = None
            dealer.monitor.tell(zmq.EVENT_DISCONNECTED)
            self.world.after(self.world.rng.uniform(*RECONNECT), lambda: self._try(dealer))
