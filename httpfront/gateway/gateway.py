"""`call(op, topic, user, args) -> result`: the only way from a front to the brokers.

A request's greenlet hands over a packed request and parks; what came together in one turn of the loop leaves
together. A request is sent once: what was provably not executed is a 503, the rest a 504.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from msgspec import Struct

from common.cluster.slots import ClusterMap
from common.errors import FanmailError, StartError
from common.keys.curve import KeyPair
from common.protocol import ops, wire
from common.protocol.ops import Op
from common.protocol.wire import WireError
from httpfront.environ import OnDisconnect, unwatched
from httpfront.gateway.broker_socket import FIRST_CALL, BrokerSocket, new_context
from httpfront.gateway.broker_status import BrokerStatus
from httpfront.gateway.call import Answer, Call, answer_room
from httpfront.gateway.gather import Gather
from httpfront.hub import Hub
from httpfront.request_context import request_id

log = logging.getLogger("fanmail.front")

GRACE_S = 0.25
"""Seconds that an answer may come after its deadline: what a broker began in time is worth waiting for."""
TICK_S = 0.1
"""Seconds between two looks at the description, pings, silent brokers and overdue calls."""


class Gateway:
    """Knows the cluster map and a socket to each broker. Belongs to the hub's thread."""

    def __init__(
        self, hub: Hub, load_map: Callable[[], ClusterMap | None], timeout: float, keys: KeyPair | None = None
    ) -> None:
        """`load_map` gives the cluster map where its description has changed since the last time it was asked,
        else None, and may raise `StartError`; `timeout` in seconds is the time a broker has to answer a call. `keys`
        are shown to brokers that have a key, and must be there for a map that has such.
        """
        self._hub = hub
        self._load_map = load_map
        self._timeout = timeout
        self._keys = keys
        self._map: ClusterMap | None = None
        self._sockets: dict[str, BrokerSocket] = {}
        self._touched: dict[BrokerSocket, None] = {}
        """Lines on which something is outgoing."""
        self._ids = itertools.count(FIRST_CALL)
        self._context = new_context()
        self._waits_ended = False
        hub.each_turn(self._flush)
        hub.every(TICK_S, self._look)

    def close(self) -> None:
        """Closes all sockets; calls under way end as `outcome-unknown`."""
        for socket in self._sockets.values():
            socket.close("the front is stopping")
        self._sockets.clear()
        self._context.term()

    def brokers(self) -> dict[str, bool]:
        """Every broker of the description: whether it can be sent to now. Empty while there is none."""
        return {broker: socket.status.up for broker, socket in self._sockets.items()}

    def call(self, op: Op, topic: bytes, user: bytes, args: Struct, body: bytes | None = None) -> Any:
        """The result of an operation, None where the broker had nothing to hand out.

        A `body` of at least `wire.LARGE_BODY` bytes goes beside `args`, whose own stays empty. Parks the
        request's greenlet for at most the timeout. Raises `FanmailError`: what the broker answered,
        `broker-down` where it was not sent, `outcome-unknown` where it was and no answer came. The broker is told
        the id of the HTTP request (`request_context.py`).
        """
        self._begin(op, topic, user, args, time.monotonic() + self._timeout, body)
        return self._outcome(op)

    def statuses(self) -> list[BrokerStatus]:
        """What is known of every broker of the description."""
        return [socket.status for socket in self._sockets.values()]

    def under_way(self) -> dict[str, tuple[int, int]]:
        """Of each broker how many bytes of bodies, and of room for answers, this front has under way."""
        return {broker: (socket.windows.bodies, socket.windows.answers) for broker, socket in self._sockets.items()}

    def owner(self, topic: bytes) -> str:
        """The id of a topic's broker; "" while there is no description."""
        return self._map.owner(topic) if self._map else ""

    def slots(self) -> dict[str, int]:
        """How many of the slots each broker has."""
        return dict(Counter(self._map.owners)) if self._map else {}

    def ask_all(self, op: Op, args: Struct, timeout: float, brokers: Collection[str] = ()) -> dict[str, Any]:
        """What each of these brokers, or every one, says to an operation on no topic, by its id: the result, or the
        `FanmailError`. All are asked at once; parks the request's greenlet for `timeout` seconds and a little more.
        """
        gather = Gather()
        for broker in brokers or list(self._sockets):
            try:
                call = self._post(broker, op, b"", b"", args, time.monotonic() + timeout, None)
            except FanmailError as error:
                gather.results[broker] = error
            else:
                call.waiting = gather.place(broker)
        if gather.wanted:
            self._hub.park()
        return {broker: self._opened(op, each) for broker, each in gather.results.items()}

    def _opened(self, op: Op, outcome: Answer | FanmailError) -> Any:
        if isinstance(outcome, FanmailError) or outcome.error is not None:
            return outcome if isinstance(outcome, FanmailError) else outcome.error
        try:
            return wire.unpack_result(op, outcome.result)
        except WireError as error:
            return FanmailError("internal", str(error))

    def wait(
        self, topic: bytes, user: bytes, until: float, ticket: int, on_disconnect: OnDisconnect = unwatched
    ) -> ops.Look:
        """Park until the broker says that there may be a message for the user, or that there is none by `until`
        (monotonic seconds). Takes no message, so any other end is a `broker-down`.

        `ticket` is 0, or that of an earlier wait, to keep its place. `on_disconnect` is given what ends the wait when
        the client disconnects, and None afterwards.
        """
        if self._waits_ended:
            return ops.Look(False, ticket)
        call = self._begin(Op.WAIT, topic, user, ops.Wait(ticket), until)
        call.waits = True
        of_request = request_id.get()
        on_disconnect(lambda: self._hub.spawn(lambda: self._cancel(topic, user, call, of_request)))
        try:
            look: ops.Look = self._outcome(Op.WAIT)
        except FanmailError as error:
            if error.code == "outcome-unknown":
                raise FanmailError("broker-down", error.detail) from None
            if error.code == "expired":
                return ops.Look(False, ticket)
            raise
        finally:
            on_disconnect(None)
        return look

    def end_waits(self) -> None:
        """All waits end with "nothing", now and from now on: this front drains."""
        self._waits_ended = True
        for socket in list(self._sockets.values()):
            socket.end_waits()

    def _cancel(self, topic: bytes, user: bytes, call: Call, of_request: str) -> None:
        """The broker answers a wait; where it cannot be told, the wait ends at its time."""
        request_id.set(of_request)
        with suppress(FanmailError):
            self.call(Op.CANCEL, topic, user, ops.Cancel(call.id))

    def _begin(self, op: Op, topic: bytes, user: bytes, args: Struct, until: float, body: bytes | None = None) -> Call:
        if self._map is None:
            raise FanmailError("broker-down", "this front has found no cluster description yet")
        return self._post(self._map.owner(topic), op, topic, user, args, until, body)

    def _post(
        self, broker: str, op: Op, topic: bytes, user: bytes, args: Struct, until: float, body: bytes | None
    ) -> Call:
        socket = self._sockets[broker]
        if socket.status.loading:
            raise FanmailError("loading", f"broker {broker} of this topic is reading its store")
        if not socket.status.up:
            raise FanmailError("broker-down", f"broker {broker} of this topic is not reachable")
        if body is not None and 0 < socket.status.max_body < len(body):
            most = socket.status.max_body
            raise FanmailError("body-too-large", f"the body has {len(body)} bytes, its broker takes at most {most}")
        call_id = next(self._ids)
        packed = wire.pack_request(call_id, op, topic, user, socket.status.deadline(until), args, request_id.get())
        call = Call(call_id, packed, body, until + GRACE_S, socket.status.incarnation, answer_room(args))
        socket.post(call)
        self._touched[socket] = None
        return call

    def _outcome(self, op: Op) -> Any:
        """Parks the greenlet that has just begun a call."""
        answer = self._hub.park()
        assert isinstance(answer, Answer)
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

    def _flush(self) -> None:
        while self._touched:
            self._touched.popitem()[0].flush()

    def _look(self) -> None:
        self._take_map()
        now = time.monotonic()
        for socket in list(self._sockets.values()):
            socket.look(now, self._timeout)

    def _take_map(self) -> None:
        """Connects and hangs up as the description says, where it is newer than the map in use."""
        try:
            newer = self._load_map()
        except StartError as error:
            log.error("the cluster description cannot be used", extra={"reason": str(error)})
            return
        if newer is None:
            return
        if self._map is not None and newer.epoch <= self._map.epoch:
            if (newer.epoch, newer.brokers, newer.owners) != (self._map.epoch, self._map.brokers, self._map.owners):
                log.error("the cluster description changed without a greater epoch", extra={"epoch": newer.epoch})
            return
        wanted = {broker.id: broker for broker in newer.brokers}
        for broker, socket in list(self._sockets.items()):
            if wanted.get(broker) != socket.address or socket.status.cluster != newer.name:
                self._sockets.pop(broker).close("the broker has left the cluster description")
        for broker, address in wanted.items():
            if broker not in self._sockets:
                self._sockets[broker] = BrokerSocket(
                    self._hub, self._context, BrokerStatus(newer.name, broker), address, self._keys
                )
            self._sockets[broker].map_epoch = newer.epoch
        self._map = newer
        log.info("cluster description taken", extra={"epoch": newer.epoch, "brokers": len(wanted)})
