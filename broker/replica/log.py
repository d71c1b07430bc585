"""The contract of a replicated log: a list of entries that grows by compare-and-append.

All rules about which entries count are above it (`reader.py`). An engine promises only these:

1. Positions begin with 1 and grow by one per entry, also across purges. An entry never changes.
2. An append succeeds only directly behind the position that it expects, and only where as many copies of the entry are
   on disks as the engine keeps for an acknowledgement. It happens once or never, possibly after `Unknown`.
3. What `Entries` shows is as durable as what is acknowledged: nothing that a crash or an election may still remove.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class StreamInfo(Struct, frozen=True):
    """What is known of the log."""

    first: int
    """Position of the oldest entry that is kept."""
    last: int
    """Position of the newest entry, 0 without any; never older than what was acknowledged before `inspect`, except
    from a server that is cut off from the others."""
    bytes: int
    max_bytes: int
    """0: unlimited."""
    replicas: int
    problems: tuple[str, ...] = ()
    """Settings of the server or the stream with which it must not be used, in words."""
    leader: str = ""
    placement: tuple[str, ...] = ()
    """Where the copies are."""
    unproven: tuple[str, ...] = ()
    """Those of which nobody has noted at the log that they sync before they acknowledge, as far as that matters."""


class Appended(Struct, frozen=True):
    """The append is durable at this position, which is one above the expected one."""

    position: int


class Refused(Struct, frozen=True):
    """The append was not done and never will be: the last position was another one."""

    last: int
    """0: unknown. From a server that is cut off it may be too small."""


class Full(Struct, frozen=True):
    """The append was not done and never will be: the log has no room."""


class Unknown(Struct, frozen=True):
    """The append was not answered in time, or the connection was lost. It may be done later, or never."""

    reason: str


class Entries(Struct, frozen=True):
    """Entries in order, without a gap: positions and bytes."""

    entries: list[tuple[int, bytes]]


class Missing(Struct, frozen=True):
    """There is no entry at the position that `read` asked for, or that `follow` was to begin with."""

    position: int
    first: int
    """Position of the oldest entry; above `position` where it was purged."""
    last: int
    """As in `StreamInfo`."""


class Purged(Struct, frozen=True):
    """Entries below `first` are forgotten."""

    first: int


class Reported(Struct, frozen=True):
    """Another candidate reports."""

    data: bytes


class Inspected(Struct, frozen=True):
    """The answer to `inspect`."""

    info: StreamInfo


class Lost(Struct, frozen=True):
    """The log is gone, is another one, or has fewer entries than it had. Nothing else comes from it."""

    reason: str


class Up(Struct, frozen=True):
    """There is a connection to the log."""


class Down(Struct, frozen=True):
    """There is none; it is established again without being asked."""

    reason: str


Event = Appended | Refused | Full | Unknown | Entries | Missing | Purged | Reported | Inspected | Lost | Up | Down
"""What has happened. After the `Unknown` of an append no other result of it comes."""


class Log(Protocol):
    """One candidate's access to one log. Used by one thread. No call blocks or raises; results are events."""

    fileno: int
    """Readable where `events` may return something; -1 where there is nothing to poll."""

    def append(self, data: bytes, expected: int) -> None:
        """Append an entry if the last position is `expected`: `Appended`, `Refused`, `Full` or `Unknown`.

        `Unknown` comes within about a second. Only one append may be under way.
        """
        ...

    def follow(self, first: int) -> None:
        """Deliver all entries from position `first` on as they are appended; replaces what was followed before.

        May lag, and may deliver again. `Missing` where the next one is purged; then nothing is followed any more.
        """
        ...

    def unfollow(self) -> None:
        """Deliver no further entries but those that are read; some may still come."""
        ...

    def read(self, position: int) -> None:
        """Read one entry, or some from it on: `Entries`, or `Missing` where it is purged or not there yet.

        Tried again inside until it is found, or a server that has all that is acknowledged says that it cannot be.
        Replaces a read that was not answered; its answer may still come.
        """
        ...

    def purge(self, before: int) -> None:
        """Forget entries below `before`: `Purged`, or nothing where it fails."""
        ...

    def report(self, data: bytes) -> None:
        """Tell the other candidates something small; it may get lost."""
        ...

    def inspect(self) -> None:
        """Ask for the present `StreamInfo`: `Inspected`, or nothing where it fails."""
        ...

    def events(self) -> list[Event]:
        """Return what has happened since the last call, in order.

        Holds a bounded number of bytes: what is followed stops until it is called.
        """
        ...

    def close(self) -> None:
        """Release connections and threads. May be called twice."""
        ...
