"""The loop of a front: one thread, one epoll, one greenlet per request being worked on.

A request that waits for a broker returns to the loop (`park`) and continues when its answer is there (`resume`).
Threads would need two switches through the kernel and the interpreter lock each time: measured on two cores, 3,900
requests per second against 10,100 (docs/architecture.md). Whatever blocks here blocks the whole front, so nothing may.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from greenlet import getcurrent, greenlet

log = logging.getLogger("fanmail.front")

MAX_IDLE = 256
"""Idle greenlets that are kept."""
TURN_S = 0.1
"""Longest wait of the loop, in seconds."""
UNHANDLED = "unhandled exception in the loop"


class Worker(greenlet):
    """A greenlet that works on one request after another."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub._serve)
        self.hub = hub


def yield_turn() -> None:
    """Park the current greenlet until the next turn, where a hub runs it. For long work."""
    hub = getattr(getcurrent(), "hub", None)
    if hub is not None:
        hub.yield_turn()


class Hub:
    """Belongs to the thread that calls `run`, except for `wake`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], object]] = {}
        self._spawned: deque[Callable[[], None]] = deque()
        self._waiting: deque[greenlet] = deque()
        """Greenlets to resume in the next turn."""
        self._resumed: deque[tuple[Any, object]] = deque()
        """Greenlets to resume at the end of the turn, with their values."""
        self._turns: list[Callable[[], None]] = []
        self._endings: list[Callable[[], None]] = []
        """What `end_turn_with` was given in this turn."""
        self._put_off: list[Callable[[], None]] = []
        """What `put_off` was given in this turn."""
        self._periodic: list[_Periodic] = []
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        """Heap of what `after` was given, with its times."""
        self._numbers = itertools.count()
        self._greenlet: greenlet | None = None
        self._idle: list[greenlet] = []
        """Greenlets without work."""
        self._starting: deque[Callable[[], None]] = deque()
        """What was spawned before this turn's events were handled, and starts now."""
        self._resuming: deque[tuple[Any, object]] = deque()
        """Greenlets that `resume_all` resumes now, with their values."""
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wake_fd, select.EPOLLIN, lambda _: _drain(self._wake_fd))

    def watch(self, fd: int, events: int, handler: Callable[[int], object]) -> None:
        """Call `handler(events)` when epoll reports the descriptor. An event may be stale."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Set the events of a watched descriptor."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor; events of this turn are dropped too."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def spawn(self, work: Callable[[], None]) -> None:
        """Run `work` in a greenlet of its own, later in this turn."""
        self._spawned.append(work)

    def park(self) -> Any:
        """Return to the loop, and return what `resume` is given. Only in a greenlet that `spawn` started."""
        hub = self._greenlet
        assert hub is not None
        assert getcurrent() is not hub, "parked outside of a request"
        if self._starting and self._idle:
            return self._idle.pop().switch(self._starting.popleft())
        return hub.switch()

    def resume(self, parked: Any, value: object) -> None:
        """Run a parked greenlet, or what stands for one, until it parks again or ends.

        At most once each time it parks.
        """
        parked.switch(value)

    def resume_all(self, parked: Iterable[tuple[Any, object]]) -> None:
        """Resume several with their values as `resume` does. One that ends switches to the next: half the switches."""
        resuming = self._resuming
        resuming.extend(parked)
        while resuming:
            each, value = resuming.popleft()
            each.switch(value)

    def yield_turn(self) -> None:
        """Park until the next turn. Only in a greenlet that `spawn` started."""
        self._waiting.append(getcurrent())
        self.park()

    def resume_later(self, parked: Any, value: object) -> None:
        """Resume at the end of this turn. For callers in a greenlet that does not park here."""
        self._resumed.append((parked, value))

    def each_turn(self, work: Callable[[], None]) -> None:
        """Call `work` after every turn's events, before the loop waits again."""
        self._turns.append(work)

    def end_turn_with(self, work: Callable[[], None]) -> None:
        """Call `work` once, after what `each_turn` was given."""
        self._endings.append(work)

    def put_off(self, work: Callable[[], None]) -> None:
        """Call `work` once, after what this turn has to send is sent. For much work of one client: others go first."""
        self._put_off.append(work)

    def every(self, seconds: float, work: Callable[[], None]) -> None:
        """Call `work` about every `seconds`, with a precision of `TURN_S`."""
        self._periodic.append(_Periodic(seconds, work))

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Call `work` once, `seconds` from now, with a precision of about a millisecond."""
        heapq.heappush(self._alarms, (time.monotonic() + seconds, next(self._numbers), work))

    def take_signals(self, handlers: dict[int, Callable[[], None]]) -> None:
        """Call a handler soon after its signal, from the loop."""
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in handlers:
            signal.signal(number, lambda *_: None)

        def received(_: int) -> None:
            for number in os.read(read_end, 4096):
                if number in handlers:
                    handlers[number]()

        self.watch(read_end, select.EPOLLIN, received)

    def wake(self) -> None:
        """End the present wait. Any thread may call this."""
        os.eventfd_write(self._wake_fd, 1)

    def run(self, until: Callable[[], bool]) -> None:
        """Run until `until()` is true. What a handler raises is logged, and the loop goes on."""
        self._greenlet = getcurrent()
        while not until():
            self._run_due()
            ready = [(fd, events, self._handlers[fd]) for fd, events in self._wait()]
            for fd, events, handler in ready:
                if self._handlers.get(fd) is handler:  # not closed and reused in this turn
                    try:
                        handler(events)
                    except Exception:
                        log.exception(UNHANDLED)
            self._run_spawned()
            self._run_waiting()
            while self._resumed:
                parked, value = self._resumed.popleft()
                _guarded(parked.switch, value)
            self._end_turn()
            if self._put_off:
                works, self._put_off = self._put_off, []
                for work in works:
                    _guarded(work)
                self._end_turn()

    def _end_turn(self) -> None:
        """Send what there is to send."""
        for work in self._turns:
            _guarded(work)
        endings, self._endings = self._endings, []
        for work in endings:
            _guarded(work)

    def close(self) -> None:
        """Close the descriptors of the loop."""
        self._epoll.close()
        os.close(self._wake_fd)

    def _wait(self) -> list[tuple[int, int]]:
        try:
            busy = self._spawned or self._waiting or self._resumed or self._endings or self._put_off
            return self._epoll.poll(0 if busy else self._longest_wait())
        except InterruptedError:
            return []

    def _longest_wait(self) -> float:
        return max(0.0, min(TURN_S, self._alarms[0][0] - time.monotonic())) if self._alarms else TURN_S

    def _run_spawned(self) -> None:
        # What these spawn runs in the next turn. One that parks switches to the next, if there is an idle greenlet.
        starting = self._starting
        starting += self._spawned
        self._spawned.clear()
        while starting:
            worker = self._idle.pop() if self._idle else Worker(self)
            worker.switch(starting.popleft())

    def _run_waiting(self) -> None:
        for _ in range(len(self._waiting)):  # those that yield again run in the next turn
            self._waiting.popleft().switch()

    def _serve(self, work: Callable[[], None]) -> None:
        """Work on one piece of work after another: starting a greenlet costs two system calls."""
        me = getcurrent()
        hub = me.parent
        assert hub is not None
        while True:
            try:
                work()
            except Exception:
                log.exception(UNHANDLED)
            me.gr_context = None
            if len(self._idle) >= MAX_IDLE:
                return
            self._idle.append(me)
            if self._resuming and type(self._resuming[0][0]) is Worker:
                parked, value = self._resuming.popleft()
                work = parked.switch(value)
            else:
                work = hub.switch()

    def _run_due(self) -> None:
        now = time.monotonic()
        for periodic in self._periodic:
            if periodic.due <= now:
                periodic.due = now + periodic.seconds
                _guarded(periodic.work)
        while self._alarms and self._alarms[0][0] <= now:
            _guarded(heapq.heappop(self._alarms)[2])


class _Periodic:
    """Work that is due at intervals."""

    def __init__(self, seconds: float, work: Callable[[], None]) -> None:
        self.seconds = seconds
        self.work = work
        self.due = 0.0


def _guarded(work: Callable[..., object], *arguments: object) -> None:
    try:
        work(*arguments)
    except Exception:
        log.exception(UNHANDLED)


def _drain(fd: int) -> None:
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        return
