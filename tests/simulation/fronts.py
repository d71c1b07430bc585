"""A front: the process that is there just now runs the real hub, gateway, sockets and long polls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest.mock import patch

from greenlet import getcurrent
from msgspec import Struct
from msgspec.json import decode

import broker.server.loading
import httpfront.delivery.long_poll
import httpfront.gateway.broker_socket
import httpfront.gateway.connection_monitor
import httpfront.gateway.gateway
import httpfront.gateway.resending
import httpfront.gateway.slot_survey
import httpfront.hub
from common.cluster.slots import ClusterMap
from common.errors import FanmailError
from common.protocol.ops import Op
from httpfront.delivery.long_poll import LongPoll, ReadCall
from httpfront.environ import ON_DISCONNECT, OnDisconnect
from httpfront.gateway.call import Call
from httpfront.gateway.gateway import Gateway
from httpfront.hub import Hub
from httpfront.sessions.operations import Publish
from httpfront.sessions.publishing import Publishing
from httpfront.sessions.table import SessionLimits
from tests.simulation.network import Network
from tests.simulation.sockets import Epoll, FrontContext
from tests.simulation.world import Task, World

TIMED = (
    httpfront.hub,
    httpfront.gateway.gateway,
    httpfront.gateway.broker_socket,
    httpfront.gateway.connection_monitor,
    httpfront.gateway.resending,
    httpfront.gateway.slot_survey,
    httpfront.delivery.long_poll,
)
"""Modules of a front that read a clock."""
MOST_WAITERS = 6
LOST, REFUSED = "lost", "refused"
"""In the place of an error's code: no answer came, or nobody listens there."""


class Answer(NamedTuple):
    """What a client is told: a result, or the code of an error."""

    code: str
    result: Any = None
    at: float | None = None
    """When the broker executed what brought the result; None where it was nothing that changes anything."""


@dataclass(eq=False)
class Visit:
    """One request of one client at a front. Stands for Falcon's request and response too."""

    op: Op
    topic: bytes
    user: bytes
    args: Struct
    wait: float
    """Seconds of a long poll; 0: it is none."""
    body: bytes | None
    answered: Callable[[Answer], object]
    gone: bool = False
    """The client has closed its connection."""
    on_disconnect: Callable[[], None] | None = None
    last_call: int | None = None
    over: bool = False
    broker: str = ""
    """Id of the one that is asked, by an operation that names no topic."""

    @property
    def env(self) -> dict[str, Any]:
        def watch(work: Callable[[], None] | None) -> None:
            self.on_disconnect = work

        on_disconnect: OnDisconnect = watch
        return {ON_DISCONNECT: on_disconnect, "waitress.client_disconnected": lambda: self.gone}

    def set_header(self, name: str, value: str) -> None:
        """Nobody reads them."""


@dataclass(eq=False)
class Session:
    """What a client publishes on one WebSocket connection. Implements as much of `sessions.ports.Owner` as it takes."""

    answered: Callable[[Answer, Any], object]
    limits = SessionLimits(2**20, 256)
    request_id = ""
    gateway: Any = None
    unanswered: dict[Any, None] = field(default_factory=dict)

    def publish(self, publishing: Publishing, said: Sequence[Publish]) -> None:
        """Begin those that have arrived in one turn, in a greenlet of the front."""
        for each in said:
            publishing.publish(each, 0)
        publishing.flush()

    def send(self, text: bytes) -> None:
        """Read an answer as a client does."""
        said = decode(text)
        self.hear(Answer(said.get("code", ""), said.get("id", "")), said["ref"])

    def send_all(self, texts: Iterable[bytes]) -> None:
        """Read answers that arrive together."""
        for text in texts:
            self.send(text)

    def hear(self, answer: Answer, ref: Any) -> None:
        """An answer comes, or none any more."""
        if ref not in self.unanswered and answer.code != REFUSED:
            raise AssertionError(f"{ref} is answered twice")
        self.unanswered.pop(ref, None)
        self.answered(answer, ref)

    def began(self, size: int) -> None:
        """Nobody counts them."""

    def done(self, size: int, count: int = 1) -> None:
        """Likewise."""

    def failed(self, error: FanmailError) -> None:
        """It ends by a bug."""
        raise error


