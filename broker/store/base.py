"""The contract of a store: a burst of records is begun and, once it is settled, durable; `load` yields the state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from broker.records import Content, Record
from common.clock import Mark

UNLIMITED_BYTES = 2**62
"""More bytes than are ever written."""
ANY_PIECE = 2**62
"""Greater than the number of any piece."""


class LostMessage(NamedTuple):
    """A dead letter or delayed publish that could not be read when the store was loaded."""

    id: str
    """The message's id, or the number of a delayed publish."""
    messages: int
    reason: str


class Owner(NamedTuple):
    """The broker that a store belongs to."""

    cluster: str
    broker: str


class Backup(Protocol):
    """A copy of a store that is being made, in steps between the bursts."""

    @property
    def pages(self) -> tuple[int, int]:
        """Return how many parts are copied, and of how many."""
        ...

    def step(self) -> bool:
        """Copy some more.

        Return whether the copy is complete and durable. Raises `StoreError`; then the copy is useless.
        """
        ...

    def cancel(self) -> None:
        """End the copy and remove its files, complete or not. Never raises."""
        ...


class Store(Protocol):
    """The store of one broker. Used by one thread."""

    durable: bool
    """Stored contents can be read again, so bodies need not stay in memory."""

    fenced: bool
    """Another process may take the place of this one unnoticed: a burst that executed a request is begun even where it
    has no records, because only the store can tell whether this broker still answers for its topics.
    """

    fileno: int | None
    """Readable when `settled` may return True; None where bursts are settled when `begin` returns."""

    synced_us: int | None
    """How long the last burst waited for the disk; None where bursts do not."""

    lost: Sequence[LostMessage]
    """Damaged messages that `load` found and left out."""

    @property
    def clock(self) -> Mark:
        """Return the point from which the broker's clocks continue."""
        ...

    def load(self) -> Iterator[Record]:
        """Yield the records that rebuild the live state, `StoreOpened` first.

        Called once, before any burst. Raises `UnusableStoreError` for a store that cannot be trusted.
        """
        ...

    def begin(self, burst: Sequence[Record], clock: Mark, cuts: Sequence[int] = ()) -> None:
        """Begin to store a burst of records; the previous one is settled. Only a `fenced` store is given an empty one.

        After a crash all of them are there or none; but a burst that is too large for the store may be cut after the
        first n records for each n in `cuts`, and then the parts are settled in order. `clock` is where the broker's
        clocks stand. Raises `StoreError`; afterwards only `close` may be called.
        """
        ...

    def settled(self) -> bool:
        """Return whether the burst that was begun is as durable as this store makes it. Never waits.

        Until then nobody is told of the burst. Raises `StoreError`; the burst may be stored or not then, and only
        `close` may be called.
        """
        ...

    @property
    def stored_piece(self) -> int:
        """Return the greatest number of a piece whose content `read` finds; `ANY_PIECE`: all that are settled."""
        ...

    def read(self, piece: int) -> Content:
        """Read the content of a piece up to `stored_piece`, where `durable`.

        Raises `DamagedError` where it is not what was written, and `StoreError`.
        """
        ...

    def writable_bytes(self) -> int:
        """Return how many bytes may be written before publishing is to be refused; below 0 where it is too late."""
        ...

    def reclaim(self) -> bool:
        """Free some space that is not needed any more; the work is bounded.

        Called several times per second. Return whether much is left, so that another call soon is worthwhile.
        """
        ...

    def backup(self, name: str) -> tuple[Path, Backup]:
        """Begin a copy. Return its path, which is beside the store, and the copy. Raises `StoreError`."""
        ...

    def close(self) -> None:
        """Release files and locks. May be called twice."""
        ...
