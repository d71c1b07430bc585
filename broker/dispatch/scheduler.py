"""Work whose time has come, as opposed to requests. Bounded per turn of the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice

from broker.dispatch.resting import Resting
from broker.dispatch.waiters import Waiters
from broker.operations.context import Context, SubscriptionRef, lookup
from broker.operations.leasing import forget_lost, release
from broker.operations.publishing import forget_keys, publish_delayed
from broker.records import CalendarSet
from broker.state.topic import Topic
from common.clock import Now, StepWatch
from common.protocol import stats

log = logging.getLogger("fanmail.broker")


class Scheduler:
    """Deadlines of leases, idle subscriptions, old messages, delayed publishes and idempotency keys."""

    def __init__(self, context: Context, waiters: Waiters) -> None:
        self._context = context
        self._waiters = waiters
        self._most = context.thresholds
        self._watch = StepWatch()
        self._resting = Resting(context.state.slots)
        self._left = 0
        """Leases and delays that may still end in this turn."""
        self._heads_left = 0
        """Old pieces that may still be dropped in this turn."""

    def wait(self, now: Now) -> float | None:
        """Return the milliseconds until the next is due, 0 or less for now, None where nothing is."""
        state = self._context.state
        if state.garbage.any:
            return 0
        keys = state.keys.oldest_at()
        mono = [state.leases_due.next_due(), state.idle_due.next_due()]
        mono.append(keys + self._context.limits.key_ttl if keys is not None else None)
        time = [state.heads_due.next_due(), state.delayed.due.next_due()]
        waits = [(due - now.mono) / 1000 for due in mono if due is not None]
        waits += [due - now.time for due in time if due is not None]
        return min(waits, default=None)

    def run(self, now: Now) -> None:
        """Do what is due, each key once; what is due again at once waits for the next turn."""
        state = self._context.state
        self._resting.forget_gone()
        if self._context.thawed:
            self._wake_rested(now)
        self._look_at_the_date(now)
        state.garbage.collect(self._most.collected)
        self._left, room = self._most.due_messages, self._context.writable_bytes
        for key in list(state.leases_due.pop_due(now.mono, self._most.due)):
            if self._resting.keeps(state.leases_due, key, key[0]):
                continue
            if self._left > 0 and room - self._context.writable_bytes <= self._most.due_bytes:
                self._on_user(key, now, self._leases_due)
                self._context.may_cut()
            else:
                state.leases_due.set(key, now.mono)
        for key in list(state.idle_due.pop_due(now.mono, self._most.due)):
            if self._resting.keeps(state.idle_due, key, key[0]):
                continue
            self._on_user(key, now, self._idle_due)
            self._context.may_cut()
        # In this order, however many turns it takes: a message whose lease has ended is released before it is dropped,
        # and old messages are dropped before delayed ones enter the log.
        if not _is_due(state.leases_due.next_due(), now.mono):
            self._run_heads(now)
            if not _is_due(state.heads_due.next_due(), now.time):
                self._run_delayed(now)
        forget_keys(self._context, now, self._most.due)

    def _wake_rested(self, now: Now) -> None:
        """Resume timers of slots that are served again. Users who could not call meanwhile were not idle."""
        state = self._context.state
        thawed, self._context.thawed = self._context.thawed, []
        for slot in thawed:
            for timers, key, due in self._resting.end(slot):
                if timers is state.delayed.due and key not in state.delayed.publishes:
                    continue
                if timers is state.idle_due:
                    self._on_user(key, now, _restart_idle_clock)
                timers.set_earlier(key, due)

    def _run_heads(self, now: Now) -> None:
        state = self._context.state
        self._heads_left = self._most.due_heads
        for name in list(state.heads_due.pop_due(now.time, self._most.due)):
            if self._resting.keeps(state.heads_due, name, name):
                continue
            topic = state.topics.get(name)
            if topic is not None and self._heads_left > 0:
                self._head_due(topic, now)
                self._context.may_cut()
            elif topic is not None:
                state.heads_due.set(name, now.time)

    def _run_delayed(self, now: Now) -> None:
        state, size = self._context.state, 0
        for number in state.delayed.due.pop_due(now.time, self._most.due):
            waiting = state.delayed.publishes[number]
            if self._resting.keeps(state.delayed.due, number, waiting.topic, waiting.due_ms):
                continue
            if publish_delayed(self._context, number, now):
                size += len(waiting.payload.body)
                self._context.may_cut()
                self._waiters.published(waiting.topic)
            if size > self._most.due_bytes:
                break  # before the next one leaves the heap: it keeps its place among those due at the same moment

    def _look_at_the_date(self, now: Now) -> None:
        before = self._context.state.calendar.shift
        steps = self._context.state.calendar.after(now, self._watch)
        if steps is not None:
            log.warning("the system's clock was set", extra={"by_ms": steps[-1].shift - before})
            self._context.emit(CalendarSet(steps))

    def _on_user(self, key: tuple[bytes, bytes], now: Now, work: Callable[[SubscriptionRef, Now], None]) -> None:
        ref = lookup(self._context, *key)
        if ref is not None and ref.subscription.delivery is not None:
            work(ref, now)

    def _leases_due(self, ref: SubscriptionRef, now: Now) -> None:
        delivery = ref.subscription.delivery
        assert delivery is not None
        held, leased = delivery.leases.held, delivery.leases.open
        most = min(self._left, self._most.due_dead) if delivery.max_deliveries else self._left
        due = delivery.leases.deadlines.pop_due(now.mono, most)
        due.sort(key=lambda seq: (held[seq].until_us or held[seq].due_us, seq))
        self._left -= len(due)
        if due:
            forget_lost(ref)
            due = [seq for seq in due if seq in held]
            self._context.counters[stats.LEASES_EXPIRED] += sum(held[seq].until_us > 0 for seq in due)
            if due:
                release(ref, due, 0, now)
            if delivery.leases.open < leased:
                delivery.last_call = now.mono  # the idle clock stood still
        self._context.state.watch_leases((ref.topic.name, ref.user), ref.subscription)

    def _idle_due(self, ref: SubscriptionRef, now: Now) -> None:
        """End the subscription, or check again at the earliest moment at which its time can be up."""
        delivery = ref.subscription.delivery
        assert delivery is not None
        if not delivery.last_call or delivery.leases.open or self._waiters.waits(ref.topic.name, ref.user):
            delivery.last_call = now.mono
        ends = delivery.last_call + delivery.expires_after
        if ends > now.mono:
            self._context.state.idle_due.set((ref.topic.name, ref.user), ends)
            return
        self._context.counters[stats.SUBSCRIPTIONS_EXPIRED] += 1
        self._context.end_subscription(ref.topic, ref.user)
        self._waiters.ended(ref.topic.name, ref.user)

    def _head_due(self, topic: Topic, now: Now) -> None:
        moves: list[tuple[str, int]] = []
        stored = topic.pieces(topic.head_seq) if topic.messages else iter(())
        for piece in islice(stored, self._heads_left):
            self._heads_left -= 1
            too_old = topic.settings.max_age and piece.time + topic.settings.max_age <= now.time
            if not too_old and not (piece.expires and piece.expires <= now.time):
                break
            reason = "max-age" if too_old else "ttl"  # also for a damaged one, which is counted already
            if moves and moves[-1][0] == reason:
                moves.pop()
            moves.append((reason, piece.end))
        for reason, head in moves:
            self._context.move_head(topic, head, reason)
        self._context.state.watch_head(topic)


def _restart_idle_clock(ref: SubscriptionRef, now: Now) -> None:
    if ref.subscription.delivery is not None:
        ref.subscription.delivery.last_call = now.mono


def _is_due(due: int | None, now: int) -> bool:
    return due is not None and due <= now