class WatchedGateway(Gateway):
    """Notes which calls were made for whom, and until when they may be executed."""

    def __init__(
        self, front: FrontProcess, hub: Hub, load_map: Callable[[], ClusterMap | None], timeout: float
    ) -> None:
        super().__init__(hub, load_map, timeout)
        self._front = front

    def _begin(self, op: Op, topic: bytes, user: bytes, args: Struct, until: float, body: bytes | None = None) -> Call:
        visit = self._front.visits.get(getcurrent())
        if visit is not None:
            visit.last_call = None
        call = super()._begin(op, topic, user, args, until, body)
        if visit is not None:
            visit.last_call = call.id
        self._front.deadlines[call.id] = self._front.world_time(until)
        return call


class FrontProcess:
    """From its start to its end."""

    def __init__(self, world: World, network: Network, name: str, cluster_map: ClusterMap, timeout: float) -> None:
        rng = world.rng
        self.world = world
        self.name = name
        self.rate = 1.0 + rng.choice((0.0, rng.uniform(-3e-4, 3e-4)))
        self._offset = rng.uniform(10.0, 1000.0)
        self.visits: dict[Any, Visit] = {}
        """By the greenlet that works on it."""
        self.deadlines: dict[int, float] = {}
        """Of calls, in the world's time."""
        self.executed: dict[int, float] = {}
        """Calls that a broker executed, and when."""
        self.refused: dict[int, str] = {}
        """Calls of which a client was told that they were not executed, and how."""
        self._maps = [cluster_map]
        self._open: dict[Visit, None] = {}
        self._sessions: dict[Session, Publishing] = {}
        self.task = Task(world, self._main, before=self._enter)
        self._epoll = Epoll(self.task)
        with patch("httpfront.hub.select.epoll", lambda: self._epoll):
            self.hub = Hub()
        self._context = FrontContext(network, self)
        with patch.object(httpfront.gateway.connections, "new_context", lambda: self._context):
            self.gateway = WatchedGateway(self, self.hub, self._load_map, timeout)
        self._polls = LongPoll(self.gateway, 60.0, MOST_WAITERS)

    def clock(self) -> float:
        """Monotonic seconds of this front."""
        return self._offset + self.world.now * self.rate

    def world_time(self, at: float) -> float:
        return (at - self._offset) / self.rate

    def ready(self, fd: int) -> None:
        """Something came for a descriptor."""
        self._epoll.ready(fd)
        self.task.wake()

    def accept(self, visit: Visit) -> None:
        """A request has come in whole."""
        if self.task.ended:
            visit.answered(Answer(REFUSED))
            return
        self._open[visit] = None
        self.hub.spawn(lambda: self._serve(visit))
        self.task.wake()

    def say(self, session: Session, said: Sequence[Publish]) -> None:
        """The client of a session publishes, and all of it arrives together."""
        if self.task.ended:
            for each in said:
                session.hear(Answer(REFUSED), each.ref)
            return
        if session not in self._sessions:
            self._sessions[session] = Publishing(session, most=2)  # type: ignore[arg-type]
            session.gateway = self.gateway
        publishing = self._sessions[session]
        session.unanswered |= {each.ref: None for each in said}
        self.hub.spawn(lambda: session.publish(publishing, said))
        self.task.wake()

    def vanish(self, visit: Visit) -> None:
        """The client of a request that is worked on closes its connection."""
        visit.gone = True
        if not visit.over and not self.task.ended and visit.on_disconnect is not None:
            visit.on_disconnect()
            self.task.wake()

    def end_waits(self) -> None:
        """As a front does that is to stop."""
        self.hub.spawn(self.gateway.end_waits)
        self.task.wake()

    def kill(self) -> None:
        """All its connections end, to clients too."""
        if self.task.ended:
            return
        self.task.kill()
        self._context.close()
        self.hub.close()
        visits, self._open = list(self._open), {}
        for visit in visits:
            visit.over = True
            visit.answered(Answer(LOST))
        for session in self._sessions:
            for ref in list(session.unanswered):
                session.hear(Answer(LOST), ref)

    def executed_at(self, call_id: int, broker: Any) -> None:
        """A broker has executed a call that changes something."""
        at = self.world.moment()
        self.executed[call_id] = at
        late = at - self.deadlines[call_id]
        if late > broker.late_by(self):
            self.world.fail(f"call {self.name}#{call_id} was executed {late:.6f} s after its deadline")

    def check(self) -> None:
        """Nothing was executed of which a client was told that it was not."""
        for call_id, code in self.refused.items():
            if call_id in self.executed:
                self.world.fail(f"call {self.name}#{call_id} was answered 503 {code}, and it was executed")

    def _main(self) -> None:
        self.hub.run(lambda: False)

    def _enter(self) -> None:
        _current.process = self

    def _load_map(self) -> ClusterMap | None:
        return self._maps.pop() if self._maps else None

    def _serve(self, visit: Visit) -> None:
        self.visits[getcurrent()] = visit
        try:
            result = self._ask(visit)
            answer = Answer("", result, self.executed.get(visit.last_call or 0))
        except FanmailError as error:
            if error.spec.status == 503 and error.code != "client-gone" and visit.last_call is not None:
                self.refused[visit.last_call] = error.code
            answer = Answer(error.code)
        finally:
            del self.visits[getcurrent()]
        visit.over = True
        self._open.pop(visit, None)
        visit.answered(answer)

    def _ask(self, visit: Visit) -> Any:
        if visit.broker:
            return self.gateway.ask_all(visit.op, visit.args, 1.0, [visit.broker])[visit.broker]
        if not visit.wait:
            return self.gateway.call(visit.op, visit.topic, visit.user, visit.args, visit.body)
        request: Any = visit
        return self._polls.poll(request, request, visit.topic, visit.user, ReadCall(visit.op, visit.args), visit.wait)


