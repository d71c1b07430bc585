"""Parked requests: who waits for a message of which user. Waiting never takes.

A WAIT is answered "look now" or "nothing"; the front then sends an ordinary TAKE if its client is still there.
One message wakes one waiter of a user, the longest waiting first. A woken front that takes, or passes because its
client has gone, lets the next wake go out; so does a second of silence. Nothing here persists: a front whose
broker dies asks the next one.
"""

from __future__ import annotations

import itertools
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from broker.thresholds import DEFAULT, Thresholds
from broker.timers import Timers

SILENCE = 1_000_000
"""Microseconds after which a wake that was not followed by anything goes to the next waiter."""


@dataclass(slots=True, eq=False)
class Waiter:
    """One parked request. `deadline` in microseconds of the monotonic clock."""

    ticket: int
    """Its place: the smallest is served first."""
    peer_id: bytes
    request_id: int
    deadline: int
    mailbox: Mailbox | None = field(default=None, repr=False)
    """Where it is parked; None once it is answered."""


@dataclass(slots=True, eq=False)
class Mailbox:
    """The waiters of one user of one topic."""

    topic: bytes
    user: bytes
    waiters: list[Waiter] = field(default_factory=list)
    promises: deque[int] = field(default_factory=deque)
    """Wakes that nothing has followed yet: until when each is waited for, the oldest first."""
    queued: bool = False
    """It will be looked at."""


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
        self._topics: dict[bytes, dict[bytes, Mailbox]] = {}
        self._tickets = itertools.count(1)
        self._timers: Timers[Waiter | Mailbox] = Timers(thresholds)
        self._published: dict[bytes, None] = {}
        self._queue: deque[Mailbox] = deque()
        self._queued_of: Counter[bytes] = Counter()
        """Mailboxes in the queue by topic."""
        self._wakes: list[Wake] = []
        self.count = 0
        """Parked requests."""

    @property
    def busy(self) -> bool:
        """Whether there is work for the next turn already."""
        return bool(self._published or self._queue or self._wakes)

    def next_due(self) -> int | None:
        """When something is due, in microseconds of the monotonic clock."""
        return self._timers.next_due()

    def park(self, topic: bytes, user: bytes, waiter: Waiter) -> None:
        """Takes in a request; ticket 0 gets the next ticket. A message that waits already is told this turn."""
        waiter.ticket = waiter.ticket or next(self._tickets)
        users = self._topics.setdefault(topic, {})
        mailbox = users.get(user)
        if mailbox is None:
            mailbox = users[user] = Mailbox(topic, user)
        waiter.mailbox = mailbox
        insort(mailbox.waiters, waiter, key=attrgetter("ticket"))
        self.count += 1
        self._timers.set(waiter, waiter.deadline)
        self._enqueue(mailbox)

    def cancel(self, topic: bytes, user: bytes, peer_id: bytes, request_id: int) -> None:
        """A parked request is answered "nothing"; one that was woken already is of no concern."""
        mailbox = self._topics.get(topic, {}).get(user)
        if mailbox is not None:
            for waiter in mailbox.waiters:
                if waiter.request_id == request_id and waiter.peer_id == peer_id:
                    self._answer(waiter, now=False)
                    self._drop_empty(mailbox)
                    return

    def published(self, topic: bytes) -> None:
        """A message entered the topic: O(1), the waking is done in `turn`."""
        if topic in self._topics:
            self._published[topic] = None

    def available(self, topic: bytes, user: bytes) -> None:
        """A message of this user alone may be handed out again."""
        mailbox = self._topics.get(topic, {}).get(user)
        if mailbox is not None:
            self._enqueue(mailbox)

    def waits(self, topic: bytes, user: bytes) -> bool:
        """Whether a request of this user is parked."""
        mailbox = self._topics.get(topic, {}).get(user)
        return mailbox is not None and bool(mailbox.waiters)

    def followed(self, topic: bytes, user: bytes) -> None:
        """A wake of this user was followed by a take, or passed on."""
        mailbox = self._topics.get(topic, {}).get(user)
        if mailbox is not None:
            if mailbox.promises:
                mailbox.promises.popleft()
            self._enqueue(mailbox)

    def ended(self, topic: bytes, user: bytes) -> None:
        """The subscription is gone: all its waiters look, and find that out."""
        mailbox = self._topics.get(topic, {}).get(user)
        if mailbox is not None:
            mailbox.promises.clear()
            for waiter in list(mailbox.waiters):
                self._answer(waiter, now=True)
            self._drop_empty(mailbox)

    def end_all(self) -> None:
        """The broker drains: nobody waits any longer."""
        for mailbox in [each for users in self._topics.values() for each in users.values()]:
            for waiter in list(mailbox.waiters):
                self._answer(waiter, now=False)
            mailbox.promises.clear()
            self._drop_empty(mailbox)

    def turn(self, mono: int) -> list[Wake]:
        """The answers that are due, at most about `Thresholds.wakes`."""
        for due in self._timers.pop_due(mono):
            self._timer_due(due, mono)
        for topic in [each for each in self._published if not self._queued_of[each]]:
            del self._published[topic]
            for mailbox in self._topics.get(topic, {}).values():
                self._enqueue(mailbox)
        while self._queue and len(self._wakes) < self._most:
            self._wake(self._dequeue(), mono)
        wakes, self._wakes = self._wakes, []
        return wakes

    def _enqueue(self, mailbox: Mailbox) -> None:
        if not mailbox.queued:
            mailbox.queued = True
            self._queue.append(mailbox)
            self._queued_of[mailbox.topic] += 1

    def _dequeue(self) -> Mailbox:
        mailbox = self._queue.popleft()
        mailbox.queued = False
        self._queued_of[mailbox.topic] -= 1
        if not self._queued_of[mailbox.topic]:
            del self._queued_of[mailbox.topic]
        return mailbox

    def _wake(self, mailbox: Mailbox, mono: int) -> None:
        pending = self._pending(mailbox.topic, mailbox.user)
        if pending is None:
            self.ended(mailbox.topic, mailbox.user)
            return
        while mailbox.waiters and len(mailbox.promises) < pending:
            if len(self._wakes) >= self._most:
                self._enqueue(mailbox)
                return
            mailbox.promises.append(mono + SILENCE)
            if len(mailbox.promises) == 1:
                self._timers.set(mailbox, mono + SILENCE)
            self._answer(mailbox.waiters[0], now=True)
        self._drop_empty(mailbox)

    def _timer_due(self, due: Waiter | Mailbox, mono: int) -> None:
        if isinstance(due, Mailbox):
            while due.promises and due.promises[0] <= mono:
                due.promises.popleft()
            if due.promises:
                self._timers.set(due, due.promises[0])
            self._enqueue(due)
        elif due.mailbox is not None:
            mailbox = due.mailbox
            self._answer(due, now=False)
            self._drop_empty(mailbox)

    def _answer(self, waiter: Waiter, now: bool) -> None:
        """The one place where a waiter leaves."""
        assert waiter.mailbox is not None
        mailbox = waiter.mailbox
        mailbox.waiters.remove(waiter)
        waiter.mailbox = None
        self._timers.drop(waiter)
        self.count -= 1
        self._wakes.append(Wake(waiter.peer_id, waiter.request_id, waiter.ticket, now, mailbox.topic, mailbox.user))

    def _drop_empty(self, mailbox: Mailbox) -> None:
        if mailbox.waiters or mailbox.promises:
            return
        self._timers.drop(mailbox)
        users = self._topics.get(mailbox.topic)
        if users is not None and users.get(mailbox.user) is mailbox:
            del users[mailbox.user]
            if not users:
                del self._topics[mailbox.topic]
