"""`call(op, topic, user, args) -> result`: the only way from a front to the brokers.

One DEALER per broker, all owned by the hub's thread. A request's greenlet hands over a packed request and
parks; what came together in one turn of the loop leaves together. A request is sent once: what was provably
not executed is a 503, the rest a 504.

A ZeroMQ socket's descriptor is edge-triggered: it says that something changed, not that something is there.
So a socket is read until it is empty after every event *and* after every send, and on a tick for safety.
"""

from __future__ import annotations

import itertools
import logging
import select
import time
from collections.abc import Callable
from typing import Any

import zmq
from msgspec import Raw, Struct
from zmq.utils.monitor import recv_monitor_message

from common import ops, wire
from common.errors import FanmailError, StartError
from common.ops import Op
from common.partition import ClusterMap
from common.wire import WireError
from httpfront.call import Answer, Call
from httpfront.hub import Hub
from httpfront.link import HUNG_UP, Link

log = logging.getLogger("fanmail.front")

GRACE = 0.25
"""Seconds that an answer may come after its deadline: what a broker began in time is worth waiting for."""
TICK = 0.1
"""Seconds between two looks at pings, silent brokers and overdue calls."""
HIGH_WATER = 10_000
"""Messages queued per broker inside ZeroMQ: a fuse; the front's connections bound what is under way."""
PING_ID, GOODBYE_ID, FIRST_CALL = 0, 1, 16
"""Request ids of the link's own requests; calls count on from the last."""


class Line:
    """A link with its sockets and what is under way on it."""

    def __init__(self, link: Link, socket: zmq.Socket[bytes], endpoint: str) -> None:
        self.link = link
        self.socket = socket
        self.endpoint = endpoint
        self.monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self.pending: dict[int, Call] = {}
        self.outgoing: list[Call] = []


