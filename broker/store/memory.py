"""The default store: the state in the broker's memory is all there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from broker.errors import StoreError
from broker.records import Content, Record, StoreOpened
from broker.store.base import UNLIMITED_BYTES, Backup, LostMessage
from common.clock import NEW, Mark


class MemoryStore:
    """Keeps nothing. `store_id` is made anew at every start, so that no id of an earlier life fits a new topic."""

    durable = False
    synced = 0
    lost: Sequence[LostMessage] = ()
    clock = NEW

    def __init__(self, store_id: str) -> None:
        self._store_id = store_id

    def load(self) -> Iterator[Record]:
        """An empty store."""
        yield StoreOpened(self._store_id, topics_begun=0)

    def commit(self, burst: Sequence[Record], clock: Mark) -> None:
        """Nothing to do."""

    def read(self, piece: int) -> Content:
        """There is nothing to read: all is in the state."""
        raise StoreError("the memory store keeps no bodies")

    def writable_bytes(self) -> int:
        """The memory has a ceiling of its own."""
        return UNLIMITED_BYTES

    def reclaim(self) -> bool:
        """Nothing to do."""
        return False

    def backup(self, name: str) -> tuple[Path, Backup]:
        """There is no file to copy."""
        raise StoreError("the broker keeps messages in memory only: there is nothing to copy")

    def close(self) -> None:
        """Nothing to do."""
