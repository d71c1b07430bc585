"""`call(op, topic, user, args) -> result`: the only way from a front to the brokers.

A request's greenlet hands over a packed request and parks. The requests of one turn of the loop are sent together. A
request is sent once: what was provably not executed is a 503, the rest a 504.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from msgspec import Struct

from common.cluster.replacement import why_refused
from common.cluster.slots import SLOTS, ClusterMap, slot_of
from common.errors import FanmailError, StartError
from common.keys.curve import KeyPair
from common.protocol import ops, wire
from common.protocol.ops import Op
from common.protocol.wire import WireError
from httpfront.environ import OnDisconnect, unwatched
from httpfront.gateway.asking import Asking
from httpfront.gateway.broker_socket import FIRST_CALL, BrokerSocket
from httpfront.gateway.broker_status import BrokerStatus, unreachable
from httpfront.gateway.call import GRACE_S, ROOMY, Answer, Call, Waiting, answer_room
from httpfront.gateway.connections import Connections
from httpfront.gateway.resending import RESENT, Resending, unknown
from httpfront.gateway.slot_survey import SlotSurvey
from httpfront.gateway.slot_table import SlotTable
from httpfront.hub import Hub
from httpfront.request_context import request_id

log = logging.getLogger("fanmail.front")

TICK_S = 0.1
"""Time between two checks of the description, pings, silent brokers and overdue calls."""


class Gateway:
    """The cluster map and a socket to each broker. Belongs to the hub's thread."""

    def __init__(
        self, hub: Hub, load_map: Callable[[], ClusterMap | None], timeout: float, keys: KeyPair | None = None
    ) -> None:
        """Load the map soon.

        `load_map` returns the cluster map where its description has changed since the last call, else None, and may
        raise `StartError`. `timeout` is the time in seconds that a broker has to answer a call. `keys` are required for
        a map in which brokers have keys.
        """
        self._hub = hub
        self._load_map = load_map
        self._timeout = timeout
        self._map: ClusterMap | None = None
        self._table = SlotTable()
        self._owners = self._table.owners
        self._connections = Connections(hub, keys, self._refused)
        self._in_use = self._connections.in_use
        self._survey = SlotSurvey(self._table, self._in_use, self._post, lambda: self.resending.look_again())
        self.resending = Resending(hub, self._table, self._in_use, self._send, self._survey.ask_all)
        self._queues = self.resending.queues
        self._asking = Asking(hub, self._post)
        self._touched: dict[BrokerSocket, None] = {}
        """Sockets on which something is outgoing."""
        self._ids = itertools.count(FIRST_CALL)
        self._waits_ended = False
        self.called = 0
        """Calls of HTTP requests so far."""
        hub.each_turn(self._flush)
        hub.every(TICK_S, self._tick)

    def close(self) -> None:
        """Close all sockets. Calls in flight end as `outcome-unknown`."""
        self.resending.give_up()
        self._connections.close()

    def brokers(self) -> dict[str, bool]:
        """Return for every broker of the description whether requests can be sent to it now."""
        return {broker: socket.status.up for broker, socket in self._in_use.items()}

    def call(self, op: Op, topic: bytes, user: bytes, args: Struct, body: bytes | None = None) -> Any:
        """Return the result of an operation, None where the broker had no message.

        A `body` of at least `wire.LARGE_BODY` bytes is sent beside `args`, whose own stays empty. Parks the request's
        greenlet for at most the timeout. The broker is told the id of the HTTP request (`request_context.py`). Raises
        `FanmailError`: what the broker answered, `broker-down` where the request was not sent, `outcome-unknown` where
        it was and no answer came.
        """
        self.called += 1
        self._begin(op, topic, user, args, time.monotonic() + self._timeout, body)
        return self.result_of(op, self._hub.park())

    def start(
        self, op: Op, topic: bytes, user: bytes, args: Struct, waiting: Waiting, of_request: str, lasts_s: float = 0
    ) -> Call:
        """Begin a call whose answer is given to `waiting`, in the hub's loop; `result_of` reads it.

        A call that `lasts_s` seconds ends with its broker's answer, or with the connection, and nothing looks at it
        meanwhile; 0: it ends at the timeout as all others. Raises `FanmailError` where it cannot be sent.
        """
        until = time.monotonic() + (lasts_s or self._timeout)
        outside = request_id.set(of_request)
        try:
            call = self._begin(op, topic, user, args, until)
        finally:
            request_id.reset(outside)
        call.waiting, call.lasts = waiting, lasts_s > 0
        return call

    def start_publish(
        self, op: Op, topic: bytes, args: Struct, body: bytes | None, waiting: Waiting, of_request: str
    ) -> None:
        """Begin a publish as `start` does; `body` is as of `call`."""
        outside = request_id.set(of_request)
        try:
            call = self._begin(op, topic, b"", args, time.monotonic() + self._timeout, body)
        finally:
            request_id.reset(outside)
        call.waiting = waiting

    def result_of(self, op: Op, answer: Answer) -> Any:
        """Return the result of a call, None where the broker had no message. Raises as `call`."""
        if answer.error is not None:
            raise answer.error
        try:
            result = wire.unpack_result(op, answer.result)
        except WireError as error:
            raise FanmailError("internal", str(error)) from None
        if answer.body is not None:
            holder = result.runs[0] if isinstance(result, ops.Batch) else result
            holder.body = answer.body
        return result

    def statuses(self) -> list[BrokerStatus]:
        """Return what is known of every broker of the description; with candidates, of the one in use."""
        return [socket.status for socket in self._in_use.values()]

    def candidates(self) -> list[BrokerStatus]:
        """Return what is known of every candidate of the brokers that have any."""
        return [each.status for each in self._connections.candidates()]

    def under_way(self) -> dict[str, tuple[int, int]]:
        """Return for every broker the bytes of bodies, and of room for answers, that are in flight."""
        return {broker: (socket.windows.bodies, socket.windows.answers) for broker, socket in self._in_use.items()}

    def owner(self, topic: bytes) -> str:
        """Return the id of a topic's broker; "" while there is no description."""
        return self.owners()[slot_of(topic)]

    def owners(self) -> list[str]:
        """Return the id of the broker of each slot; "" while there is no description."""
        return self._owners or [""] * SLOTS

    def slots(self) -> dict[str, int]:
        """Return the number of slots of each broker."""
        return dict.fromkeys(self._in_use, 0) | self._table.counts()

    def ask_all(self, op: Op, args: Struct, timeout: float, brokers: Collection[str] = ()) -> dict[str, Any]:
        """Call an operation without topic on these brokers, or on every one, at the same time.

        Returns by broker id the result or the `FanmailError`. Parks the request's greenlet for `timeout` seconds and a
        little more.
        """
        asked = {broker: self._in_use[broker] for broker in brokers or self._in_use}
        return self._asking.ask(asked, [each for each in asked if asked[each].status.up], op, args, timeout)

    def ask_candidates(self, op: Op, args: Struct, timeout: float) -> dict[str, Any]:
        """Do the same on all candidates of all brokers, standbys too; the results are by names such as `b0@h1`."""
        asked = {each.status.name: each for each in self._connections.candidates()}
        answering = [each for each in asked if asked[each].status.up or asked[each].status.standby]
        return self._asking.ask(asked, answering, op, args, timeout)

    def wait(
        self, topic: bytes, user: bytes, until: float, ticket: int, on_disconnect: OnDisconnect = unwatched
    ) -> ops.WaitResult:
        """Park until there may be a message for the user, or until `until` (monotonic seconds).

        Takes no message, so any other end is a `broker-down`. `ticket` is 0, or that of an earlier wait, to keep its
        place. `on_disconnect` is given what ends the wait when the client disconnects, and None afterwards.
        """
        if self._waits_ended:
            return ops.WaitResult(False, ticket)
        call = self._begin(Op.WAIT, topic, user, ops.Wait(ticket), until)
        call.waits = True
        of_request = request_id.get()
        on_disconnect(lambda: self._hub.spawn(lambda: self._cancel(topic, user, call, of_request)))
        try:
            look: ops.WaitResult = self.result_of(Op.WAIT, self._hub.park())
        except FanmailError as error:
            if error.code == "outcome-unknown":
                raise FanmailError("broker-down", error.detail) from None
            if error.code == "expired":
                return ops.WaitResult(False, ticket)
            if error.code in RESENT:  # whoever takes the message that may be there queues
                return ops.WaitResult(True, 0)
            raise
        finally:
            on_disconnect(None)
        return look

    def end_waits(self) -> None:
        """End all waits with "nothing", now and from now on, because this front drains."""
        self._waits_ended = True
        for socket in self._connections:
            socket.end_waits()

    def _cancel(self, topic: bytes, user: bytes, call: Call, of_request: str) -> None:
        """Let the broker end a wait; where it cannot be told, the wait ends at its time."""
        request_id.set(of_request)
        with suppress(FanmailError):
            self.call(Op.CANCEL, topic, user, ops.Cancel(call.id))

    def _begin(self, op: Op, topic: bytes, user: bytes, args: Struct, until: float, body: bytes | None = None) -> Call:
        if self._map is None:
            raise FanmailError("broker-down", "this front has found no cluster description yet")
        slot = slot_of(topic)
        if slot in self._queues:
            return self._queue(slot, op, topic, user, args, until, body)
        socket = self._in_use.get(self._owners[slot])
        if socket is None or not socket.status.up:
            raise unreachable(socket.status) if socket else unknown(self._owners[slot])
        status = socket.status
        if body is not None and 0 < status.max_body < len(body):
            most = status.max_body
            raise FanmailError("body-too-large", f"the body has {len(body)} bytes; the limit of its broker is {most}")
        call = self._post(socket, op, topic, user, args, until, body)
        call.slot = -1 if op is Op.WAIT else slot
        return call

    def _queue(
        self, slot: int, op: Op, topic: bytes, user: bytes, args: Struct, until: float, body: bytes | None
    ) -> Call:
        """Begin a call of a slot whose earlier ones wait to be sent again. Raises `moving` for a WAIT: look again."""
        if op is Op.WAIT:
            raise FanmailError("moving", "the slot of this topic is moving to another broker")
        call_id = next(self._ids)
        packed = wire.pack_request(call_id, op, topic, user, 0, args, request_id.get())
        room = answer_room(args) if op in ROOMY else 0
        call = Call(call_id, packed, body, until + GRACE_S, room=room, slot=slot)
        self.resending.put(slot, call)
        return call

    def _post(
        self, socket: BrokerSocket, op: Op, topic: bytes, user: bytes, args: Struct, until: float, body: bytes | None
    ) -> Call:
        status = socket.status
        call_id = next(self._ids)
        packed = wire.pack_request(call_id, op, topic, user, status.deadline(until), args, request_id.get())
        room = answer_room(args) if op in ROOMY else 0
        call = Call(call_id, packed, body, until + GRACE_S, status.incarnation, room)
        socket.outgoing.append(call)
        self._touched[socket] = None
        return call

    def _send(self, socket: BrokerSocket, call: Call) -> None:
        """Send a call at the end of this turn."""
        socket.outgoing.append(call)
        self._touched[socket] = None

    def _refused(self, call: Call, error: FanmailError) -> FanmailError | None:
        return self.resending.refused(call, error) if error.code in RESENT else error

    def _flush(self) -> None:
        while self._touched:
            self._touched.popitem()[0].flush()

    def _tick(self) -> None:
        self._take_map()
        now = time.monotonic()
        for socket in self._connections:
            socket.tick(now, self._timeout)
        self._survey.look(now)
        self.resending.tick(now)

    def _take_map(self) -> None:
        """Connect and disconnect as the description says, where it is newer than the map in use."""
        try:
            newer = self._load_map()
        except StartError as error:
            log.error("the cluster description cannot be used", extra={"reason": str(error)})
            return
        if newer is None:
            return
        if self._map is not None:
            reason = why_refused(self._map, newer, self._table.orphaned_by(each.id for each in newer.brokers))
            if reason:
                log.error("the cluster description is refused", extra={"reason": reason})
            if reason or newer.epoch == self._map.epoch:
                return
        self._connections.take(newer)
        self._table.take(newer.table)
        self._map = newer
        self.resending.look_again()
        log.info("cluster description taken", extra={"epoch": newer.epoch, "brokers": len(newer.brokers)})
