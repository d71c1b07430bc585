"""The contract of a store: a burst of records becomes one transaction, and comes back as state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from broker.records import Content, Record
from common.clock import Mark

UNLIMITED_BYTES = 2**62
"""Bytes that never run out."""


class LostMessage(NamedTuple):
    """A dead letter or delayed publish that could not be read when the store was loaded."""

    id: str
    """Of the message; of a delayed publish, its number."""
    messages: int
    reason: str


class Backup(Protocol):
    """A copy of a store that is being made, in steps, between the bursts."""

    @property
    def pages(self) -> tuple[int, int]:
        """How many parts are copied, and of how many."""
        ...

    def step(self) -> bool:
        """Copies some more; whether the copy is complete and durable. Raises `StoreError`: then it is of no use."""
        ...

    def cancel(self) -> None:
        """Ends it and removes what there is of the copy, a complete one too. Never raises."""
        ...


class Store(Protocol):
    """One broker's store. Called by one thread."""

    durable: bool
    """Whether what was committed can be read again: then bodies need not stay in memory."""

    clock: Mark
    """Where the broker's clocks go on."""

    synced: int
    """Microseconds that the last commit waited for the disk, where `durable`."""

    lost: Sequence[LostMessage]
    """What was found damaged by `load`, which left it out."""

    def load(self) -> Iterator[Record]:
        """The records that rebuild the live state, `StoreOpened` first. Called once, before any commit.

        Raises `UnusableStoreError` for a store that cannot be trusted.
        """
        ...

    def commit(self, burst: Sequence[Record], clock: Mark) -> None:
        """Keeps all of the records or, after a crash, none of them; on return they are as durable as this
        store makes them. Never called with none. `clock` is where the broker's clocks stand.
        Raises `StoreError`; afterwards only `close` may be called.
        """
        ...

    def read(self, piece: int) -> Content:
        """What a committed piece says, where `durable`. Raises `DamagedError` where that is not what was written, and
        `StoreError`.
        """
        ...

    def writable_bytes(self) -> int:
        """Bytes that may be written before publishing is to be refused; below 0 where it is too late."""
        ...

    def reclaim(self) -> bool:
        """Gives back some of the space that is not needed any more. Called several times a second; bounded. Whether
        there is much more to do, so that it is worth to be called soon again.
        """
        ...

    def backup(self, name: str) -> tuple[Path, Backup]:
        """Begins a copy and says where it will be: beside the store, under this name. Raises `StoreError`."""
        ...

    def close(self) -> None:
        """Lets go of files and locks. May be called twice."""
        ...
