"""Requests that a broker did not execute because their slot is moving, or has moved: sent again until their deadlines.

A client sees a delay and no error. Waits are not sent again but answered with "look again": who takes the message that
may be there queues.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from common.cluster.slots import slot_of
from common.errors import FanmailError
from common.protocol.ops import Op
from httpfront.gateway.broker_socket import BrokerSocket
from httpfront.gateway.broker_status import unreachable
from httpfront.gateway.call import Answer, Call, opened, redirected
from httpfront.gateway.slot_queue import ABSENT_S, Probe, SlotQueue
from httpfront.gateway.slot_table import SlotTable
from httpfront.hub import Hub

RESENT = frozenset(("moving", "not-owner"))
"""Refusals of brokers that fronts do not pass on."""


class Resending:
    """The queues of the slots that are moving. Belongs to the hub's thread."""

    def __init__(
        self,
        hub: Hub,
        table: SlotTable,
        in_use: Mapping[str, BrokerSocket],
        send: Callable[[BrokerSocket, Call], None],
        survey: Callable[[], None],
    ) -> None:
        """`send` sends a call in this turn. `survey` asks all brokers which slots they own."""
        self._hub, self._table, self._in_use = hub, table, in_use
        self._send_now, self._survey = send, survey
        self.queues: dict[int, SlotQueue] = {}
        """By slot. Calls of these slots must be put here."""
        self.counts: Counter[str] = Counter(dict.fromkeys(sorted(RESENT), 0))
        """Refusals so far, by code."""

    @property
    def waiting(self) -> int:
        """Return the number of calls that wait to be sent again."""
        return sum(map(len, self.queues.values()))

    def put(self, slot: int, call: Call) -> None:
        """Queue a call behind those of its slot. Raises `broker-down` where there is no room."""
        if not self.queues[slot].add(call):
            raise _full(slot)

    def refused(self, call: Call, error: FanmailError) -> FanmailError | None:
        """Queue a call that a broker has refused with one of `RESENT`, and return None; else return what its end is."""
        request = opened(call.packed)
        if not request.topic:
            return error
        slot = slot_of(request.topic)
        self.counts[error.code] += 1
        newer = error.code == "not-owner" and self._learn(slot, error)
        if error.code == "not-owner" and not newer:
            self._survey()
        if request.op == Op.WAIT:
            if newer:
                self.look_again()
            return FanmailError("moving", "look again")
        queue = self.queues.get(slot)
        was_first = queue is not None and queue.probe is call
        if call.overtaken and not was_first:
            return error
        if queue is None:
            queue = self._hold(slot)
        queue.code = error.code
        if was_first:
            queue.probe, call.waiting = None, call.waiting.waiting  # type: ignore[attr-defined]
        if not queue.add(call, always=was_first):  # the queue goes on with what was the first
            return _full(slot)
        if newer or self._has_moved_on(slot, call):
            self._try(slot)
        else:
            self._try_later(queue)
        return None

    def look_again(self) -> None:
        """Ask at once for every slot whose owner is another one now than the one that was asked.

        A slot whose former owner has not answered everything yet is queued, so that nothing overtakes what it refuses.
        """
        for broker, socket in self._in_use.items():
            for slot in socket.slots():
                if slot not in self.queues and self._table.owners[slot] != broker:
                    self._try_later(self._hold(slot))
        for slot, queue in list(self.queues.items()):
            if queue.probe is None and self._table.owners[slot] != queue.asked:
                self._try(slot)

    def tick(self, now: float) -> None:
        """End the calls whose time is over."""
        for queue in list(self.queues.values()):
            self._end(queue.take_overdue(now), queue.code, "the slot of this topic is moving to another broker")

    def give_up(self) -> None:
        """End all calls, because the front stops."""
        queues = list(self.queues.values())
        self.queues.clear()
        for queue in queues:
            self._end(queue.take_all(), "broker-down", "the front is stopping")

    def _hold(self, slot: int) -> SlotQueue:
        """Begin the queue of a slot with what has not been sent yet, behind what has no answer yet."""
        queue = self.queues[slot] = SlotQueue(slot, time.monotonic())
        queue.asked = self._table.owners[slot]
        for socket in self._in_use.values():
            queue.ahead += [(socket, call) for call in socket.sent(slot)]
            for call in socket.withdraw(slot):
                if not queue.add(call):
                    full = _full(slot)
                    self._end([call], full.code, full.detail)
        return queue

    def _has_moved_on(self, slot: int, call: Call) -> bool:
        """Return whether the owner is another process by now than the one that has refused the call."""
        socket = self._in_use.get(self._table.owners[slot])
        return socket is not None and socket.status.up and socket.status.incarnation != call.incarnation

    def _learn(self, slot: int, error: FanmailError) -> bool:
        to, epoch = error.fields.get("owner"), error.fields.get("slot_epoch")
        return isinstance(to, str) and isinstance(epoch, int) and self._table.learn(slot, to, epoch)

    def _try_later(self, queue: SlotQueue) -> None:
        if queue.probe is None and not queue.timed:
            queue.timed = True
            pause_s = queue.pause_s(time.monotonic(), len(self.queues))
            self._hub.after(pause_s, partial(self._time_is_over, queue))

    def _time_is_over(self, queue: SlotQueue) -> None:
        queue.timed = False
        if self.queues.get(queue.slot) is queue:
            self._try(queue.slot)

    def _try(self, slot: int) -> None:
        """Send the first call of a queue again where its broker can be reached."""
        queue = self.queues.get(slot)
        if queue is None or queue.probe is not None:
            return
        now = time.monotonic()
        self._end(queue.take_overdue(now), queue.code, "the slot of this topic is moving to another broker")
        if queue.must_wait():
            self._try_later(queue)
            return
        if not len(queue):
            self.queues.pop(slot, None)
            return
        socket = self._in_use.get(self._table.owners[slot])
        if socket is not None and socket.status.up:
            queue.absent_since = 0.0
            queue.asked = socket.status.broker
            call = queue.probe = queue.take_first()
            call.waiting = Probe(call.waiting, partial(self._open, queue))
            self._send(call, socket)
            return
        queue.absent_since = queue.absent_since or now
        if now - queue.absent_since > ABSENT_S:
            self._open(queue)
        else:
            self._try_later(queue)

    def _open(self, queue: SlotQueue) -> None:
        """Send what waits, in order; end what cannot be sent."""
        self.queues.pop(queue.slot, None)
        owner = self._table.owners[queue.slot]
        socket = self._in_use.get(owner)
        calls = queue.take_all()
        if socket is not None and socket.status.up:
            for call in calls:
                self._send(call, socket)
        elif calls:
            error = unreachable(socket.status) if socket is not None else unknown(owner)
            self._end(calls, error.code, error.detail)

    def _send(self, call: Call, socket: BrokerSocket) -> None:
        status = socket.status
        call.packed = redirected(call.packed, status.deadline(call.until))
        call.incarnation = status.incarnation
        self._send_now(socket, call)

    def _end(self, calls: list[Call], code: str, detail: str) -> None:
        for call in calls:
            self._hub.resume(call.waiting, Answer(FanmailError(code, detail)))


def unknown(broker: str) -> FanmailError:
    """Return the error for a slot whose owner is not in the description that this front has."""
    return FanmailError("broker-down", f"broker {broker} of this topic is not in the cluster description of this front")


def _full(slot: int) -> FanmailError:
    return FanmailError("broker-down", f"too many requests wait for slot {slot}, which is moving to another broker")
