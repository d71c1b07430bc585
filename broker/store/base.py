"""The contract of a store: a burst of records becomes one transaction, and `load` yields the state as records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from broker.records import Content, Record
from common.clock import Mark

UNLIMITED_BYTES = 2**62
"""More bytes than are ever written."""


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
    brokers: str = ""
    """The ids of all brokers of the cluster, between commas: topics are spread over them."""


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
    """Committed contents can be read again, so bodies need not stay in memory."""

    clock: Mark
    """The point from which the broker's clocks continue."""

    synced_us: int
    """How long the last commit waited for the disk, where `durable`."""

    lost: Sequence[LostMessage]
    """Damaged messages that `load` found and left out."""

    def load(self) -> Iterator[Record]:
        """Yield the records that rebuild the live state, `StoreOpened` first.

        Called once, before any commit. Raises `UnusableStoreError` for a store that cannot be trusted.
        """
        ...

    def commit(self, burst: Sequence[Record], clock: Mark) -> None:
        """Store a burst of records, at least one, atomically.

        After a crash all of them are there or none. On return they are as durable as this store makes them. `clock` is
        where the broker's clocks stand. Raises `StoreError`; afterwards only `close` may be called.
        """
        ...

    def read(self, piece: int) -> Content:
        """Read the content of a committed piece, where `durable`.

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
