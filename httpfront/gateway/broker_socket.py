"""The connection of a front to one broker: a DEALER, the calls in flight, and those about to be sent.

A ZeroMQ socket's descriptor is edge-triggered: it says that something changed, not that something is there. So the
socket is read until it is empty after every event *and* after every send, and on a tick for safety.
"""

from __future__ import annotations

import logging
import select
import time

import zmq
from msgspec import Raw

from common.cluster.slots import BrokerAddress
from common.errors import FanmailError
from common.keys.curve import KeyPair, prepare
from common.protocol import ops, wire
from common.protocol.grouping import group_messages
from common.protocol.ops import Op
from common.protocol.wire import WireError
from httpfront.gateway.broker_status import HUNG_UP, BrokerStatus
from httpfront.gateway.call import Answer, Call, Refused, pass_on
from httpfront.gateway.connection_monitor import ConnectionMonitor, descriptor
from httpfront.gateway.windows import Windows
from httpfront.hub import Hub

log = logging.getLogger("fanmail.front")

HIGH_WATER = 10_000
"""Messages queued inside ZeroMQ: a fuse, since the front's connections bound the calls in flight."""
HANDSHAKE_MS, CONNECT_MS = 5000, 2000
"""Longest duration of a ZMTP handshake, and of the TCP connection before it: after a network path has recovered, a new
attempt is faster than the retransmission of the old one.
"""
_OPTIONS = (
    (zmq.IMMEDIATE, 1),
    (zmq.LINGER, 0),
    (zmq.SNDHWM, HIGH_WATER),
    (zmq.RCVHWM, HIGH_WATER),
    (zmq.RECONNECT_IVL, 50),
    (zmq.RECONNECT_IVL_MAX, 2000),
    (zmq.HEARTBEAT_IVL, 1000),
    (zmq.HEARTBEAT_TIMEOUT, 3000),
    (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
    (zmq.CONNECT_TIMEOUT, CONNECT_MS),
)
PING_ID, GOODBYE_ID, FIRST_CALL = 0, 1, 16
"""Request ids of PING, GOODBYE and the first call; calls count on from there."""


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return the context of all sockets of a front. Must be called after a fork."""
    return zmq.Context()


class BrokerSocket:
    """A DEALER with its monitor, and the status of its broker. Belongs to the hub's thread."""

    def __init__(
        self,
        hub: Hub,
        context: zmq.Context[zmq.Socket[bytes]],
        status: BrokerStatus,
        address: BrokerAddress,
        keys: KeyPair | None,
        refused: Refused = pass_on,
    ) -> None:
        """Start to connect. `keys` are required where the broker has one. `refused` is asked what an error means."""
        self.status = status
        self.address = address
        self.map_epoch = 0
        """Epoch of the front's cluster map, named in every frame."""
        self._hub = hub
        self._refused = refused
        self._pending: dict[int, Call] = {}
        self._lasting: dict[int, Call] = {}
        """The waits of streams: thousands, which end with an answer or with the connection; nothing walks over them."""
        self.outgoing: list[Call] = []
        """What the next `flush` sends, in as few messages as possible."""
        self.windows = Windows(status)
        self._socket = context.socket(zmq.DEALER)
        for option, value in _OPTIONS:
            self._socket.setsockopt(option, value)
        prepare(self._socket, address, keys)
        hub.watch(descriptor(self._socket), select.EPOLLIN, lambda _: self.receive())
        self._monitor = ConnectionMonitor(hub, self._socket, address, self._connected, self._disconnected)

    @property
    def name(self) -> str:
        """The broker's id."""
        return self.status.broker

    def flush(self) -> None:
        """Send what is outgoing and may leave now.

        What cannot be sent ends as `broker-down`: it was provably not executed.
        """
        calls, self.outgoing = self.outgoing, []
        if not (self.status.up or self.status.standby):
            self._end_all(calls, "broker-down", f"broker {self.name} of this topic is not reachable")
            return
        admit = self.windows.admit
        self._leave([call for call in calls if (call.body is None and not call.room) or admit(call)])
        self.receive()

    def _leave(self, calls: list[Call]) -> None:
        """Send calls in as few messages as they fit in; none overtakes another, as publishes of a session must not."""
        for group in group_messages(calls, in_order=True):
            self._send_calls(group)

    def _leave_late(self) -> None:
        """Send calls that waited for room and have it now, unless the broker's process is another by now."""
        calls = self.windows.next() if self.status.up else self.windows.give_up()
        meant = [call for call in calls if self.status.up and call.incarnation == self.status.incarnation]
        if meant:
            self._leave(meant)
        if len(meant) < len(calls):
            ended = [call for call in calls if call not in meant]
            if self.status.up:
                self._over(ended)
            self._end_all(ended, "broker-down", f"broker {self.name} of this topic is not reachable")

    def receive(self) -> None:
        """Read all replies that have arrived, and resume the requests that waited for them."""
        while not self._socket.closed:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._resolve(frames)
            except WireError as error:
                log.error("reply not understood", extra={"broker": self.status.name, "reason": str(error)})

    def tick(self, now: float, timeout: float) -> None:
        """Send pings, notice silence, end overdue calls, and read for safety; several times per second."""
        self._monitor.tick(now)
        self._ping()
        self.receive()
        self.status.check_silence(now)
        late = self.windows.overdue(now)
        self._end_all(late, "broker-busy", f"there was no room in time for this request to broker {self.name}")
        self._leave_late()
        overdue = [call for call in self._pending.values() if call.expires <= now]
        for call in overdue:
            del self._pending[call.id]
        self._over(overdue)
        self._end_all(overdue, "outcome-unknown", f"broker {self.name} did not answer within {timeout:g} s")

    def sent(self, slot: int) -> list[Call]:
        """Return the calls of a slot that have no answer yet."""
        return [call for call in self._pending.values() if call.slot == slot]

    def awaits(self, call: Call) -> bool:
        """Return whether a call was sent and has no answer yet."""
        return call.id in self._pending

    def withdraw(self, slot: int) -> list[Call]:
        """Remove and return the calls of a slot that have not been sent yet."""
        found = [call for call in self.outgoing if call.slot == slot]
        if found:
            self.outgoing = [call for call in self.outgoing if call.slot != slot]
        return found + self.windows.withdraw(slot)

    def slots(self) -> set[int]:
        """Return the slots of the calls that have no answer yet."""
        return {call.slot for call in (*self._pending.values(), *self.outgoing, *self.windows.held)} - {-1}

    def fall_behind(self) -> None:
        """Note that another candidate is in use: what this one still refuses is not sent again."""
        for call in (*self._pending.values(), *self.outgoing, *self.windows.held):
            call.overtaken = True

    def end_waits(self) -> None:
        """End all parked waits with "nothing", except those of streams."""
        ended = [call for call in (*self._pending.values(), *self.outgoing) if call.waits]
        self.outgoing = [call for call in self.outgoing if not call.waits]
        for call in ended:
            self._pending.pop(call.id, None)
        nothing = Raw(wire.pack_result(ops.WaitResult(False, 0)))
        for call in ended:  # later: where the caller is a greenlet, who parks again would not return to it
            self._hub.resume_later(call.waiting, Answer(None, nothing))

    def end_all_waits(self) -> None:
        """End all parked waits, those of streams with `broker-down`: they are opened anew at another candidate."""
        self.end_waits()
        lasting, self._lasting = self._lasting, {}
        gone = Answer(FanmailError("broker-down", f"broker {self.name} is not asked any more"))
        for call in lasting.values():
            self._hub.resume_later(call.waiting, gone)

    def close(self, why: str) -> None:
        """Disconnect. Calls in flight end as `outcome-unknown`, those not sent as `broker-down`."""
        self.status.connection_lost(HUNG_UP)
        self._hub.unwatch(descriptor(self._socket))
        self._monitor.close()
        self._socket.close(linger=0)
        outgoing, self.outgoing = [*self.outgoing, *self.windows.give_up()], []
        self._end_all(outgoing, "broker-down", why)
        self._give_up_pending(why)

    def _send_calls(self, calls: list[Call]) -> None:
        if self._send(self.status.incarnation, [call.packed for call in calls], calls[0].body):
            for call in calls:
                (self._lasting if call.lasts else self._pending)[call.id] = call
        else:
            self._over(calls)
            self._end_all(calls, "broker-down", f"broker {self.name} accepts no requests now")

    def _send(self, incarnation: int, packed: list[bytes], body: bytes | None = None) -> bool:
        """Return False where ZeroMQ did not take the message: it was provably not sent."""
        frame = wire.pack_requests(incarnation, self.map_epoch, packed, self.status.taken)
        try:
            if body is None:
                self._socket.send(frame, zmq.NOBLOCK)
            else:
                self._socket.send_multipart([frame, body], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _resolve(self, frames: list[bytes]) -> None:
        frame = wire.unpack_replies(frames)
        self.status.heard(frame, time.monotonic())
        body = frames[1] if len(frames) == 2 else None
        pending, answered = self._pending, []
        for reply in frame.replies:
            call = pending.pop(reply.id, None) or self._lasting.pop(reply.id, None)
            if call is not None:
                if call.room or call.body is not None:
                    self.windows.over(call)
                error = None
                if reply.code:
                    error = self._refused(call, wire.unpack_error(reply.code, reply.result))
                    if error is None:
                        continue
                answered.append((call.waiting, Answer(error, reply.result, body)))
            elif reply.id == PING_ID and not reply.code:
                self.status.pong(wire.unpack_result(Op.PING, reply.result), frame.state)
        self._hub.resume_all(answered)
        if self.windows.waiting:
            self._leave_late()
        if self.status.must_ping:
            self._ping()
        if self.status.owes_goodbye and not self._pending and not self._lasting:
            self.status.owes_goodbye = False
            self._send(frame.incarnation, [wire.pack_request(GOODBYE_ID, Op.GOODBYE, b"", b"", 0, ops.Nothing())])

    def _connected(self) -> None:
        self.status.connection_made(time.monotonic())
        self._ping()
        self.receive()

    def _disconnected(self) -> None:
        self.receive()  # answers that arrived before the end
        self.status.connection_lost()
        self._give_up_pending("the connection to the broker was lost")
        self._leave_late()

    def _ping(self) -> None:
        now = time.monotonic()
        if self.status.ping_due(now):
            ping = ops.Ping(self.status.cluster, self.status.broker)
            if self._send(0, [wire.pack_request(PING_ID, Op.PING, b"", b"", 0, ping)]):
                self.status.pinged(now)

    def _give_up_pending(self, why: str) -> None:
        calls = [*self._pending.values(), *self._lasting.values()]
        self._pending.clear()
        self._lasting.clear()
        self._over(calls)
        self._end_all(calls, "outcome-unknown", why)

    def _over(self, calls: list[Call]) -> None:
        for call in calls:
            self.windows.over(call)

    def _end_all(self, calls: list[Call], code: str, detail: str) -> None:
        for call in calls:
            self._hub.resume(call.waiting, Answer(FanmailError(code, detail)))
