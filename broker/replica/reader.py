"""Which entries of a log count: the rule that every candidate and every tool applies, entry by entry.

Compare-and-append keeps a deposed owner out only while it has one append under way and reads its answers in order. This
rule does not need that: an entry counts only in the newest term, with the next number, and over the right chain.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from broker.errors import ReplicaError
from broker.replica.entry import NO_CHAIN, Clocks, Entry, Fence, Kind, Release, decode_entry, follows, said

REMEMBERED = 64
"""Chains of the last entries that count, to compare doubles with."""


class Position(NamedTuple):
    """How far a log has been read, and what the next entry must continue. A store keeps it with what it has applied."""

    position: int = 0
    """Of the last entry seen, counting or not."""
    term: int = 0
    """Of the newest FENCE."""
    number: int = 0
    """Of the last entry that counts, as the next two."""
    chain: bytes = NO_CHAIN
    clocks: Clocks = Clocks()
    released: bool = False
    """The owner of this term has ended with RELEASE."""


START = Position()


class LogReader:
    """Reads one log from a position on, without a gap."""

    def __init__(self, log_id: bytes, resume: Position = START) -> None:
        """`resume` is where an earlier reader of the same log stood."""
        self._log_id = log_id
        self.at = resume
        self.owner = ""
        """The candidate of the newest FENCE; "" where none was read by this reader."""
        self.nonce = b""
        """Of that FENCE."""
        self.released_to = ""
        """Where `at.released`: the candidate that is to follow; "": any."""
        self._chains = deque([resume.chain], REMEMBERED)
        """Of the entries that count, the newest last."""

    def take(self, position: int, data: bytes) -> Entry | None:
        """Take the next entry; return it if it counts.

        Raises `ReplicaError` where this log, or this reader's part of it, is not what it must be. Nothing has changed
        then.
        """
        if position != self.at.position + 1:
            raise ReplicaError(f"the log continues at {position} behind {self.at.position}: entries are missing")
        entry = decode_entry(position, data)
        if entry.log_id != self._log_id:
            raise ReplicaError(f"entry {position} is of log {entry.log_id.hex()}, not {self._log_id.hex()}")
        if (position == 1) != (entry.kind is Kind.GENESIS):
            raise ReplicaError(f"entry {position} of the log is a {entry.kind.name}")
        if not self._counts(entry):
            self.at = self.at._replace(position=position)
            return None
        if not follows(data, self.at.chain):
            raise ReplicaError(f"entry {position} of the log continues other entries than this candidate has read")
        self._count(entry)
        return entry

    def _counts(self, entry: Entry) -> bool:
        at = self.at
        if entry.kind is Kind.GENESIS:
            return True
        if entry.kind is Kind.FENCE:
            return self._is_newer(entry)
        if entry.term < at.term:
            return False
        if entry.term > at.term:
            raise ReplicaError(f"entry {entry.position} is of term {entry.term}, whose FENCE is missing")
        if entry.number <= at.number:
            self._compare(entry)
            return False
        if at.released:
            return False
        if entry.number > at.number + 1:
            raise ReplicaError(f"entry {entry.position} has number {entry.number} behind {at.number}: one is missing")
        return True

    def _is_newer(self, entry: Entry) -> bool:
        if entry.term <= self.at.term:
            return False
        if entry.term > self.at.term + 1 or entry.number != self.at.number:
            raise ReplicaError(
                f"the FENCE at {entry.position} is of term {entry.term} behind number {entry.number}, and this"
                f" candidate has read up to term {self.at.term}, number {self.at.number}"
            )
        return True

    def _compare(self, entry: Entry) -> None:
        """Raise where an entry that does not count differs from the one with its number that does."""
        back = self.at.number - entry.number
        if back < len(self._chains) and self._chains[-1 - back] != entry.chain:
            raise ReplicaError(f"entry {entry.position} has number {entry.number} and is not what that number was")

    def _count(self, entry: Entry) -> None:
        what = said(entry) if entry.kind is not Kind.BATCH else None
        if isinstance(what, Fence):
            self.owner, self.nonce = what.candidate, what.nonce
            self._chains.clear()  # numbers of an earlier term are skipped by their term
        if isinstance(what, Release):
            self.released_to = what.to
        self._chains.append(entry.chain)
        released = entry.kind is Kind.RELEASE
        self.at = Position(entry.position, entry.term, entry.number, entry.chain, entry.clocks, released)
