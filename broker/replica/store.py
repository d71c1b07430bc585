"""The store of a broker on a replicated log: bursts go to the log, and what is settled to a local store.

The owner's state is ahead of the log by one burst at most, and the local store behind it by a tenth of a second or so.
A standby applies the entries of the owner to its own state and its own store.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from broker.errors import BrokenInvariantError, DamagedError, LeftOutError
from broker.records import Content, Record
from broker.replica.candidate import Candidate, Me, Role
from broker.replica.digest import digest_of
from broker.replica.duties import Duties
from broker.replica.entry import Genesis
from broker.replica.limits import ReplicaLimits
from broker.replica.local_state import LocalState
from broker.replica.log import Log
from broker.replica.parts import Part, parts_of
from broker.replica.space import Report, Space
from broker.replica.state_file import StateFile, mark_of, position_of
from broker.state.state import State
from broker.store.base import Backup, LostMessage
from common.clock import Mark

log = logging.getLogger("fanmail.broker")


class Identity(NamedTuple):
    """Who a candidate is, and what it sees of its machine."""

    genesis: Genesis
    """What the log must say of itself."""
    log_id: bytes
    name: str
    """As in `b0@h1`."""
    others: tuple[str, ...]
    """The names of the other candidates."""
    nonce: Callable[[], bytes]
    """Returns bytes that nobody has used before."""
    clock: Callable[[], float]
    """Seconds of CLOCK_BOOTTIME."""
    wall_ms: Callable[[], int]
    """Milliseconds since 1970 UTC by the system's clock."""


