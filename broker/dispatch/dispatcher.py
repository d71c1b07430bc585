"""The chokepoint: what is common to all operations is checked, counted and answered here, once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from broker.dispatch.gauges import gauges
from broker.dispatch.identity import Identity
from broker.dispatch.reply import Outgoing, hand_out
from broker.dispatch.request_log import RequestLog
from broker.dispatch.scheduler import Scheduler
from broker.dispatch.traffic import Traffic
from broker.dispatch.wait_queue import Waiter
from broker.dispatch.waiters import Waiters
from broker.errors import BrokenInvariantError, StoreError
from broker.operations.context import Context, lookup
from broker.operations.control import CONTROL, ON_SLOTS, check_allowed
from broker.operations.handlers import HANDLERS
from broker.ownership import Ownership
from common.clock import Now
from common.cluster.slots import ClusterMap, slot_of
from common.errors import FanmailError
from common.protocol import ops, stats, wire
from common.protocol.move_ops import Adopt
from common.protocol.ops import OPS, Op
from common.protocol.wire import BrokerState, Request, RequestFrame, WireError

log = logging.getLogger("fanmail.broker")

_KNOWN = {int(op): (op, op.name, OPS[op], HANDLERS.get(op)) for op in Op}
_BIGGEST_NAME = 1024
_NOTHING = ops.Nothing()


@dataclass(slots=True)
class Arrived:
    """The outcome of one message from a front."""

    replies: list[Outgoing]
    """Of the requests that are answered at once; `turn` answers a WAIT."""
    goodbye: bool = False
    """The front will send nothing more to this incarnation."""


class Dispatcher:
    """Turns one message into replies; changes the state through the handlers only."""

    def __init__(
        self,
        context: Context,
        identity: Identity,
        cluster_map: ClusterMap,
        request_log: RequestLog | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        """Create the dispatcher; `traffic` bounds the bytes in transit."""
        self.request_log = request_log or RequestLog()
        self._work = self._watched if self.request_log.every else self._answer
        self.context = context
        self.identity = identity
        self.ownership = Ownership(identity.broker, cluster_map, context.state.slots)
        self.state = BrokerState.READY
        self.stalled = False
        """A burst is under way for long: nothing is executed until it is settled."""
        self.executed = 0
        """Requests executed since the loop has set it to 0, parked ones not counted: their replies depend on the
        state.
        """
        self.counters: Counter[str] = context.counters
        self.waiters = Waiters(self._pending, context.next_seq, context.thresholds)
        self._scheduler = Scheduler(context, self.waiters)
        self.traffic = traffic or Traffic()

    def turn(self, now: Now) -> list[tuple[bytes, Outgoing]]:
        """Return the answers to parked requests that are due, each with the peer it goes to. Called once per turn."""
        if self.state is not BrokerState.READY:
            self.waiters.end_some()
        answers = []
        for wake in self.waiters.turn(now.mono, examine=not self.stalled):
            self._call_ended(wake.topic, wake.user, now)
            answers.append(
                (wake.peer_id, Outgoing(wire.pack_reply(wake.request_id, ops.WaitResult(wake.now, wake.ticket))))
            )
        return answers

    def run_due(self, now: Now) -> None:
        """Do what is due, once per turn. Its records belong to the turn's commit."""
        if self.context.scan_budget != self.context.thresholds.scan:
            self.context.turn_begins()
        if self.state is BrokerState.READY:
            self._scheduler.run(now)
            self._tell_woken()

    def patience(self, now: Now) -> float | None:
        """Return the milliseconds until something is due, 0 or less for now, None where nothing is."""
        if self.waiters.busy or (self.waiters.count and self.state is not BrokerState.READY):
            return 0
        due = self.waiters.next_due()
        waits = [(due - now.mono) / 1000] if due is not None else []
        if self.state is BrokerState.READY and (wait := self._scheduler.wait(now)) is not None:
            waits.append(wait)
        return min(waits, default=None)

    def handle(
        self, frames: list[bytes], now: Now, peer_id: bytes = b"", spill: Callable[[list[Outgoing]], Now] | None = None
    ) -> Arrived:
        """Execute the requests of one message.

        `peer_id` receives the answers to parked requests. `spill` takes replies early where they have very many bytes;
        that takes time, so it returns a new reading of the clock. Raises only `StoreError` and `BrokenInvariantError`,
        whatever the bytes.
        """
        try:
            frame = wire.unpack_requests(frames)
        except WireError as error:
            return self._refuse(error)
        self.ownership.saw_epoch(frame.map_epoch)
        self.traffic.taken(peer_id, frame.taken)
        arrived, size, most = Arrived([]), 0, self.context.thresholds.spilled_bytes
        body = frames[1] if len(frames) == 2 else None
        for request in frame.requests:
            answer = self._work(frame, request, body, now, peer_id)
            if self.context.cuts is not None:
                self.context.may_cut()
            if answer is not None:
                arrived.replies.append(answer)
                size += len(answer.packed) + len(answer.body or b"")
                if size > most and spill is not None:
                    now = spill(arrived.replies)
                    arrived.replies, size = [], 0
            arrived.goodbye |= request.op == Op.GOODBYE and frame.incarnation == self.identity.incarnation
        return arrived

    def _refuse(self, error: WireError) -> Arrived:
        self.counters[stats.REJECTED("wire")] += 1
        log.warning("message not understood", extra={"reason": str(error), "answered": len(error.ids)})
        return Arrived([Outgoing(wire.pack_error(each, "bad-request", str(error))) for each in error.ids])

    def _watched(
        self, frame: RequestFrame, request: Request, body: bytes | None, now: Now, peer_id: bytes
    ) -> Outgoing | None:
        """Answer as `_answer` does, and log the operation."""
        began = self.request_log.read()
        answer = self._answer(frame, request, body, now, peer_id)
        self.request_log.operation(request, answer and answer.packed, self.request_log.read() - began)
        return answer

    def _answer(
        self, frame: RequestFrame, request: Request, body: bytes | None, now: Now, peer_id: bytes
    ) -> Outgoing | None:
        """Return the reply, None for a request that is parked."""
        of = request.request_id
        try:
            result: Any = self._execute(frame, request, body, now, peer_id)
            kind = type(result)
            if kind is ops.Wait:
                waiter = Waiter(result.ticket, peer_id, request.id, request.deadline, seq=result.place)
                self.waiters.park(request.topic, request.user, waiter)
                self.executed -= 1
                return None
            if kind is ops.Cancel:
                self.waiters.cancel(request.topic, request.user, peer_id, result.id)
                result = _NOTHING
        except FanmailError as error:
            self.counters[stats.REJECTED(error.code)] += 1
            return Outgoing(wire.pack_error(request.id, error.code, error.detail, error.fields), None, of)
        except WireError as error:
            self.counters[stats.REJECTED("wire")] += 1
            return Outgoing(wire.pack_error(request.id, "bad-request", str(error)), None, of)
        except StoreError:
            raise  # the state may be half-changed: no request is answered
        except Exception as error:
            self.counters[stats.REJECTED("internal")] += 1
            self.request_log.failed(request)
            if self.context.changed:
                raise BrokenInvariantError(f"{Op(request.op).name} failed after a change of state") from error
            return Outgoing(wire.pack_error(request.id, "internal", "the broker failed; its log says why"), None, of)
        if kind is ops.Message or kind is ops.Batch:
            return hand_out(request, result, self.counters)
        return Outgoing(wire.pack_reply(request.id, result), None, of)

    def _execute(
        self, frame: RequestFrame, request: Request, body: bytes | None, now: Now, peer_id: bytes
    ) -> Struct | None:
        known = _KNOWN.get(request.op)
        if known is None:
            raise WireError(f"operation {request.op} is not known here")
        op, name, spec, handler = known
        args = wire.unpack_args(request)
        if handler is None:
            if body is not None and isinstance(args, Adopt):
                args.body = body
            return self._control(op, args, now)
        if not 0 < len(request.topic) <= _BIGGEST_NAME or len(request.user) > _BIGGEST_NAME:
            raise WireError("a topic has 1 to 1024 bytes, a user at most 1024")
        self._check(frame, request, now, peer_id)
        if spec.on_user != bool(request.user):
            raise WireError(f"operation {name} {'needs a' if spec.on_user else 'takes no'} user")
        if body is not None:
            if not isinstance(args, ops.Publish) or args.body:
                raise WireError(f"operation {name} takes no body")
            args.body = body
        self.traffic.check(peer_id, args)
        self.counters[name] += 1
        self.executed += 1
        try:
            return self.context.state.calendar.dated(handler(self.context, request, args, now))
        finally:
            self._tell_waiters(op, request, args)

    def _tell_waiters(self, op: Op, request: Request, args: Any) -> None:
        if op is Op.PUBLISH or op is Op.PUBLISH_APART:
            self.waiters.published(request.topic)
        elif op is Op.TAKE or op is Op.FETCH or op is Op.SKIP:
            if op is Op.FETCH and args.place:
                return  # of a stream, whose wake is not one of those that a take must follow
            self.waiters.followed(request.topic, request.user)
            if op is not Op.SKIP and args.lease:
                self.waiters.leased(request.topic, request.user)
        elif op is Op.UNSUBSCRIBE:
            self.waiters.ended(request.topic, request.user)
        if self.context.woken or self.context.ended:
            self._tell_woken()

    def _tell_woken(self) -> None:
        ended, self.context.ended = self.context.ended, []
        for topic, user in ended:
            self.waiters.ended(topic, user)
        woken, self.context.woken = self.context.woken, []
        for topic, user in woken:
            self.waiters.available(topic, user)

    def _pending(self, name: bytes, user: bytes) -> int | None:
        ref = lookup(self.context, name, user)
        return None if ref is None else ref.topic.pending(ref.subscription)

    def _call_ended(self, name: bytes, user: bytes, now: Now) -> None:
        """Restart the idle clock: a parked request of this user is answered."""
        ref = lookup(self.context, name, user)
        if ref is not None and ref.subscription.delivery is not None:
            ref.subscription.delivery.last_call = now.mono

    def _check(self, frame: RequestFrame, request: Request, now: Now, peer_id: bytes) -> None:
        """Raise `FanmailError` for a request that must not be executed; what is refused here provably was not."""
        if frame.incarnation != self.identity.incarnation:
            raise FanmailError("wrong-incarnation", "the request was meant for an earlier process of this broker")
        if request.deadline <= now.mono:
            raise FanmailError("expired", "the request arrived after its deadline")
        if self.state is BrokerState.LOADING:
            raise FanmailError("loading", f"broker {self.identity.broker} is reading its store")
        if self.state is BrokerState.STANDBY:
            raise FanmailError("standby", f"another candidate owns broker {self.identity.broker}")
        if self.state is not BrokerState.READY:
            raise FanmailError("draining", f"broker {self.identity.broker} is stopping")
        if self.stalled:
            raise FanmailError("log-stalled", f"the log of broker {self.identity.broker} has not answered for a second")
        refusals = self.traffic.refusals
        try:
            self.ownership.check(request.topic)
        except FanmailError:
            refusals.add(peer_id, slot_of(request.topic))
            raise
        if refusals.marks and refusals.overtakes(peer_id, slot_of(request.topic), frame.taken):
            raise FanmailError("moving", "an earlier request of this slot was refused", slot=slot_of(request.topic))

    def _control(self, op: Op, args: Struct, now: Now) -> Struct:
        """Run an operation that names no topic; allowed in any state."""
        if op in CONTROL:
            if op in ON_SLOTS and self.state not in (BrokerState.READY, BrokerState.STANDBY):
                raise FanmailError("loading" if self.state is BrokerState.LOADING else "draining", "it moves no slots")
            check_allowed(op, standby=self.state is BrokerState.STANDBY, stalled=self.stalled)
            self.executed += 1
            return CONTROL[op](self.context, args, now)
        if op is Op.STATS:
            return ops.Stats(self.stats(now))
        if isinstance(args, ops.Ping):
            me = self.identity
            if (args.cluster, args.broker) != (me.cluster, me.broker):
                self.counters[stats.REJECTED("wrong-peer")] += 1
            unproven = self.context.replica is not None and self.context.replica.unproven
            slots = self.context.state.slots
            version = slots.version if slots.known else 0
            return ops.Pong(me.cluster, me.broker, me.max_body, *self.traffic.windows(), unproven, version)
        if op is not Op.GOODBYE:
            raise WireError(f"operation {op} is not known here")
        return _NOTHING

    def stats(self, now: Now) -> dict[str, int]:
        """Return the gauges of the state and all counters. Nothing is scanned for it."""
        found = gauges(self.context, self.traffic, self.waiters.count, now) | dict(self.counters)
        return found if self.context.replica is None else found | self.context.replica.gauges()
