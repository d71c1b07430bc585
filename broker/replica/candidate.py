"""The part of one process in a replicated log: it follows, takes over, owns, and is deposed.

The log is the only thing that candidates share. A candidate owns the log from its FENCE on, until a FENCE of a greater
term; both are compare-and-appends, so their order is that of the log, and whoever takes over has read everything before
its FENCE. An owner is told by its next append that it is none any more. No clock and no message between candidates
decides anything but when to try.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from broker.errors import BrokenInvariantError, DeposedError, LeftOutError, ReplicaError
from broker.replica import log as on
from broker.replica.appender import Appender, Result
from broker.replica.entry import NO_CHAIN, Clocks, Entry, Fence, Kind, Release, encode_entry, say
from broker.replica.log import Entries, Event, Log
from broker.replica.reader import LogReader, Position
from broker.replica.thresholds import DEFAULT, ReplicaThresholds
from broker.replica.watch import Watch
from common.clock import Mark


class Role(Enum):
    """Of a candidate."""

    FOLLOWING = "following"
    FENCING = "fencing"
    """Its FENCE is under way."""
    OWNER = "owner"
    ENDED = "ended"
    """It has released the log."""


class Me(NamedTuple):
    """Who a candidate is; `name` is unique in the cluster, as `b0@h1`."""

    name: str
    log_id: bytes
    nonce: Callable[[], bytes]
    """Returns bytes that nobody has used before."""
    clock: Callable[[], float]
    """Seconds since the boot of the machine, including suspensions (CLOCK_BOOTTIME)."""
    may_own: Callable[[], bool]
    """Asked before a take-over."""


class _Fence(NamedTuple):
    """A FENCE of this process; sent again as it is where the log has not changed since."""

    expected: int
    data: bytes
    nonce: bytes | None


class Candidate:
    """One candidate of one log. Used by one thread; nothing blocks.

    `turn` is to be called whenever the log has events, and after `wait_s`: an owner that does not call it any more
    loses the log to another candidate.
    """

    def __init__(self, log: Log, me: Me, resume: Position, thresholds: ReplicaThresholds = DEFAULT) -> None:
        """`resume` is where the store that belongs to this candidate stands."""
        self._log = log
        self._me = me
        self._thresholds = thresholds
        self._reader = LogReader(me.log_id, resume)
        self._watch = Watch(me.clock(), thresholds)
        self._appender = Appender(log, self._reader, self._watch, thresholds)
        self._pending: deque[Event | tuple[int, bytes]] = deque()
        """What the log has said and was not looked at yet, entries one by one."""
        self._fence = _Fence(0, b"", None)
        """The last one of this process."""
        self._end_seen = False
        """A read has found no entry behind the last one."""
        self._position = resume
        self._before_own: Position | None = None
        """Where an own entry was read that is not settled."""
        self.role = Role.FOLLOWING
        self.notices: list[Event] = []
        """For the caller, who empties it: all events but `Appended`, `Entries` and `Missing`."""
        log.follow(resume.position + 1)

    @property
    def position(self) -> Position:
        """Return where a state stands that has all that `turn` has returned, and the own entries that are settled."""
        return self._position

    @property
    def owner_name(self) -> str:
        """Return the candidate that owns the log, "" where that was not read."""
        return "" if self._reader.at.released else self._reader.owner

    @property
    def heard_at(self) -> float:
        """Return when the last new entry was seen."""
        return self._watch.heard_at

    @property
    def away(self) -> bool:
        """Return whether the log does not answer, or refuses what it must take."""
        return self._watch.away or self._appender.retry_at is not None

    @property
    def full(self) -> bool:
        """Return whether the log had no room for the last append."""
        return self._appender.full

    @property
    def settled(self) -> bool:
        """Return whether no own entry is under way: all that was appended counts."""
        return self._appender.kind is None

    @property
    def under_way_s(self) -> float:
        """Return for how long the present append has been under way, 0 without one."""
        return self._appender.under_way_s(self._me.clock())

    @property
    def heartbeat_due(self) -> bool:
        """Return whether the owner should append, if only an empty entry."""
        return self.role is Role.OWNER and self.settled and self.wait_s == 0.0

    @property
    def wait_s(self) -> float:
        """Return the seconds until `turn`, or a heartbeat, may be due without an event of the log."""
        now, retry_at = self._me.clock(), self._appender.retry_at
        if self._pending:
            return 0.0
        if not self.settled:
            return max(0.0, retry_at - now) if retry_at is not None else self._thresholds.retry_s
        if self.role is Role.OWNER:
            return max(0.0, self._watch.heard_at + self._thresholds.heartbeat_s - now)
        return self._watch.next_s(now, at_once=self._vacant and not self._end_seen)

    def append(self, payload: bytes, mark: Mark, kind: Kind = Kind.BATCH) -> None:
        """Begin to append an entry of the owner; `settled` says when it counts."""
        if self.role is not Role.OWNER:
            raise BrokenInvariantError("an append of no owner")
        at, clocks = self._reader.at, Clocks(mark.mono, mark.time, mark.time + mark.shift)
        data = self._encoded(kind, payload, at.term, at.number + 1, clocks)
        self._appender.send(kind, data, self._me.clock())

    def release(self, to: str, mark: Mark) -> None:
        """Begin to end the ownership; the candidate `to` takes over at once, or whichever is first for "".

        Nothing of this term is answered any more. `turn` raises `DeposedError` where it is not, or not surely, done.
        """
        self.append(say(Release(to)), mark, Kind.RELEASE)

    def turn(self) -> list[Entry]:
        """Take what the log has answered, do what is due, and return the entries of others that count, in order.

        Raises `ReplicaError`, `DeposedError`: the process must end and answer nothing that is not settled.
        """
        if not self._pending:
            for each in self._log.events():
                self._pending.extend(each.entries if isinstance(each, Entries) else (each,))
        taken: list[Entry] = []
        size = count = 0
        while self._pending and count < self._thresholds.turn_entries and size < self._thresholds.turn_bytes:
            event = self._pending.popleft()
            if isinstance(event, tuple):
                count, size = count + 1, size + len(event[1])
                self._take(*event, taken)
            else:
                self._handle(event, self._me.clock())
        if not self._pending:
            self._do_due(self._me.clock())
        self._position = self._before_own or self._reader.at
        return taken

    def _take(self, position: int, data: bytes, taken: list[Entry]) -> None:
        """Take an entry of the log unless it was taken before; note that of others in `taken` if it counts."""
        now = self._me.clock()
        if position <= self._reader.at.position:
            self._watch.answered(now)
            return
        before, entry = self._reader.at, self._reader.take(position, data)
        self._watch.heard(now)
        self._end_seen = False
        if entry is None:
            return
        if self._appender.saw(data):
            self._before_own = before if entry.kind is Kind.BATCH else None
        elif not self._is_mine:
            if self.role is Role.OWNER:
                raise DeposedError(f"{self._reader.owner} owns the log since entry {position}")
            taken.append(entry)
        elif entry.kind is Kind.FENCE:
            self._became_owner()  # it was given up and has landed after all
        else:
            raise ReplicaError(f"entry {position} of the log is of this owner's term and was written by another")

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, on.Lost):
            raise ReplicaError(event.reason)
        if isinstance(event, on.Appended | on.Refused | on.Missing):
            self._watch.answered(now)
        if not isinstance(event, on.Appended | on.Missing):
            self.notices.append(event)
        if isinstance(event, on.Missing):
            self._missing(event, now)
        elif isinstance(event, on.Down):
            self._watch.lost_sight()
        elif isinstance(event, on.Appended | on.Refused | on.Full | on.Unknown):
            self._answered(event, now)

    def _answered(self, event: Result, now: float) -> None:
        kind = self._appender.kind
        if self._appender.answered(event, now):
            self._settle(kind)
        elif kind is Kind.RELEASE:
            self._appender.check_release(event, now)
        elif kind is Kind.FENCE:
            self._not_fenced(event, now)

    def _settle(self, kind: Kind | None) -> None:
        self._before_own = None
        if kind is Kind.RELEASE:
            self.role = Role.ENDED
        elif kind is Kind.FENCE and self._is_mine:
            self._became_owner()
        elif kind is Kind.FENCE:
            self.role = Role.FOLLOWING  # another FENCE was read behind it

    def _not_fenced(self, event: Result, now: float) -> None:
        self.role = Role.FOLLOWING
        self._appender.give_up()
        if isinstance(event, on.Unknown):
            self._watch.lost_sight()
        else:
            self._watch.refused(now)
            self._end_seen = False
            self._log.read(self._reader.at.position + 1)

    def _became_owner(self) -> None:
        self.role = Role.OWNER
        self._log.unfollow()

    def _missing(self, event: on.Missing, now: float) -> None:
        """Take note that a read has found nothing."""
        next_position = self._reader.at.position + 1
        if event.first > next_position:
            raise LeftOutError(f"the log begins at {event.first}, and this candidate needs {next_position}: seed it")
        if event.first > event.position and self.role is not Role.OWNER:  # what is followed lags behind what was read
            self._log.follow(next_position)
        self._end_seen = not self._appender.is_behind(event.last, now) and event.position == next_position
        self._appender.nothing_there(now)

    @property
    def _is_mine(self) -> bool:
        """Return whether the newest FENCE is of this process."""
        return self._reader.nonce == self._fence.nonce

    @property
    def _vacant(self) -> bool:
        """Return whether the log has no owner, and is this candidate's to take."""
        at = self._reader.at
        released = at.released and self._reader.released_to in ("", self._me.name)
        return at.position == 1 or released

    def _do_due(self, now: float) -> None:
        kind = self._appender.kind
        if kind is not None and self._appender.repair(now):
            self._settle(kind)
        elif kind is None and self.role is Role.FOLLOWING:
            self._stand_by(now)

    def _stand_by(self, now: float) -> None:
        """Read where nothing is delivered; take over where nobody writes."""
        vacant, position = self._vacant, self._reader.at.position
        if self._watch.read_finds:
            self._watch.read_finds = False
            self._log.follow(position + 1)
            self._watch.asked(now)
            self._log.read(position + 1)
        elif self._watch.reads(now, at_once=vacant and not self._end_seen):
            self._log.read(position + 1)
        quiet = self._watch.may_take_over(now, vacant=vacant and self._end_seen)
        if quiet and position > 0 and self._me.may_own():
            self._begin_fence(now)

    def _begin_fence(self, now: float) -> None:
        at = self._reader.at
        if self._fence.nonce is None or self._fence.expected != at.position:
            nonce = self._me.nonce()
            data = self._encoded(Kind.FENCE, say(Fence(self._me.name, nonce)), at.term + 1, at.number, at.clocks)
            self._fence = _Fence(at.position, data, nonce)
        self.role = Role.FENCING
        self._appender.send(Kind.FENCE, self._fence.data, now)

    def _encoded(self, kind: Kind, payload: bytes, term: int, number: int, clocks: Clocks) -> bytes:
        entry = Entry(0, kind, self._me.log_id, term, number, clocks, NO_CHAIN, payload)
        return encode_entry(entry, self._reader.at.chain)