class ReplicaStore:
    """The store of one candidate, and its part in the log. Used by one thread.

    `turn` is called once per turn of the loop. Every method but `close` raises `DeposedError` or `ReplicaError` where
    this process must end; nothing that is not settled is answered then.
    """

    durable = fenced = True
    lost: Sequence[LostMessage] = ()
    """A candidate that has lost messages does not start."""

    def __init__(self, stream: Log, file: StateFile, who: Identity, limits: ReplicaLimits) -> None:
        """Follow the log from where the file stands. Raises `UnusableStoreError`."""
        now = who.clock()
        self._log = stream
        self._who = who
        self._limits = limits
        self._process = who.nonce()
        me = Me(who.name, who.log_id, who.nonce, who.clock, self._may_own)
        self.candidate = Candidate(stream, me, position_of(file.log_facts), limits.log)
        self.local = LocalState(file, limits)
        self.duties = Duties(stream, Space(who.others, now, limits.space), limits, now)
        self.fileno: int | None = stream.fileno
        self.synced_us: int | None = None
        self.owns = False
        """The loop was told that this candidate is the owner."""
        self.leaving = False
        """The process is about to end: it takes nothing over."""
        self._parts: deque[Part] = deque()
        """Of the burst that is begun; the first is under way."""
        self._at = self.candidate.position
        """Up to where everything was given to the local store."""
        self._mark = Mark(1, 0, "", 0)
        self._digest_at = now

    @property
    def clock(self) -> Mark:
        """Return where the clocks of the last owner stood, as far as this candidate knows."""
        return mark_of(self.candidate.position.clocks)

    @property
    def stored_piece(self) -> int:
        """Return the greatest number of a piece that is in the local store."""
        return self.local.file.stored_piece

    @property
    def name(self) -> str:
        """Return the name of this candidate."""
        return self._who.name

    @property
    def log_id(self) -> bytes:
        """Return the id of the log."""
        return self._who.log_id

    @property
    def silent_ms(self) -> int:
        """Return the milliseconds since a new entry was seen."""
        return max(0, int((self._who.clock() - self.candidate.heard_at) * 1000))

    def reports(self) -> list[Report]:
        """Return the last reports of the other candidates that are not away."""
        return self.duties.space.reports(self._who.clock())

    @property
    def heartbeat_due(self) -> bool:
        """Return whether the owner is to begin a burst, if only an empty one."""
        return self.candidate.heartbeat_due

    def attach(self, state: State, counters: Counter[str]) -> None:
        """Use the state and the counters of the broker; called before `load`."""
        self.local.state = state
        self.duties.counters = counters

    def load(self) -> Iterator[Record]:
        """Yield the records that rebuild the state where the local store stands."""
        yield from self.local.file.load()
        lost = self.local.file.lost
        if lost:
            raise LeftOutError(
                f"{len(lost)} messages of this candidate's store are damaged ({lost[0].id}: {lost[0].reason}): "
                "it begins anew from the other candidate"
            )

    def turn(self) -> bool:
        """Apply what others have appended and do what is due.

        Return whether this candidate has just become the owner: then `clock` is where the broker's clocks continue.
        """
        now = self._who.clock()
        self._look(now)
        if not self.owns:
            self.local.collect(now)
        self.duties.do_due(self._report(), now)
        if self.owns:
            self.duties.check_settings()
            self.duties.watch_copies(now)
            if now <= self.candidate.heard_at + self._limits.log.heartbeat_s:  # it owned the log a moment ago
                self.duties.purge(self.local.stored, now)
        elif self.candidate.full:
            self.duties.purge(self.local.stored, now, at_once=True)
        self._flush_if_due(now)
        became_owner = self.candidate.role is Role.OWNER and not self.owns
        self.owns |= became_owner
        return became_owner

    def wait_s(self) -> float:
        """Return the seconds until `turn` should be called again, even if the log has said nothing."""
        return min(self.candidate.wait_s, self.local.wait_s(self._who.clock()), self._limits.report_s)

    def begin(self, burst: Sequence[Record], clock: Mark, cuts: Sequence[int] = ()) -> None:
        """Append the burst, or its first part, to the log."""
        if self._parts or not self.owns:
            raise BrokenInvariantError("a burst of no owner, or behind one that is under way")
        self.synced_us = None
        state = self.local.state
        self._mark = clock._replace(shift=state.calendar.shift)
        now = self._who.clock()
        digest = digest_of(state) if now >= self._digest_at else None
        if digest:
            self._digest_at = now + self._limits.digest_s
        self._parts.extend(parts_of(burst, cuts, self._limits.entry_bytes, digest))
        self.candidate.append(self._parts[0].payload, self._mark)

    def free(self, records: list[Record]) -> None:
        """Take `PiecesFreed` that belong to no burst. Nothing is under way."""
        self.local.add(records, 0, self._who.clock())

    def settled(self) -> bool:
        """Return whether the burst is in the log, all of it."""
        now = self._who.clock()
        self._look(now)
        while self._parts and self.candidate.settled:
            part = self._parts.popleft()
            self.local.failed = True  # until what was added and its position fit
            self.local.add(list(part.records), len(part.payload), now)
            self._at = self.candidate.position
            self.local.failed = False
            self.duties.appended(len(part.payload))
            if self._parts:
                self.candidate.append(self._parts[0].payload, self._mark)
        if self.candidate.full:
            self.duties.purge(self.local.stored, now, at_once=True)
        self._flush_if_due(now)
        return self.candidate.settled

    def release(self, to: str, clock: Mark) -> None:
        """Begin to give the log to another candidate, "": to the one that has read most; `settled` ends it.

        Nothing is answered afterwards.
        """
        self.leaving = True
        mark = clock._replace(shift=self.local.state.calendar.shift)
        self.candidate.release(to or self.duties.space.successor(self._who.clock()), mark)

    def read(self, piece: int) -> Content:
        """Read the content of a piece from the local store.

        Raises `LeftOutError` for one that is damaged: the other candidate has it, and nobody must pass it here.
        """
        try:
            return self.local.file.read(piece)
        except DamagedError as error:
            raise LeftOutError(f"the store of this candidate is damaged ({error}): it begins anew") from error

    def writable_bytes(self) -> int:
        """Return what may be written to the disks of all candidates that follow; 0 while the log is nearly full."""
        mine = self.room()
        if not self.owns:
            return mine
        room = self.duties.space.room(mine, self._who.clock())
        return min(room, 0) if self.duties.space.refuses else room

    def room(self) -> int:
        """Return what may be written to the disk of this candidate."""
        return self.local.file.writable_bytes() - 2 * self.local.pending_bytes

    def reclaim(self) -> bool:
        """Free some space in the local store."""
        return self.local.file.reclaim()

    def backup(self, name: str) -> tuple[Any, Backup]:
        """Begin a copy of the local store, with what is settled now."""
        self.local.flush(self._at)
        return self.local.file.backup(name)

    def close(self) -> None:
        """Write what is settled, unless a write has failed, and release everything."""
        try:
            if not self.local.failed:
                self.local.flush(self._at)
        finally:
            self.local.file.close()
            self._log.close()

    def _look(self, now: float) -> None:
        for entry in self.candidate.turn():
            try:
                self.local.apply(entry, self._who.genesis, now)
            except BaseException:
                self.local.failed = True  # the file may have been given half of it
                raise
        if not self._parts:
            self._at = self.candidate.position
        if self.candidate.notices:
            self.duties.take(self.candidate.notices, now)

    def _flush_if_due(self, now: float) -> None:
        if self.local.flush_if_due(self._at, now):
            self.synced_us = self.local.file.synced_us

    def _report(self) -> Report:
        at = self.candidate.position.position
        return Report(self._who.name, self._process, at, self.local.stored, self.room())

    def _may_own(self) -> bool:
        """Return whether this candidate may take over; only a matter of who does, if several may."""
        info = self.duties.info
        at, silent_s = self.candidate.position, self._who.clock() - self.candidate.heard_at
        if self.leaving or info is None or info.problems or at.position < self.duties.space.known_position:
            return False
        clocks = at.clocks
        if not clocks.wall_ms or silent_s >= self._limits.patient_s:
            return True
        off_ms = self._who.wall_ms() - clocks.wall_ms - silent_s * 1000
        return abs(off_ms) <= self._limits.wall_ms
