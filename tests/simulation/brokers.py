"""A broker: its place in the cluster, and its present process, which runs the real `broker.server.loop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import msgspec
import zmq

from broker.dispatch.dispatcher import Arrived, Dispatcher
from broker.dispatch.identity import Identity
from broker.errors import StoreError
from broker.operations.context import Context
from broker.operations.limits import Limits
from broker.server.links import BrokerLinks
from broker.server.listener import Listener
from broker.server.loop import Server
from broker.server.moving import Moving
from broker.server.process import Process
from broker.state.body_cache import BodyCache
from broker.state.state import State
from broker.state.topic_settings import TopicRules
from broker.thresholds import DEFAULT
from common.clock import Mark, Now
from common.cluster.slots import BrokerAddress, ClusterMap
from common.protocol import wire
from common.protocol.ops import Op
from common.protocol.wire import BrokerState, WireError
from tests.simulation.disks import Death, DyingStore
from tests.simulation.network import Network
from tests.simulation.sockets import BrokerContext, Epoll
from tests.simulation.world import Task, World
from tests.support.snapshot import check_state
from tests.support.tiny import TINY

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.dispatch.reply import Outgoing
    from tests.simulation.fronts import FrontProcess

CHANGES_NOTHING = {int(op) for op in (Op.PING, Op.GOODBYE, Op.WAIT, Op.SKIP, Op.CANCEL, Op.LOOK)}
LIMITS = Limits(topics=1000, subscriptions=1000, topic_messages=12, topic_bytes=2**20, memory=2**30, leases=8)
"""Some are low enough to be met."""
OF_MOVES = LIMITS._replace(topic_messages=1000)
"""Where slots move: sessions publish many at a time."""
ROUNDING = 5e-6
"""Seconds by which deadlines in whole microseconds may differ."""
STALE = 60.0
"""Seconds that a front's reading of a broker's clock may be old at the most: a run is shorter."""
EPOCH = 1_700_000_000_000


class SkewedClock:
    """Runs a little fast or slow, and may be set. Implements `common.clock.Clock`; a broker stays on its machine."""

    def __init__(self, broker: Broker, start: Mark) -> None:
        """`start` as of `SystemClock`."""
        self._broker = broker
        self._world = broker.world
        self._start = start.mono
        self._born = self._world.now
        time, boottime = (start.time, start.boottime) if start.time else (self._wall(), self._boottime())
        self._ahead = time - boottime

    def now(self) -> Now:
        passed = (self._world.now - self._born) * self._broker.rate
        return Now(self._start + int(passed * 1e6), self.time_at(self._world.now), self._wall())

    def mark(self) -> Mark:
        now = self.now()
        return Mark(now.mono, now.time, "simulated", self._boottime())

    def time_at(self, moment: float) -> int:
        """The broker's time at a moment of the world."""
        return self._ahead + int(moment * self._broker.rate * 1000)

    def _boottime(self) -> int:
        return int(self._world.now * self._broker.rate * 1000)

    def _wall(self) -> int:
        return EPOCH + self._broker.wall + self._boottime()


class WatchedDispatcher(Dispatcher):
    """Notes what is executed, and for whom."""

    def __init__(self, process: BrokerProcess, context: Context, identity: Identity, cluster_map: ClusterMap) -> None:
        super().__init__(context, identity, cluster_map)
        self._process = process

    def handle(
        self,
        frames: list[bytes],
        now: Now,
        peer_id: bytes = b"",
        spill: Callable[[list[Outgoing]], Now] | None = None,
    ) -> Arrived:
        answered: set[int] = set()

        def spilled(replies: list[Outgoing]) -> Now:
            assert spill is not None
            answered.update(self._process.handled(frames, replies, peer_id, answered, last=False))
            return spill(replies)

        arrived = super().handle(frames, now, peer_id, spilled if spill else None)
        self._process.handled(frames, arrived.replies, peer_id, answered, last=True)
        return arrived


