"""The default store, which keeps nothing: all there is, is the state in the broker's memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from broker.errors import StoreError
from broker.records import Content, Record, StoreOpened
from broker.store.base import ANY_PIECE, UNLIMITED_BYTES, Backup, LostMessage
from common.clock import NEW, Mark


class MemoryStore:
    """Keeps nothing. `store_id` is new at every start, so that no id of an earlier process fits a new topic."""

    durable = fenced = False
    fileno: int | None = None
    synced_us: int | None = None
    stored_piece = ANY_PIECE
    lost: Sequence[LostMessage] = ()
    clock = NEW

    def __init__(self, store_id: str) -> None:
        self._store_id = store_id

    def load(self) -> Iterator[Record]:
        """Yield the record of an empty store."""
        yield StoreOpened(self._store_id, topics_begun=0)

    def begin(self, burst: Sequence[Record], clock: Mark, cuts: Sequence[int] = ()) -> None:
        """Do nothing."""

    def settled(self) -> bool:
        """Return True."""
        return True

    def read(self, piece: int) -> Content:
        """Raise `StoreError`: all contents are in the state."""
        raise StoreError("the memory store keeps no bodies")

    def writable_bytes(self) -> int:
        """Return a number that is never reached: memory has a limit of its own."""
        return UNLIMITED_BYTES

    def reclaim(self) -> bool:
        """Do nothing."""
        return False

    def backup(self, name: str) -> tuple[Path, Backup]:
        """Raise `StoreError`: there is no file to copy."""
        raise StoreError("the broker keeps messages in memory only, so there is nothing to copy")

    def close(self) -> None:
        """Do nothing."""
