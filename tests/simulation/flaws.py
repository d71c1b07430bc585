"""Negative controls: what a broken broker or front would do. Each must be found within a few seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import broker.dispatch.dispatcher
import broker.operations.leasing
import broker.operations.publishing
from broker.dispatch.dispatcher import Dispatcher
from broker.dispatch.reply import Outgoing
from broker.dispatch.waiters import Waiters
from broker.operations.context import Context
from broker.records import HeadMoved, Leased, MessageStored, Record, SubscriptionSet
from broker.server.loop import Server
from common.clock import Now
from common.errors import FanmailError
from common.protocol.ops import Op
from httpfront.gateway.broker_status import BrokerStatus
from tests.simulation.brokers import SkewedClock


@contextmanager
def reply_before_commit() -> Iterator[None]:
    """A client hears of what is not stored yet."""
    settle = Server._settle

    def flawed(self: Server, replies: dict[bytes, list[Outgoing]]) -> None:
        for peer_id, outgoing in replies.items():
            self._outbox.reply(peer_id, outgoing)
        replies.clear()
        settle(self, replies)

    with patch.object(Server, "_settle", flawed):
        yield


@contextmanager
def forget_keys() -> Iterator[None]:
    """Nothing is recognised as a repeat."""

    def flawed(context: Context, topic: bytes, args: Any, now: Now) -> None:
        return None

    with patch.object(broker.operations.publishing, "_known", flawed):
        yield


def _unless(*ignored: str) -> AbstractContextManager[Any]:
    check = Dispatcher._check

    def flawed(self: Dispatcher, *arguments: Any) -> None:
        try:
            check(self, *arguments)
        except FanmailError as error:
            if error.code not in ignored:
                raise

    return patch.object(Dispatcher, "_check", flawed)


def run_late_requests() -> AbstractContextManager[Any]:
    """The deadline of a request is not looked at."""
    return _unless("expired")


def take_requests_of_a_predecessor() -> AbstractContextManager[Any]:
    """A front does not notice that a broker was started anew, which takes what was meant for the one before."""
    stack = ExitStack()
    stack.enter_context(_unless("wrong-incarnation"))
    stack.enter_context(patch.object(BrokerStatus, "connection_lost", lambda self, why="": None))
    return stack


def execute_what_is_refused() -> AbstractContextManager[Any]:
    """A broker that drains refuses what it has executed."""
    execute = Dispatcher._execute

    def flawed(self: Dispatcher, *arguments: Any) -> Any:
        result = execute(self, *arguments)
        if self.context.state.messages % 7 == 6 and arguments[1].op == Op.PUBLISH:
            raise FanmailError("draining", "it was executed all the same")
        return result

    return patch.object(Dispatcher, "_execute", flawed)


def _emitting(change: Callable[[Context, Record], Record | None]) -> AbstractContextManager[Any]:
    emit = Context.emit

    def flawed(self: Context, record: Record) -> None:
        changed = change(self, record)
        if changed is not None:
            emit(self, changed)

    return patch.object(Context, "emit", flawed)


def skip_a_message() -> AbstractContextManager[Any]:
    """A reader's place moves too far now and then."""

    def change(context: Context, record: Record) -> Record:
        if isinstance(record, SubscriptionSet) and record.position % 7 == 0:
            topic = context.state.topics[record.topic]
            return SubscriptionSet(record.topic, record.user, min(record.position + 1, topic.next_seq))
        return record

    return _emitting(change)


def lease_as_if_for_the_first_time() -> AbstractContextManager[Any]:
    """A redelivery claims to be the first delivery."""

    def change(context: Context, record: Record) -> Record:
        if isinstance(record, Leased):
            return Leased(record.topic, record.user, record.first, record.count, 1, record.until_us)
        return record

    stack = ExitStack()
    message = broker.operations.leasing._message
    stack.enter_context(_emitting(change))
    flawed = patch.object(broker.operations.leasing, "_message", lambda box, held, attempt: message(box, held, 1))
    stack.enter_context(flawed)
    return stack


def wake_that_takes() -> AbstractContextManager[Any]:
    """A woken waiter has the message already, whether it takes it or not."""
    ended = Dispatcher._call_ended

    def flawed(self: Dispatcher, name: bytes, user: bytes, now: Now) -> None:
        ended(self, name, user, now)
        topic = self.context.state.topics.get(name)
        subscription = topic.subscriptions.get(user) if topic else None
        if topic is not None and subscription is not None and subscription.position < topic.next_seq:
            self.context.emit(SubscriptionSet(name, user, subscription.position + 1))

    return patch.object(Dispatcher, "_call_ended", flawed)


def wake_nobody() -> AbstractContextManager[Any]:
    """Who waits is not told of what is published."""
    return patch.object(Waiters, "published", lambda self, topic: None)


def drop_the_head() -> AbstractContextManager[Any]:
    """The log drops messages without counting them."""
    emit = Context.emit

    def flawed(self: Context, record: Record) -> None:
        emit(self, record)
        if isinstance(record, MessageStored) and record.seq % 9 == 0:
            emit(self, HeadMoved(record.topic, record.seq + record.payload.count))

    return patch.object(Context, "emit", flawed)


def trust_any_clock() -> AbstractContextManager[Any]:
    """A front reckons deadlines from the time at which a reply was heard at the latest, not at the earliest."""
    deadline = BrokerStatus.deadline
    return patch.object(BrokerStatus, "deadline", lambda self, at: deadline(self, at) + 300_000)


def believe_the_clock() -> AbstractContextManager[Any]:
    """What lasts goes by what the system's clock says, never back."""
    now, greatest = SkewedClock.now, dict[SkewedClock, int]()

    def flawed(self: SkewedClock) -> Now:
        mono, _, wall = now(self)
        greatest[self] = max(greatest.get(self, 0), wall)
        return Now(mono, greatest[self], wall)

    return patch.object(SkewedClock, "now", flawed)


FLAWS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "reply before commit": reply_before_commit,
    "forget keys": forget_keys,
    "run late requests": run_late_requests,
    "take requests of a predecessor": take_requests_of_a_predecessor,
    "execute what is refused": execute_what_is_refused,
    "skip a message": skip_a_message,
    "lease as if for the first time": lease_as_if_for_the_first_time,
    "wake that takes": wake_that_takes,
    "wake nobody": wake_nobody,
    "drop the head": drop_the_head,
    "trust any clock": trust_any_clock,
    "believe the clock": believe_the_clock,
}