class Front:
    """A place where clients find a front."""

    def __init__(self, world: World, network: Network, name: str, cluster_map: ClusterMap, timeout: float) -> None:
        self._arguments = (world, network, cluster_map, timeout)
        self._world = world
        self._name = name
        self.processes: list[FrontProcess] = []
        self.start()

    @property
    def process(self) -> FrontProcess:
        return self.processes[-1]

    def start(self) -> None:
        """A process begins."""
        world, network, cluster_map, timeout = self._arguments
        name = f"{self._name}.{len(self.processes)}"
        self.processes.append(FrontProcess(world, network, name, cluster_map, timeout))

    def kill(self) -> None:
        """With SIGKILL; another one takes its place."""
        self._world.note("kill -9", self.process.name)
        self.process.kill()
        self._world.after(self._world.rng.uniform(0.05, 0.5), self.start)

    def stop(self) -> None:
        """With SIGTERM: those who wait are answered, and what takes long is cut off."""
        process = self.process
        self._world.note("SIGTERM", process.name)
        process.end_waits()
        self._world.after(0.2, process.kill)
        self._world.after(self._world.rng.uniform(0.25, 0.5), self.start)

    def freeze(self, seconds: float) -> None:
        """Its loop is stuck for this time."""
        self._world.note("freeze", self.process.name, round(seconds, 3))
        self.process.task.frozen_until = self._world.now + seconds


class _Current:
    """Which front runs just now; in the place of the module `time`."""

    process: FrontProcess

    def monotonic(self) -> float:
        return self.process.clock()


_current = _Current()


@contextmanager
def virtual_time() -> Iterator[None]:
    """Fronts read the clock of the world, and brokers look around while they load a small store."""
    with ExitStack() as stack:
        for module in TIMED:
            stack.enter_context(patch.object(module, "time", _current))
        stack.enter_context(patch.object(broker.server.loading, "POLL_EVERY", 3))
        yield
