"""A log that does what a test says, and entries of other candidates, for transcripts of `Candidate`."""

from __future__ import annotations

from broker.replica.entry import NO_CHAIN, Clocks, Entry, Fence, Genesis, Kind, Release, encode_entry, say
from broker.replica.log import Entries, Event
from broker.replica.reader import LogReader

LOG_ID = b"the log "
CLOCKS = Clocks(5_000_000, 1_700, 1_700)


class ScriptedLog:
    """Notes what it is asked, and says what it is given. Implements `broker.replica.log.Log`."""

    fileno = -1

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        """Calls since the last `take_asked`, each with its position."""
        self.data = b""
        """Of the last append."""
        self.says: list[Event] = []

    def take_asked(self) -> list[tuple[str, int]]:
        asked, self.asked = self.asked, []
        return asked

    def append(self, data: bytes, expected: int) -> None:
        self.data = data
        self.asked.append(("append", expected))

    def follow(self, first: int) -> None:
        self.asked.append(("follow", first))

    def unfollow(self) -> None:
        self.asked.append(("unfollow", 0))

    def read(self, position: int) -> None:
        self.asked.append(("read", position))

    def purge(self, before: int) -> None:
        self.asked.append(("purge", before))

    def report(self, data: bytes) -> None:
        """Nobody hears it."""

    def inspect(self) -> None:
        """Not answered."""

    def events(self) -> list[Event]:
        said, self.says = self.says, []
        return said

    def close(self) -> None:
        """There is nothing to close."""


class Writer:
    """Makes the entries of a log one after another."""

    def __init__(self, log_id: bytes = LOG_ID) -> None:
        self.log_id = log_id
        self.entries: list[bytes] = []
        self.reader = LogReader(log_id)
        self.genesis()

    def add(self, data: bytes) -> bytes:
        """Add an entry as it is."""
        self.reader.take(len(self.entries) + 1, data)
        self.entries.append(data)
        return data

    def made(self, kind: Kind, payload: bytes = b"", *, term: int = 0, number: int | None = None) -> bytes:
        """Return an entry that continues what was added, of the newest term and with the next number unless given."""
        at = self.reader.at
        number = at.number + 1 if number is None else number
        entry = Entry(0, kind, self.log_id, term or at.term, number, CLOCKS, NO_CHAIN, payload)
        return encode_entry(entry, at.chain)

    def genesis(self) -> bytes:
        return self.add(self.made(Kind.GENESIS, say(Genesis("fanmail", "b0", "0a0b0c0d", "b0")), number=0))

    def fence(self, candidate: str = "b0@h2", nonce: bytes = b"of another") -> bytes:
        at = self.reader.at
        return self.add(self.made(Kind.FENCE, say(Fence(candidate, nonce)), term=at.term + 1, number=at.number))

    def batch(self, payload: bytes = b"") -> bytes:
        return self.add(self.made(Kind.BATCH, payload))

    def release(self, to: str = "") -> bytes:
        return self.add(self.made(Kind.RELEASE, say(Release(to))))

    def from_(self, position: int) -> Entries:
        """What a log delivers from a position on."""
        return Entries(list(enumerate(self.entries, 1))[position - 1 :])