class BrokerProcess:
    """From its start to its end."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.state: State | None = None
        self.dispatcher: WatchedDispatcher | None = None
        self.listener: Listener | None = None
        self.server: Server | None = None
        self.store: DyingStore | None = None
        self.context: BrokerContext | None = None
        self.clock: SkewedClock | None = None
        self.begun = self.graceful = False
        self.task = Task(broker.world, self._main)

    @property
    def serving(self) -> bool:
        return self.dispatcher is not None and self.dispatcher.state is BrokerState.READY and not self.task.ended

    def _main(self) -> None:
        self.begun = True
        try:
            self._build()
            assert self.server is not None
            assert self.listener is not None
            assert self.store is not None
            self.listener.bind(self.broker.endpoint)
            self.server.load()
            self.broker.world.note("serving", self.broker.name)
            self.server.run()
            self.listener.close()
            self.store.close()
            self.graceful = True
        except StoreError as error:
            self._failed(error)
        except Exception as error:
            self.broker.world.fail(f"{self.broker.name} ends by a bug: {error!r}")
        finally:
            self.task.ended = True
            self.broker.ended(self)

    def _build(self) -> None:
        broker, world = self.broker, self.broker.world
        self.store = self._open()
        contents = BodyCache(self.store.read if self.store.durable else None, broker.keep, broker.thresholds)
        self.state = State(TopicRules(broker.limits.topic_settings), contents, self.store.durable, broker.thresholds)
        identity = Identity(broker.map.name, broker.id, world.rng.getrandbits(62) + 1, 2**20)
        world.note("starts", broker.name, identity.incarnation)
        self.dispatcher = WatchedDispatcher(self, Context(self.state, broker.limits), identity, broker.map)
        self.clock = self._new_clock(self.store.clock)
        self.context = BrokerContext(world, broker.network, self.task, broker.name)
        self.context.idle = self._idle
        context = self.context
        with patch.object(zmq, "Context", lambda: context), patch.object(zmq, "Poller", lambda: context):
            with patch("broker.server.listener.select.epoll", lambda: Epoll(self.task)):
                self.listener = Listener(2**22, None, {})
            self.server = Server(
                self.listener, self.dispatcher, self.store, self.clock, self._around(), goodbye_timeout=1.0
            )
            if broker.moves:
                zmq_context: Any = context
                self.server.attach(Moving(self.dispatcher, BrokerLinks(zmq_context, broker.map, None)))

    def _open(self) -> Any:
        """The store of this process."""
        broker = self.broker
        return DyingStore(broker.world, self.task, broker.name, broker.disk, broker.slow)

    def _new_clock(self, start: Mark) -> Any:
        return SkewedClock(self.broker, start)

    def _around(self) -> Process:
        return Process(-1, lambda: None)

    def _failed(self, error: StoreError) -> None:
        """The loop has ended with an error of the store."""
        self.broker.world.note("store failed", self.broker.name, str(error))

    def handled(
        self, frames: list[bytes], replies: list[Outgoing], peer_id: bytes, before: set[int], *, last: bool
    ) -> set[int]:
        """Tell the front process which of its requests were executed; return those.

        `before` were told already; with `last` a request without a reply is parked.
        """
        assert self.dispatcher is not None
        try:
            frame = wire.unpack_requests(frames)
        except WireError as error:
            self.broker.world.fail(f"a front sent what is none of ours: {error}")
            return set()
        done = {}
        for reply in replies:
            request_id, code, _ = msgspec.msgpack.decode(reply.packed)
            done[request_id] = code
        front = self.broker.network.all[peer_id].dealer.owner
        for request in frame.requests:
            if request.id in before or (request.id not in done and not last):
                continue
            code = done.get(request.id, "parked")
            if request.op not in (Op.PING, Op.GOODBYE):
                op, who = Op(request.op).name, f"{front.name}#{request.id}"
                self.broker.world.note("handled", self.broker.name, op, who, request.topic, request.user, code)
            if not code and request.topic and request.op not in CHANGES_NOTHING:
                front.executed_at(request.id, self.broker)
                if frame.incarnation != self.dispatcher.identity.incarnation:
                    self.broker.world.fail(f"{self.broker.name} executed what was meant for its predecessor")
        return set(done)

    def _idle(self) -> None:
        """Nobody waits beside a message that no other front was told of."""
        assert self.dispatcher is not None
        waiters = self.dispatcher.waiters
        if waiters.busy or not waiters.count:
            return
        for users in waiters._topics.values():
            for box in users.values():
                pending = waiters._pending(box.topic, box.user)
                if box.waiters and (pending is None or len(box.open_wakes) < pending):
                    self.broker.world.fail(f"{box.user!r} of {box.topic!r} waits beside {pending} messages")

    def check(self) -> None:
        """The state is consistent in itself, but for what has come of a slot that is not whole yet."""
        if self.state is not None and self.serving and not self.state.slots.coming:
            try:
                check_state(self.state)
            except AssertionError as error:
                self.broker.world.fail(f"the state of {self.broker.name} contradicts itself: {error}")


class Broker:
    """What stays of a broker when its process ends: its disk, and how good its clock is."""

    process_type: type[BrokerProcess] = BrokerProcess

    def __init__(
        self,
        world: World,
        network: Network,
        address: BrokerAddress,
        cluster_map: ClusterMap,
        disk: Any,
        *,
        moves: bool = False,
    ) -> None:
        """`moves`: its slots can be moved; else they are those of the map."""
        rng = world.rng
        self.moves = moves
        self.limits = OF_MOVES if moves else LIMITS
        self.world = world
        self.network = network
        self.id = address.id
        self.name = address.name
        self.endpoint = address.endpoint
        self.map = cluster_map
        self.disk = disk
        self.rate = 1.0 + rng.choice((0.0, rng.uniform(-3e-4, 3e-4)))
        self.wall = rng.randint(-1000, 1000)
        """Milliseconds that its machine's clock is ahead; may change."""
        self.slow = rng.choice((0.0, 0.002, 0.02))
        self.keep = rng.choice((0, 200, 2**40))
        self.thresholds = rng.choice((DEFAULT, TINY))
        self.deaths: list[float] = []
        """When its processes ended: a memory broker loses everything then."""
        self.over = False
        self.process = self.process_type(self)

    def kill(self) -> None:
        """With SIGKILL, between two turns of its loop or in the middle of something that takes time."""
        self.world.note("kill -9", self.name)
        if self.process.begun:
            self.process.task.kill()

    def kill_at_commit(self, death: Death, of_message: bool) -> None:
        """At the next commit, or at the next in which a message is stored."""
        if self.process.store is not None:
            self.process.store.death, self.process.store.waits_for_message = death, of_message

    def kill_between_replies(self, replies: int) -> None:
        if self.process.context is not None:
            self.process.context.router.sends_left = replies

    def stop(self) -> None:
        """With SIGTERM."""
        if self.process.serving and self.process.server is not None:
            self.world.note("SIGTERM", self.name)
            self.process.server.stop()
            self.process.task.wake()

    def set_clock(self, seconds: float) -> None:
        """Move the clock of its machine by `seconds`."""
        self.world.note("clock set", self.name, round(seconds, 3))
        self.wall += int(seconds * 1000)

    def freeze(self, seconds: float) -> None:
        """Its loop is stuck for this time."""
        self.world.note("freeze", self.name, round(seconds, 3))
        self.process.task.frozen_until = self.world.now + seconds

    def ended(self, process: BrokerProcess) -> None:
        """A process is gone, and another one takes its place a little later."""
        self.deaths.append(self.world.now)
        if process.context is not None and not process.graceful:
            self.network.died(self.endpoint, process.context.router)
            process.context.close()
        if process.store is not None and not process.graceful:
            self.disk.killed(process.store.store)
        if not self.over:
            self.world.note("ended", self.name, "by itself" if process.graceful else "at once")
            self.world.after(self.world.rng.uniform(0.05, 0.6), self._start)

    def late_by(self, front: FrontProcess) -> float:
        """Seconds that a deadline may be passed because the clocks do not run alike."""
        return ROUNDING + abs(self.rate - front.rate) * STALE

    def _start(self) -> None:
        if not self.over:
            self.process = self.process_type(self)
