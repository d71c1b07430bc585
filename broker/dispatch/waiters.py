"""Parked requests: the long polls that wait for a message of a user. Waiting never takes a message.

A WAIT is answered "look now" or "nothing"; the front then sends an ordinary TAKE if its client is still there. One
message wakes one waiter of a user, the one that has waited longest. The next wake is sent when the woken front takes,
or skips because its client has disconnected, or after a second without either. Nothing here persists: a front whose
broker dies waits at the next process.

A turn examines at most `Thresholds.wakes` queues and answers about as many requests, whatever has happened; the rest
waits for the next turns. Queues of a topic that was published to, and queues with other news, alternate.

A stream waits for a message at or after its place and takes none: a message wakes every stream of its mailbox.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from operator import attrgetter

from broker.dispatch.wait_queue import Waiter, WaitQueue, Wake
from broker.state.timers import Timers
from broker.thresholds import DEFAULT, Thresholds

SILENCE_US = 1_000_000
"""Microseconds after which a wake that nothing has followed is given to the next waiter."""
_PLACE = attrgetter("place")


class Waiters:
    """All parked requests of a broker.

    `pending(topic, user)` returns the number of messages that wait for a user, None without a subscription, and
    `next_seq(topic)` the number of the next message of a topic.
    """

    def __init__(
        self,
        pending: Callable[[bytes, bytes], int | None],
        next_seq: Callable[[bytes], int],
        thresholds: Thresholds = DEFAULT,
    ) -> None:
        self._pending = pending
        self._next_seq = next_seq
        self._most = thresholds.wakes
        self._topics: dict[bytes, dict[bytes, WaitQueue]] = {}
        self._tickets = itertools.count(1)
        self._parkings = itertools.count()
        self._parked: dict[tuple[bytes, int], Waiter] = {}
        """By peer and request id."""
        self._timers: Timers[Waiter | WaitQueue] = Timers(thresholds)
        self._published: dict[bytes, None] = {}
        """Topics to sweep: all of their queues will be examined."""
        self._sweeps: deque[tuple[bytes, Iterator[WaitQueue]]] = deque()
        """The sweeps in progress."""
        self._swept: set[bytes] = set()
        """The names of their topics."""
        self._ready: deque[WaitQueue] = deque()
        self._wakes: list[Wake] = []
        self.count = 0
        """Number of parked requests."""

    @property
    def busy(self) -> bool:
        """Return whether there is work for the next turn already."""
        return bool(self._published or self._sweeps or self._ready or self._wakes)

    def next_due(self) -> int | None:
        """Return when something is due, in microseconds of the monotonic clock."""
        return self._timers.next_due()

    def park(self, topic: bytes, user: bytes, waiter: Waiter) -> None:
        """Park a request; ticket 0 gets the next ticket. A message that is already there is reported in this turn."""
        if not waiter.seq:
            waiter.ticket = waiter.ticket or next(self._tickets)
        users = self._topics.setdefault(topic, {})
        queue = users.get(user)
        if queue is None:
            queue = users[user] = WaitQueue(topic, user)
        waiter.queue = queue
        waiter.place = (waiter.seq or waiter.ticket, next(self._parkings))
        insort(queue.streams if waiter.seq else queue.waiters, waiter, key=_PLACE)
        self._parked[waiter.peer_id, waiter.request_id] = waiter
        self.count += 1
        self._timers.set(waiter, waiter.deadline)
        self._enqueue(queue)

    def cancel(self, topic: bytes, user: bytes, peer_id: bytes, request_id: int) -> None:
        """Answer a parked request with "nothing"; ignore one that was woken already."""
        waiter = self._parked.get((peer_id, request_id))
        queue = waiter.queue if waiter is not None else None
        if waiter is not None and queue is not None and (queue.topic, queue.user) == (topic, user):
            self._answer(waiter, now=False)
            self._drop_empty(queue)

    def published(self, topic: bytes) -> None:
        """Note that a message entered the topic. O(1): the waking is done in `turn`."""
        if topic in self._topics:
            self._published[topic] = None

    def available(self, topic: bytes, user: bytes) -> None:
        """Note that a message of this user alone may be delivered again."""
        queue = self._topics.get(topic, {}).get(user)
        if queue is not None:
            self._enqueue(queue)

    def leased(self, topic: bytes, user: bytes) -> None:
        """Note that a message of this user was leased: streams must look, since they cannot go on."""
        queue = self._topics.get(topic, {}).get(user)
        if queue is not None and queue.streams:
            queue.news = True
            self._enqueue(queue)

    def waits(self, topic: bytes, user: bytes) -> bool:
        """Return whether a request of this user is parked."""
        queue = self._topics.get(topic, {}).get(user)
        return queue is not None and bool(queue.waiters or queue.streams)

    def followed(self, topic: bytes, user: bytes) -> None:
        """Note that a wake of this user was followed by a take or a skip."""
        queue = self._topics.get(topic, {}).get(user)
        if queue is not None:
            if queue.open_wakes:
                queue.open_wakes.popleft()
            self._enqueue(queue)

    def ended(self, topic: bytes, user: bytes) -> None:
        """Note that the subscription is gone: all its waiters are woken in the next turns."""
        queue = self._topics.get(topic, {}).get(user)
        if queue is not None:
            queue.open_wakes.clear()
            queue.ended = True
            self._forget(queue)
            self._enqueue(queue)

    def frozen(self, topic: bytes) -> None:
        """Note that nothing of this topic is executed for a while: all its waiters are told to look in the next turns.

        A wake that was not followed yet is forgotten: the front asks again.
        """
        for user in list(self._topics.get(topic, ())):
            self.ended(topic, user)

    def end_some(self) -> None:
        """Answer as many waiters as one turn may: the broker is stopping."""
        while self._parked and len(self._wakes) < self._most:
            _, waiter = self._parked.popitem()
            queue = waiter.queue
            assert queue is not None
            queue.open_wakes.clear()
            self._answer(waiter, now=False)
            self._drop_empty(queue)
        if not self._parked:
            self._topics.clear()

    def turn(self, mono: int, examine: bool = True) -> list[Wake]:
        """Return the answers that are due, at most about `Thresholds.wakes`.

        Without `examine` nobody is told of news: only requests whose deadlines have passed are answered.
        """
        for due in self._timers.pop_due(mono, self._most):
            self._timer_due(due, mono)
        for topic in list(islice(self._published, self._most)):
            if topic not in self._swept:
                del self._published[topic]
                self._swept.add(topic)
                self._sweeps.append((topic, iter(list(self._topics.get(topic, {}).values()))))
        steps = self._most if examine else 0
        while steps > 0 and len(self._wakes) < self._most and (self._ready or self._sweeps):
            steps -= 1
            if self._sweeps and (steps % 2 or not self._ready):
                self._sweep(mono)
            else:
                self._wake(self._dequeue(), mono)
        wakes, self._wakes = self._wakes, []
        return wakes

    def _sweep(self, mono: int) -> None:
        """Examine the next queue of the topic that has waited longest for it."""
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
        while queue.waiters and (pending is None or len(queue.open_wakes) < pending):
            if len(self._wakes) >= self._most:
                self._enqueue(queue)
                return
            if pending is not None:
                queue.open_wakes.append(mono + SILENCE_US)
                if len(queue.open_wakes) == 1:
                    self._timers.set(queue, mono + SILENCE_US)
            self._answer(queue.waiters[0], now=True)
        if queue.streams:
            self._wake_streams(queue, gone=pending is None)
        self._drop_empty(queue)

    def _wake_streams(self, queue: WaitQueue, gone: bool) -> None:
        reached = self._next_seq(queue.topic)
        while queue.streams and (gone or queue.news or queue.streams[0].seq < reached):
            if len(self._wakes) >= self._most:
                self._enqueue(queue)
                return
            self._answer(queue.streams[0], now=True)
        queue.news = False

    def _timer_due(self, due: Waiter | WaitQueue, mono: int) -> None:
        if isinstance(due, WaitQueue):
            while due.open_wakes and due.open_wakes[0] <= mono:
                due.open_wakes.popleft()
            if due.open_wakes:
                self._timers.set(due, due.open_wakes[0])
            self._enqueue(due)
        elif due.queue is not None:
            queue = due.queue
            self._answer(due, now=False)
            self._drop_empty(queue)

    def _answer(self, waiter: Waiter, now: bool) -> None:
        """Answer a waiter; the only place where one leaves."""
        assert waiter.queue is not None
        queue = waiter.queue
        parked = queue.streams if waiter.seq else queue.waiters
        del parked[bisect_left(parked, waiter.place, key=_PLACE)]
        waiter.queue = None
        if self._parked.get((waiter.peer_id, waiter.request_id)) is waiter:
            del self._parked[waiter.peer_id, waiter.request_id]
        self._timers.drop(waiter)
        self.count -= 1
        self._wakes.append(Wake(waiter.peer_id, waiter.request_id, waiter.ticket, now, queue.topic, queue.user))

    def _drop_empty(self, queue: WaitQueue) -> None:
        if queue.waiters or queue.streams or queue.open_wakes:
            return
        self._timers.drop(queue)
        self._forget(queue)

    def _forget(self, queue: WaitQueue) -> None:
        """Detach a queue, so that later requests are parked in a new one."""
        users = self._topics.get(queue.topic)
        if users is not None and users.get(queue.user) is queue:
            del users[queue.user]
            if not users:
                del self._topics[queue.topic]
