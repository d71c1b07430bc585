"""The default store: the state in the broker's memory is all there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from broker.records import Record, StoreOpened


class MemoryStore:
    """Keeps nothing. `store_id` is made anew at every start, so that no id of an earlier life fits a new topic."""

    def __init__(self, store_id: str) -> None:
        self._store_id = store_id

    def load(self) -> Iterator[Record]:
        """An empty store."""
        yield StoreOpened(self._store_id, topics_begun=0)

    def commit(self, records: Sequence[Record]) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""
