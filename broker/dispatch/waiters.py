"""Parked requests: who waits for a message of which user. Waiting never takes.

A WAIT is answered "look now" or "nothing"; the front then sends an ordinary TAKE if its client is still there.
One message wakes one waiter of a user, the longest waiting first. A woken front that takes, or passes because its
client has gone, lets the next wake go out; so does a second of silence. Nothing here persists: a front whose
broker dies asks the next one.

A turn looks at no more than `Thresholds.wakes` users and answers about as many requests, whatever has happened. The
rest waits for the next turns; users of a topic that was published to, and those of whom something else is new, take
turns.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

from broker.state.timers import Timers
from broker.thresholds import DEFAULT, Thresholds

SILENCE_US = 1_000_000
"""Microseconds after which a wake that was not followed by anything goes to the next waiter."""
_PLACE = attrgetter("place")


@dataclass(slots=True, eq=False)
class Waiter:
    """One parked request. `deadline` in microseconds of the monotonic clock."""

    ticket: int
    """Its place: the smallest is served first."""
    peer_id: bytes
    request_id: int
    deadline: int
    queue: WaitQueue | None = field(default=None, repr=False)
    """Where it is parked; None once it is answered."""
    place: tuple[int, int] = (0, 0)
    """The ticket, and the order of parking among those who name the same one."""


@dataclass(slots=True, eq=False)
class WaitQueue:
    """The waiters of one user of one topic."""

    topic: bytes
    user: bytes
    waiters: list[Waiter] = field(default_factory=list)
    """In the order of their places."""
    promises: deque[int] = field(default_factory=deque)
    """Wakes that nothing has followed yet: until when each is waited for, the oldest first."""
    queued: bool = False
    """It will be looked at."""
    ended: bool = False
    """The subscription is gone: all of its waiters are to look, and find that out."""


class Wake(NamedTuple):
    """An answer to a parked request."""

    peer_id: bytes
    request_id: int
    ticket: int
    now: bool
    topic: bytes
    user: bytes


class Waiters:
    """All of a broker. `pending(topic, user)` says how many messages wait for a user, None without subscription."""

    def __init__(self, pending: Callable[[bytes, bytes], int | None], thresholds: Thresholds = DEFAULT) -> None:
        self._pending = pending
        self._most = thresholds.wakes
        self._topics: dict[bytes, dict[bytes, WaitQueue]] = {}
        self._tickets = itertools.count(1)
        self._parkings = itertools.count()
        self._parked: dict[tuple[bytes, int], Waiter] = {}
        """By peer and request."""
        self._timers: Timers[Waiter | WaitQueue] = Timers(thresholds)
        self._published: dict[bytes, None] = {}
        """Topics that are still to be swept: all of their queues are looked at."""
        self._sweeps: deque[tuple[bytes, Iterator[WaitQueue]]] = deque()
        """Those that are being swept."""
        self._swept: set[bytes] = set()
        """Their names."""
        self._ready: deque[WaitQueue] = deque()
        self._wakes: list[Wake] = []
        self.count = 0
        """Parked requests."""

    @property
    def busy(self) -> bool:
        """Whether there is work for the next turn already."""
        return bool(self._published or self._sweeps or self._ready or self._wakes)

    def next_due(self) -> int | None:
        """When something is due, in microseconds of the monotonic clock."""
        return self._timers.next_due()

    def park(self, topic: bytes, user: bytes, waiter: Waiter) -> None:
        """Takes in a request; ticket 0 gets the next ticket. A message that waits already is told this turn."""
        waiter.ticket = waiter.ticket or next(self._tickets)
        users = self._topics.setdefault(topic, {})
        queue = users.get(user)
        if queue is None:
            queue = users[user] = WaitQueue(topic, user)
        waiter.queue = queue
        waiter.place = (waiter.ticket, next(self._parkings))
        insort(queue.waiters, waiter, key=_PLACE)
        self._parked[waiter.peer_id, waiter.request_id] = waiter
        self.count += 1
        self._timers.set(waiter, waiter.deadline)
        self._enqueue(queue)

    def cancel(self, topic: bytes, user: bytes, peer_id: bytes, request_id: int) -> None:
        """A parked request is answered "nothing"; one that was woken already is of no concern."""
        waiter = self._parked.get((peer_id, request_id))
        queue = waiter.queue if waiter is not None else None
        if waiter is not None and queue is not None and (queue.topic, queue.user) == (topic, user):
            self._answer(waiter, now=False)
            self._drop_empty(queue)

    def published(self, topic: bytes) -> None:
        """A message entered the topic: O(1), the waking is done in `turn`."""
        if topic in self._topics:
            self._published[topic] = None

    def available(self, topic: bytes, user: bytes) -> None:
        """A message of this user alone may be handed out again."""
        queue = self._topics.get(topic, {}).get(user)
        if queue is not None:
            self._enqueue(queue)

    def waits(self, topic: bytes, user: bytes) -> bool:
        """Whether a request of this user is parked."""
        queue = self._topics.get(topic, {}).get(user)
        return queue is not None and bool(queue.waiters)

    def followed(self, topic: bytes, user: bytes) -> None:
        """A wake of this user was followed by a take, or passed on."""
        queue = self._topics.get(topic, {}).get(user)
        if queue is not None:
            if queue.promises:
                queue.promises.popleft()
            self._enqueue(queue)

    def ended(self, topic: bytes, user: bytes) -> None:
        """The subscription is gone: all its waiters look, and find that out, in the next turns."""
        queue = self._topics.get(topic, {}).get(user)
        if queue is not None:
            queue.promises.clear()
            queue.ended = True
            self._forget(queue)
            self._enqueue(queue)

    def end_some(self) -> None:
        """The broker drains: nobody waits any longer. Answers as many as one turn may."""
        while self._parked and len(self._wakes) < self._most:
            _, waiter = self._parked.popitem()
            queue = waiter.queue
            assert queue is not None
            queue.promises.clear()
            self._answer(waiter, now=False)
            self._drop_empty(queue)
        if not self._parked:
            self._topics.clear()

    def turn(self, mono: int) -> list[Wake]:
        """The answers that are due, at most about `Thresholds.wakes`."""
        for due in self._timers.pop_due(mono, self._most):
            self._timer_due(due, mono)
        for topic in list(islice(self._published, self._most)):
            if topic not in self._swept:
                del self._published[topic]
                self._swept.add(topic)
                self._sweeps.append((topic, iter(list(self._topics.get(topic, {}).values()))))
        looks = self._most
        while looks > 0 and len(self._wakes) < self._most and (self._ready or self._sweeps):
            looks -= 1
            if self._sweeps and (looks % 2 or not self._ready):
                self._sweep(mono)
            else:
                self._wake(self._dequeue(), mono)
        wakes, self._wakes = self._wakes, []
        return wakes

    def _sweep(self, mono: int) -> None:
        """Looks at the next queue of the topic that has waited longest for it."""
        topic, queues = self._sweeps.popleft()
        queue = next(queues, None)
        if queue is None:
            self._swept.discard(topic)
            return
        self._sweeps.append((topic, queues))
        if not queue.queued:
            self._wake(queue, mono)

    def _enqueue(self, queue: WaitQueue) -> None:
        if not queue.queued:
            queue.queued = True
            self._ready.append(queue)

    def _dequeue(self) -> WaitQueue:
        queue = self._ready.popleft()
        queue.queued = False
        return queue

    def _wake(self, queue: WaitQueue, mono: int) -> None:
        pending = None if queue.ended else self._pending(queue.topic, queue.user)
        while queue.waiters and (pending is None or len(queue.promises) < pending):
            if len(self._wakes) >= self._most:
                self._enqueue(queue)
                return
            if pending is not None:
                queue.promises.append(mono + SILENCE_US)
                if len(queue.promises) == 1:
                    self._timers.set(queue, mono + SILENCE_US)
            self._answer(queue.waiters[0], now=True)
        self._drop_empty(queue)

    def _timer_due(self, due: Waiter | WaitQueue, mono: int) -> None:
        if isinstance(due, WaitQueue):
            while due.promises and due.promises[0] <= mono:
                due.promises.popleft()
            if due.promises:
                self._timers.set(due, due.promises[0])
            self._enqueue(due)
        elif due.queue is not None:
            queue = due.queue
            self._answer(due, now=False)
            self._drop_empty(queue)

    def _answer(self, waiter: Waiter, now: bool) -> None:
        """The one place where a waiter leaves."""
        assert waiter.queue is not None
        queue = waiter.queue
        del queue.waiters[bisect_left(queue.waiters, waiter.place, key=_PLACE)]
        waiter.queue = None
        if self._parked.get((waiter.peer_id, waiter.request_id)) is waiter:
            del self._parked[waiter.peer_id, waiter.request_id]
        self._timers.drop(waiter)
        self.count -= 1
        self._wakes.append(Wake(waiter.peer_id, waiter.request_id, waiter.ticket, now, queue.topic, queue.user))

    def _drop_empty(self, queue: WaitQueue) -> None:
        if queue.waiters or queue.promises:
            return
        self._timers.drop(queue)
        self._forget(queue)

    def _forget(self, queue: WaitQueue) -> None:
        """Whoever parks from now on does so elsewhere."""
        users = self._topics.get(queue.topic)
        if users is not None and users.get(queue.user) is queue:
            del users[queue.user]
            if not users:
                del self._topics[queue.topic]
