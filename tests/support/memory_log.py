"""A log in memory that several candidates share, and that misbehaves as a real one may, drawn from a seed.

It keeps the contract of `broker/replica/log.py` whatever is switched on in `Weather`. The switches in `Breach` break
it: an engine with such a defect is what the rules above the log must survive, or at least notice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from broker.replica.log import (
    Appended,
    Down,
    Entries,
    Event,
    Full,
    Inspected,
    Lost,
    Missing,
    Purged,
    Refused,
    Reported,
    StreamInfo,
    Unknown,
    Up,
)

AGAIN = 0.3
"""Seconds after which an unanswered read is sent again."""
READ_BYTES, READ_ENTRIES = 1 << 16, 16
"""Of one answer to a read."""
HELD_BYTES = 1 << 20
"""What is followed stops while a candidate has not taken this much."""


class Schedule(Protocol):
    """Virtual time; `tests.simulation.world.World` is one."""

    rng: Random
    now: float

    def after(self, seconds: float, work: Callable[[], object]) -> None: ...


@dataclass
class Weather:
    """How the network and the servers are at present. Shares are of 1, times in seconds."""

    latency: float = 0.002
    """At most, each way."""
    lost_request: float = 0.0
    lost_answer: float = 0.0
    straggling: float = 0.0
    """Share of appends that arrive much later, up to 5 s."""
    lag: float = 0.005
    """At most, of what is followed."""
    repeated: float = 0.0
    """Share of deliveries that come twice."""


@dataclass
class Breach:
    """Defects of an engine."""

    ignores_expected: bool = False
    doubles: float = 0.0
    """Share of appends that are executed again later, wherever the log stands then."""
    late_answers: bool = False
    """The result of an append comes even after `Unknown`."""


class SharedLog:
    """The servers."""

    def __init__(self, schedule: Schedule, max_bytes: int = 0) -> None:
        self.schedule = schedule
        self.max_bytes = max_bytes
        self.timeout = 1.0
        """Seconds after which an append is `Unknown`."""
        self.weather = Weather()
        self.breach = Breach()
        self.first = 1
        self.entries: list[bytes] = []
        """From `first` on."""
        self.bytes = 0
        self.away_until = 0.0
        """The servers elect a leader: nothing is answered, and some of what arrives is done afterwards."""
        self.accesses: list[MemoryLog] = []
        self.on_append: Callable[[int, bytes], object] = lambda position, data: None
        """Told of every entry, for tests."""

    @property
    def last(self) -> int:
        return self.first + len(self.entries) - 1

    def get(self, position: int) -> bytes:
        return self.entries[position - self.first]

    def commit(self, data: bytes, expected: int) -> Appended | Refused | Full:
        """Execute an append."""
        if expected != self.last and not self.breach.ignores_expected:
            return Refused(self.last)
        if self.max_bytes and self.bytes + len(data) > self.max_bytes:
            return Full()
        self._add(data)
        appended = Appended(self.last)
        if self.breach.doubles and self.schedule.rng.random() < self.breach.doubles:
            self.schedule.after(self.schedule.rng.uniform(0.0, 6.0), lambda: self._add(data))
        return appended

    def purge(self, before: int) -> int:
        """Forget entries below a position; return the first that is left."""
        count = max(0, min(before, self.last + 1) - self.first)
        self.bytes -= sum(map(len, self.entries[:count]))
        del self.entries[:count]
        self.first += count
        return self.first

    def lose(self, reason: str) -> None:
        """Tell every candidate that the log is gone."""
        for each in self.accesses:
            each.tell(Lost(reason))

    def replace(self, entries: list[bytes]) -> None:
        """Put other entries in the place of all."""
        self.first, self.entries, self.bytes = 1, list(entries), sum(map(len, entries))

    def arrive(self, work: Callable[[], object]) -> None:
        """Do the work when a request has arrived; while the servers are away, afterwards or never."""
        if self.schedule.now >= self.away_until:
            work()
        elif self.schedule.rng.random() < 0.5:
            self.schedule.after(self.away_until - self.schedule.now + 0.001, lambda: self.arrive(work))

    def _add(self, data: bytes) -> None:
        self.entries.append(data)
        self.bytes += len(data)
        self.on_append(self.last, data)
        for each in self.accesses:
            each.deliver_soon()


@dataclass
class _Append:
    """One append of an access."""

    open: bool = True
    """No result was told."""


class MemoryLog:
    """One candidate's access. Implements `broker.replica.log.Log`."""

    fileno = -1

    def __init__(self, shared: SharedLog, wake: Callable[[], object] = lambda: None) -> None:
        """`wake` is called when there are events."""
        self.shared = shared
        self._schedule, self._rng = shared.schedule, shared.schedule.rng
        self._wake = wake
        self._events: list[Event] = []
        self._held = 0
        self._append: _Append | None = None
        self._next = 0
        """The position that is delivered next; 0: nothing is followed."""
        self._coming = False
        self._reads = 0
        self.closed = False
        self.cut = False
        """There is no connection."""
        self.behind: int | None = None
        """Connected to a server that is cut off from the others, with entries up to this position."""
        shared.accesses.append(self)

    def append(self, data: bytes, expected: int) -> None:
        assert self._append is None or not self._append.open, "one append under way"
        weather, rng = self.shared.weather, self._rng
        append = self._append = _Append()
        self._schedule.after(self.shared.timeout, lambda: self._result(append, Unknown("no answer")))
        if self.cut:
            self._result(append, Unknown("not connected"))
        elif self.behind is not None:
            if expected != self.behind:
                self._result(append, Refused(self.behind))
        elif rng.random() >= weather.lost_request:
            late = rng.uniform(0.0, 5.0) if rng.random() < weather.straggling else self._latency()
            self._schedule.after(late, lambda: self.shared.arrive(lambda: self._execute(append, data, expected)))

    def follow(self, first: int) -> None:
        self._next = first
        self.deliver_soon()

    def unfollow(self) -> None:
        self._next = 0

    def read(self, position: int) -> None:
        self._reads += 1
        number = self._reads

        def attempt() -> None:
            if number == self._reads and not self.closed:
                self._schedule.after(AGAIN, attempt)
                self._ask(lambda: self._answer_read(number, position))

        attempt()

    def purge(self, before: int) -> None:
        self._ask(lambda: self._answer(Purged(self.shared.purge(before))))

    def report(self, data: bytes) -> None:
        for each in self.shared.accesses:
            if each is not self:
                self._ask(lambda each=each: each.tell(Reported(data)))

    def inspect(self) -> None:
        self._ask(lambda: self._answer(Inspected(self._info())))

    def events(self) -> list[Event]:
        events, self._events, self._held = self._events, [], 0
        self.deliver_soon()
        return events

    def close(self) -> None:
        self.closed = True
        self._events = []
        if self in self.shared.accesses:
            self.shared.accesses.remove(self)

    def cut_for(self, seconds: float) -> None:
        """Lose the connection for a while."""
        self.cut = True
        self.tell(Down("connection lost"))
        if self._append is not None:
            self._result(self._append, Unknown("connection lost"))
        self._schedule.after(seconds, self._connected)

    def fall_behind_for(self, seconds: float) -> None:
        """Be connected to a server that is cut off from the others for a while."""
        self.behind = max(self.shared.first, self.shared.last - self._rng.randint(0, 3))
        self._schedule.after(seconds, self._caught_up)

    def tell(self, event: Event) -> None:
        """Add an event, unless this access is closed."""
        if not self.closed:
            self._events.append(event)
            self._wake()

    def deliver_soon(self) -> None:
        """Deliver what is followed after some lag."""
        due = self._next and (self._next <= self.shared.last or self._next < self.shared.first)
        if due and not self._coming and not self.closed and self._held < HELD_BYTES:
            self._coming = True
            self._schedule.after(self._rng.uniform(0.0, self.shared.weather.lag), self._deliver)

    def _deliver(self) -> None:
        self._coming = False
        if not self._next or self.closed or self.cut or self.behind is not None:
            return
        if self._next < self.shared.first:
            self.tell(Missing(self._next, self.shared.first, self.shared.last))
            self._next = 0
            return
        found = self._from(self._next)
        if found:
            if self._rng.random() >= self.shared.weather.repeated:
                self._next = found[-1][0] + 1
            self._held += sum(len(data) for _, data in found)
            self.tell(Entries(found))
        self.deliver_soon()

    def _from(self, position: int) -> list[tuple[int, bytes]]:
        size, found = 0, []
        while position <= self.shared.last and size < READ_BYTES and len(found) < READ_ENTRIES:
            data = self.shared.get(position)
            found.append((position, data))
            size, position = size + len(data), position + 1
        return found

    def _execute(self, append: _Append, data: bytes, expected: int) -> None:
        result = self.shared.commit(data, expected)
        if self._rng.random() >= self.shared.weather.lost_answer and not self.cut:
            self._schedule.after(self._latency(), lambda: self._result(append, result))

    def _result(self, append: _Append, result: Event) -> None:
        if append.open or (self.shared.breach.late_answers and not isinstance(result, Unknown)):
            append.open = False
            self.tell(result)

    def _answer_read(self, number: int, position: int) -> None:
        first = self.shared.first
        last = self.shared.last if self.behind is None else self.behind
        if first <= position <= last:
            end = last - position + 1
            self._answer(Entries(self._from(position)[:end]), number)
        else:
            self._answer(Missing(position, first, last), number)

    def _ask(self, work: Callable[[], object]) -> None:
        """Send a request, which may get lost."""
        if not self.cut and self._rng.random() >= self.shared.weather.lost_request:
            self._schedule.after(self._latency(), work if self.behind is not None else lambda: self.shared.arrive(work))

    def _answer(self, event: Event, number: int = 0) -> None:
        """Answer a request; the answer may get lost."""
        if self.cut or self._rng.random() < self.shared.weather.lost_answer:
            return

        def answer() -> None:
            if number and number == self._reads:
                self._reads += 1  # not asked again
            self.tell(event)

        self._schedule.after(self._latency(), answer)

    def _info(self) -> StreamInfo:
        shared = self.shared
        return StreamInfo(shared.first, shared.last, shared.bytes, shared.max_bytes, replicas=3)

    def _latency(self) -> float:
        return self._rng.uniform(0.0, self.shared.weather.latency)

    def _connected(self) -> None:
        if self.cut:
            self.cut = False
            self.tell(Up())
            self.deliver_soon()

    def _caught_up(self) -> None:
        self.behind = None
        self.deliver_soon()
