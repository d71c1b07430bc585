"""Connections to other brokers: this broker is their client, over the wire and with CURVE like a front."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import zmq
from msgspec import Struct
from msgspec.structs import replace

from broker.dispatch.links import Question
from common.cluster.slots import BrokerAddress, ClusterMap
from common.errors import FanmailError
from common.keys.curve import KeyPair, prepare
from common.protocol import ops, wire
from common.protocol.move_ops import Adopt
from common.protocol.ops import Op
from common.protocol.wire import BrokerState, ReplyFrame

log = logging.getLogger("fanmail.broker")

PING_US = 500_000
"""Microseconds between two PINGs."""
SILENT_US = 3_000_000
"""Microseconds without an answer after which a broker counts as absent."""
ANSWER_US = 10_000_000
"""Microseconds that a broker has to answer."""
UNUSED_US = 30_000_000
"""Microseconds after which a connection that nobody has asked for is closed."""
OPTIONS = {
    zmq.LINGER: 0,
    zmq.IMMEDIATE: 1,
    zmq.SNDHWM: 100,
    zmq.RECONNECT_IVL: 50,
    zmq.RECONNECT_IVL_MAX: 1000,
    zmq.HEARTBEAT_IVL: 1000,
    zmq.HEARTBEAT_TIMEOUT: 3000,
}
_PING = 0
"""Id of all PINGs and GOODBYEs: their answers are known by their frames."""


@dataclass(slots=True, eq=False)
class _Asked:
    question: Question
    op: Op
    until_us: int


class _Process:
    """The connection to one process of a broker."""

    def __init__(self, address: BrokerAddress, socket: zmq.Socket[bytes], cluster: str) -> None:
        self.address = address
        self.socket = socket
        self.asked: dict[int, _Asked] = {}
        self.incarnation = self.term = self.epoch = 0
        self.state: int | None = None
        """None: it has not said who it is."""
        self._cluster = cluster
        self._ids = itertools.count(1)
        self._ping_us = self._heard_us = 0
        self._goodbye = False

    def ask(self, op: Op, args: Struct, body: bytes | None, mono: int) -> Question:
        """Send a request; the question is done where it cannot be sent."""
        question, id_ = Question(), next(self._ids)
        if isinstance(args, Adopt) and body is not None and len(body) < wire.LARGE_BODY:
            args, body = replace(args, body=body), None
        if self._send(id_, op, args, body):
            self.asked[id_] = _Asked(question, op, mono + ANSWER_US)
        else:
            question.done, question.error = True, FanmailError("broker-down", "it cannot be reached")
        return question

    def turn(self, mono: int) -> None:
        """Read what has come, and ask whether the broker is there."""
        self._read(mono)
        if mono - self._heard_us > SILENT_US or mono < self._heard_us:
            self.lose()
        for id_ in [each for each, asked in self.asked.items() if mono > asked.until_us]:
            _lose(self.asked.pop(id_))
        if not self._ping_us <= mono < self._ping_us + PING_US:
            self._ping_us = mono
            self._send(_PING, Op.PING, ops.Ping(self._cluster, self.address.id), None)

    def lose(self) -> None:
        """Forget what was known; the outcome of what was asked is unknown."""
        self.state = None
        for asked in self.asked.values():
            _lose(asked)
        self.asked.clear()

    def close(self) -> None:
        """Say goodbye, so that the broker does not wait for it when it stops."""
        self._send(_PING, Op.GOODBYE, ops.Nothing(), None)
        self.lose()
        self.socket.close(linger=100)

    def _send(self, id_: int, op: Op, args: Struct, body: bytes | None) -> bool:
        packed = wire.pack_request(id_, op, b"", b"", 0, args)
        frame = wire.pack_requests(self.incarnation, self.epoch, [packed])
        try:
            self.socket.send_multipart([frame] if body is None else [frame, body], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _read(self, mono: int) -> None:
        for _ in range(100):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._take(wire.unpack_replies(frames), mono)
            except wire.WireError as error:
                log.warning("a broker sent what is not understood", extra={"reason": str(error)})

    def _take(self, frame: ReplyFrame, mono: int) -> None:
        if frame.incarnation != self.incarnation:
            self.lose()
            self.incarnation, self._ping_us, self._goodbye = frame.incarnation, 0, False
        self._heard_us, self.term = mono, frame.term
        if self.state is not None:
            self.state = frame.state
        for reply in frame.replies:
            asked = self.asked.pop(reply.id, None)
            if asked is not None:
                _answer(asked, reply)
            elif reply.id == _PING and not reply.code:
                self._pong(reply, frame.state)
        if frame.state == BrokerState.DRAINING and not self._goodbye:
            self._goodbye = self._send(_PING, Op.GOODBYE, ops.Nothing(), None)

    def _pong(self, reply: wire.Reply, state: int) -> None:
        try:
            pong = wire.unpack_result(Op.PING, reply.result)
        except wire.WireError:
            return  # the answer to a GOODBYE
        if (pong.cluster, pong.broker) == (self._cluster, self.address.id):
            self.state = state


class BrokerLink:
    """The connections to all processes of one broker. Implements `Link`."""

    def __init__(self, processes: list[_Process]) -> None:
        self.processes = processes
        self.mono = self.used_us = 0

    @property
    def up(self) -> bool:
        """Return whether a process answers that is ready."""
        return self._ready is not None

    @property
    def answers(self) -> bool:
        """Return whether a process answers, ready or loading."""
        return self._first is not None

    def ask(self, op: Op, args: Struct, body: bytes | None = None) -> Question:
        """Send a request to the process that is ready, or else to one that answers."""
        process = self._first
        if process is None:
            return Question(True, None, FanmailError("broker-down", "it cannot be reached"))
        return process.ask(op, args, body, self.mono)

    @property
    def _ready(self) -> _Process | None:
        """The ready one of the greatest term that any of them has named: another one was deposed."""
        term = max((each.term for each in self.processes), default=0)
        ready = [each for each in self.processes if each.state == BrokerState.READY and each.term == term]
        return ready[0] if ready else None

    @property
    def _first(self) -> _Process | None:
        loading = [each for each in self.processes if each.state == BrokerState.LOADING]
        return self._ready or (loading[0] if loading else None)


class BrokerLinks:
    """All connections of one broker. Belongs to the loop's thread. Implements `Links`."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], cluster: ClusterMap, keys: KeyPair | None) -> None:
        """`keys` are those of this broker, which the others know from the description."""
        self._context = context
        self._cluster = cluster
        self._keys = keys
        self._links: dict[str, BrokerLink] = {}
        self._poller: zmq.Poller | None = None
        self._mono = 0

    def attach(self, poller: zmq.Poller) -> None:
        """Let this poller wake for what comes."""
        self._poller = poller

    def to(self, broker: str) -> BrokerLink | None:
        """Return the connection to a broker of the description, None for one that is not in it."""
        link = self._links.get(broker)
        if link is None:
            addresses = [each for each in self._cluster.addresses if each.id == broker]
            if not addresses:
                return None
            link = self._links[broker] = BrokerLink(list(map(self._connect, addresses)))
            link.mono = self._mono
        link.used_us = self._mono
        return link

    def turn(self, mono: int) -> None:
        """Read what has come, and close what is not used; `mono` in microseconds of the monotonic clock."""
        self._mono = mono
        for broker, link in list(self._links.items()):
            link.mono = mono
            for process in link.processes:
                process.turn(mono)
            if not 0 <= mono - link.used_us < UNUSED_US:
                self._close(broker)

    def take(self, cluster: ClusterMap) -> None:
        """Use a newer description; connections whose endpoints or keys have changed begin anew."""
        self._cluster = cluster
        for broker, link in list(self._links.items()):
            for process in link.processes:
                process.epoch = cluster.epoch
            if [each.address for each in link.processes] != [each for each in cluster.addresses if each.id == broker]:
                self._close(broker)

    def close(self) -> None:
        """Close all connections."""
        for broker in list(self._links):
            self._close(broker)

    def _connect(self, address: BrokerAddress) -> _Process:
        socket = self._context.socket(zmq.DEALER)
        for option, value in OPTIONS.items():
            socket.setsockopt(option, value)
        prepare(socket, address, self._keys)
        socket.connect(address.endpoint)
        if self._poller is not None:
            self._poller.register(socket, zmq.POLLIN)
        process = _Process(address, socket, self._cluster.name)
        process.epoch = self._cluster.epoch
        return process

    def _close(self, broker: str) -> None:
        for process in self._links.pop(broker).processes:
            if self._poller is not None:
                self._poller.unregister(process.socket)
            process.close()


def admitted(cluster: ClusterMap, broker: str) -> Mapping[str, str]:
    """Return the keys that may connect to a broker, by name: of all fronts, and of all other brokers."""
    brokers = {f"broker {each.name}": each.key for each in cluster.addresses if each.key and each.id != broker}
    return {**cluster.fronts, **brokers}


def _answer(asked: _Asked, reply: wire.Reply) -> None:
    question = asked.question
    question.done = True
    if reply.code:
        question.error = wire.unpack_error(reply.code, reply.result)
        return
    try:
        question.result = wire.unpack_result(asked.op, reply.result)
    except wire.WireError as error:
        log.warning("a broker sent what is not understood", extra={"reason": str(error)})
    if question.result is None:
        question.error = FanmailError("outcome-unknown", "its answer is not understood")


def _lose(asked: _Asked) -> None:
    asked.question.done, asked.question.error = True, FanmailError("outcome-unknown", "it has not answered")