class Gateway:
    """Knows the cluster map and a line to each broker. Belongs to the hub's thread."""

    def __init__(self, hub: Hub, load_map: Callable[[], ClusterMap | None], timeout: float) -> None:
        """`load_map` gives the cluster map where its description has changed since the last time it was asked,
        else None, and may raise `StartError`; `timeout` in seconds is the time a broker has to answer a call.
        """
        self._hub = hub
        self._load_map = load_map
        self._timeout = timeout
        self._map: ClusterMap | None = None
        self._lines: dict[str, Line] = {}
        self._touched: set[str] = set()
        """Brokers for which something is outgoing."""
        self._ids = itertools.count(FIRST_CALL)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._waits_ended = False
        hub.each_turn(self._send_outgoing)
        hub.every(TICK, self._look)

    def close(self) -> None:
        """Closes all sockets; calls under way end as `outcome-unknown`."""
        for line in self._lines.values():
            self._hang_up(line)
        self._lines.clear()
        self._context.term()

    def brokers(self) -> dict[str, bool]:
        """Every broker of the description: whether it can be sent to now. Empty while there is none."""
        return {broker: line.link.up for broker, line in self._lines.items()}

    def call(self, op: Op, topic: bytes, user: bytes, args: Struct, body: bytes | None = None) -> Any:
        """The result of an operation, None where the broker had nothing to hand out.

        A `body` of at least `wire.LARGE_BODY` bytes goes beside `args`, whose own stays empty. Parks the
        request's greenlet for at most the timeout. Raises `FanmailError`: what the broker answered,
        `broker-down` where it was not sent, `outcome-unknown` where it was and no answer came.
        """
        call = self._begin(op, topic, user, args, time.monotonic() + self._timeout, body)
        return self._outcome(op, call)

    def wait(self, topic: bytes, user: bytes, until: float, ticket: int) -> ops.Look:
        """Parks until the broker says that there may be a message for the user, or that there is none by `until`
        (monotonic seconds). Takes nothing, so whatever ends it otherwise is a `broker-down`. `ticket` is 0, or that
        of an earlier wait, whose place it keeps.
        """
        if self._waits_ended:
            return ops.Look(False, ticket)
        call = self._begin(Op.WAIT, topic, user, ops.Wait(ticket), until)
        call.waits = True
        try:
            look: ops.Look = self._outcome(Op.WAIT, call)
        except FanmailError as error:
            if error.code == "outcome-unknown":
                raise FanmailError("broker-down", error.detail) from None
            if error.code == "expired":
                return ops.Look(False, ticket)
            raise
        return look

    def end_waits(self) -> None:
        """All waits end with "nothing", now and from now on: this front drains."""
        self._waits_ended = True
        nothing = Raw(wire.pack_result(ops.Look(False, 0)))
        for line in self._lines.values():
            ended = [call for call in (*line.pending.values(), *line.outgoing) if call.waits]
            line.outgoing = [call for call in line.outgoing if not call.waits]
            for call in ended:
                line.pending.pop(call.id, None)
            for call in ended:
                self._hub.resume(call.waiting, Answer(None, nothing))

    def _begin(self, op: Op, topic: bytes, user: bytes, args: Struct, until: float, body: bytes | None = None) -> Call:
        if self._map is None:
            raise FanmailError("broker-down", "this front has found no cluster description yet")
        broker = self._map.owner(topic)
        line = self._lines[broker]
        if not line.link.up:
            raise FanmailError("broker-down", f"broker {broker} of this topic is not reachable")
        call_id = next(self._ids)
        packed = wire.pack_request(call_id, op, topic, user, line.link.deadline(until), args)
        call = Call(call_id, broker, packed, body, until + GRACE)
        line.outgoing.append(call)
        self._touched.add(broker)
        return call

    def _outcome(self, op: Op, call: Call) -> Any:
        """Parks the greenlet that began the call."""
        answer = self._hub.park()
        assert isinstance(answer, Answer)
        if answer.error is not None:
            raise answer.error
        try:
            result = wire.unpack_result(op, answer.result)
        except WireError as error:
            raise FanmailError("internal", str(error)) from None
        if answer.body is not None and isinstance(result, ops.Message):
            result.body = answer.body
        return result

    def _send_outgoing(self) -> None:
        while self._touched:
            line = self._lines.get(self._touched.pop())
            if line is not None:
                self._flush(line)
                self._receive(line)

    def _flush(self, line: Line) -> None:
        calls, line.outgoing = line.outgoing, []
        if not line.link.up:
            self._end_all(calls, "broker-down", f"broker {line.link.broker} of this topic is not reachable")
            return
        group: list[Call] = []
        size = 0
        for call in calls:
            if call.body is not None:
                self._post(line, [call], call.body)
                continue
            if group and (len(group) == wire.MAX_REQUESTS or size + len(call.packed) > wire.MAX_PACKED):
                self._post(line, group)
                group, size = [], 0
            group.append(call)
            size += len(call.packed)
        if group:
            self._post(line, group)

    def _post(self, line: Line, calls: list[Call], body: bytes | None = None) -> None:
        if self._send(line, line.link.incarnation, [call.packed for call in calls], body):
            line.pending.update((call.id, call) for call in calls)
        else:
            self._end_all(calls, "broker-down", f"broker {line.link.broker} takes no requests just now")

    def _send(self, line: Line, incarnation: int, packed: list[bytes], body: bytes | None = None) -> bool:
        """False where ZeroMQ did not take it: it was provably not sent."""
        epoch = self._map.epoch if self._map else 0
        frame = wire.pack_requests(incarnation, epoch, packed)
        try:
            line.socket.send_multipart([frame] if body is None else [frame, body], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _end_all(self, calls: list[Call], code: str, detail: str) -> None:
        for call in calls:
            self._hub.resume(call.waiting, Answer(FanmailError(code, detail)))

    def _receive(self, line: Line) -> None:
        while not line.socket.closed:
            try:
                frames = line.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._resolve(line, frames)
            except WireError as error:
                log.error("reply not understood", extra={"broker": line.link.broker, "reason": str(error)})

    def _resolve(self, line: Line, frames: list[bytes]) -> None:
        frame = wire.unpack_replies(frames)
        line.link.heard(frame, time.monotonic())
        body = frames[1] if len(frames) == 2 else None
        for reply in frame.replies:
            call = line.pending.pop(reply.id, None)
            if call is not None:
                error = wire.unpack_error(reply.code, reply.result) if reply.code else None
                self._hub.resume(call.waiting, Answer(error, reply.result, body))
            elif reply.id == PING_ID and not reply.code:
                line.link.pong(wire.unpack_result(Op.PING, reply.result), frame.state)
        if line.link.owes_goodbye:
            line.link.owes_goodbye = False
            self._send(line, frame.incarnation, [wire.pack_request(GOODBYE_ID, Op.GOODBYE, b"", b"", 0, ops.Nothing())])

    def _watch(self, line: Line) -> None:
        while not line.monitor.closed and int(line.monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event = recv_monitor_message(line.monitor, zmq.NOBLOCK)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                line.link.connection_made(time.monotonic())
                self._ping(line)
                self._receive(line)
            elif event == zmq.EVENT_DISCONNECTED:
                line.link.connection_lost()
                self._give_up_pending(line, "the connection to the broker was lost")

    def _give_up_pending(self, line: Line, why: str) -> None:
        pending, line.pending = line.pending, {}
        self._end_all(list(pending.values()), "outcome-unknown", why)

    def _ping(self, line: Line) -> None:
        now = time.monotonic()
        if line.link.ping_due(now):
            ping = ops.Ping(line.link.cluster, line.link.broker)
            if self._send(line, 0, [wire.pack_request(PING_ID, Op.PING, b"", b"", 0, ping)]):
                line.link.pinged(now)

    def _look(self) -> None:
        """Housekeeping: the description, pings, silent brokers, overdue calls, and the tick for safety."""
        now = time.monotonic()
        self._take_map()
        for line in list(self._lines.values()):
            self._watch(line)
            self._ping(line)
            self._receive(line)
            line.link.look(now)
            self._give_up_overdue(line, now)

    def _give_up_overdue(self, line: Line, now: float) -> None:
        overdue = [call for call in line.pending.values() if call.expires <= now]
        for call in overdue:
            del line.pending[call.id]
        why = f"broker {line.link.broker} did not answer within {self._timeout:g} s"
        self._end_all(overdue, "outcome-unknown", why)

    def _take_map(self) -> None:
        """Connects and hangs up as the description says, where it is newer than the map in use."""
        try:
            newer = self._load_map()
        except StartError as error:
            log.error("the cluster description cannot be used", extra={"reason": str(error)})
            return
        if newer is None:
            return
        if self._map is not None and newer.epoch < self._map.epoch:
            log.error("an older cluster description was put in place", extra={"epoch": newer.epoch})
            return
        wanted = {broker.id: broker.endpoint for broker in newer.brokers}
        for broker, line in list(self._lines.items()):
            if wanted.get(broker) != line.endpoint or line.link.cluster != newer.name:
                self._hang_up(self._lines.pop(broker))
        for broker, endpoint in wanted.items():
            if broker not in self._lines:
                self._lines[broker] = self._connect(Link(newer.name, broker), endpoint)
        self._map = newer
        log.info("cluster description taken", extra={"epoch": newer.epoch, "brokers": len(wanted)})

    def _connect(self, link: Link, endpoint: str) -> Line:
        socket = self._context.socket(zmq.DEALER)
        for option, value in (
            (zmq.IMMEDIATE, 1),
            (zmq.LINGER, 0),
            (zmq.SNDHWM, HIGH_WATER),
            (zmq.RCVHWM, HIGH_WATER),
            (zmq.RECONNECT_IVL, 50),
            (zmq.RECONNECT_IVL_MAX, 2000),
            (zmq.HEARTBEAT_IVL, 1000),
            (zmq.HEARTBEAT_TIMEOUT, 3000),
        ):
            socket.setsockopt(option, value)
        line = Line(link, socket, endpoint)
        self._hub.watch(_descriptor(socket), select.EPOLLIN, lambda _: self._receive(line))
        self._hub.watch(_descriptor(line.monitor), select.EPOLLIN, lambda _: self._watch(line))
        socket.connect(endpoint)
        return line

    def _hang_up(self, line: Line) -> None:
        line.link.connection_lost(HUNG_UP)
        for each in (line.socket, line.monitor):
            self._hub.unwatch(_descriptor(each))
        line.socket.disable_monitor()
        line.monitor.close(linger=0)
        line.socket.close(linger=0)
        self._end_all(line.outgoing, "broker-down", "the broker has left the cluster description")
        line.outgoing = []
        self._give_up_pending(line, "the broker has left the cluster description")


def _descriptor(socket: zmq.Socket[bytes]) -> int:
    return int(socket.getsockopt(zmq.FD))
