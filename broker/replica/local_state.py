"""The state of a candidate and its local store: both change by what is settled, in the order of the log."""

from __future__ import annotations

from msgspec.structs import replace

from broker.errors import MisfitError, ReplicaError
from broker.records import PiecesFreed, Record
from broker.replica.batch import decode_batch
from broker.replica.digest import check_digest
from broker.replica.entry import Entry, Genesis, Kind, said
from broker.replica.limits import ReplicaLimits
from broker.replica.reader import Position
from broker.replica.state_file import StateFile, facts_of, mark_of
from broker.state.state import State


class LocalState:
    """Of one candidate. Times are seconds of the candidate's clock."""

    def __init__(self, file: StateFile, limits: ReplicaLimits) -> None:
        self.file = file
        self.state = State()
        """Set by the caller before anything is applied."""
        self._limits = limits
        self.pending_bytes = 0
        """What is settled and not in the file yet."""
        self._pending_since: float | None = None
        self._moved_since: float | None = None
        """Since when the position in the file is behind, and nothing else."""
        self.failed = False
        """A write has failed: nothing is known of the file."""

    @property
    def stored(self) -> int:
        """Return the position that is on disk."""
        return int(self.file.log_facts.get("applied", 0))

    def apply(self, entry: Entry, owner: Genesis, now: float) -> None:
        """Apply an entry of another candidate. Raises `ReplicaError` where it does not fit."""
        if entry.kind is Kind.GENESIS:
            found = said(entry)
            if not isinstance(found, Genesis) or replace(found, brokers=owner.brokers) != owner:
                raise ReplicaError(f"the log belongs to {found}, and this candidate to {owner}")
        if entry.kind is not Kind.BATCH:
            return
        batch = decode_batch(entry.payload)
        try:
            for record in batch.records:
                self.state.apply(record)
        except MisfitError as error:
            raise ReplicaError(f"entry {entry.position} does not fit the state of this candidate: {error}") from error
        self.state.garbage.collect(self._limits.collected)
        self.add([*batch.records, *self.state.garbage.take_freed()], len(entry.payload), now)
        if batch.digest:
            check_digest(self.state, batch.digest, entry.position)

    def collect(self, now: float) -> None:
        """Free some garbage."""
        self.state.garbage.collect(self._limits.collected)
        self.add(self.state.garbage.take_freed(), 0, now)

    def add(self, records: list[Record], size: int, now: float) -> None:
        """Give settled records to the file, in order."""
        if not records:
            return
        self.file.add(records)
        self.pending_bytes += size
        if self._pending_since is None and not all(type(each) is PiecesFreed for each in records):
            self._pending_since = now

    def flush_if_due(self, at: Position, now: float) -> bool:
        """Write what has waited for long enough; `at` is the position up to which everything was added."""
        if at.position != self.stored and self._moved_since is None:
            self._moved_since = now
        due = self.pending_bytes >= self._limits.flush_bytes
        due |= self._pending_since is not None and now >= self._pending_since + self._limits.flush_s
        due |= self._moved_since is not None and now >= self._moved_since + self._limits.idle_flush_s
        if due:
            self.flush(at)
        return due

    def flush(self, at: Position) -> None:
        """Write everything that was added. Raises `StoreError`; then the file must not be written again."""
        if at.position == self.stored and self._pending_since is None:
            return
        self.failed = True
        self.file.flush(facts_of(at), mark_of(at.clocks))
        self.failed = False
        self.pending_bytes = 0
        self._pending_since = self._moved_since = None
        self.state.bodies.shrink(self.file.stored_piece)

    def wait_s(self, now: float) -> float:
        """Return the seconds until something should be written."""
        limits = self._limits
        waits = [limits.idle_flush_s]
        if self._pending_since is not None:
            waits.append(self._pending_since + limits.flush_s - now)
        if self.state.garbage.any:
            waits.append(0.0)
        return max(0.0, min(waits))
