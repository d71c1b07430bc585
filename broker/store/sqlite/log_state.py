"""A SQLite store as the state of a replicated log: what is settled is collected, and written with its position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from broker.records import MessageStored, Record
from broker.store.base import Owner
from broker.store.sqlite.changes import RowChanges
from broker.store.sqlite.meta import LOG_FACTS, read_meta
from broker.store.sqlite.store import SqliteStore
from broker.store.sqlite.tables import MetaRow
from broker.store.sqlite.thresholds import DEFAULT, StoreThresholds
from common.clock import Mark

Facts = dict[str, str | int]
"""`LOG_FACTS` by name."""


class LogStateStore(SqliteStore):
    """The store of one candidate. Rows and position change in the same transaction, so it is never ahead or behind.

    Numbers that are assigned are written as they are, so that all candidates go on with the same.
    """

    def __init__(
        self,
        folder: Path,
        owner: Owner,
        store_id: str,
        reserve: int,
        log_id: str,
        read_ns: Callable[[], int] = lambda: 0,
        thresholds: StoreThresholds = DEFAULT,
    ) -> None:
        """`store_id` is that of the log. The others are as for `SqliteStore`."""
        start: Facts = {"log": log_id, "applied": 0, "last_delayed": 0}
        exact = thresholds._replace(numbers=0, clock_us=-1)
        super().__init__(folder, owner, store_id, reserve, read_ns, exact, start)
        self._collected = RowChanges(self._numbers, self._apart)
        meta = read_meta(self._db)
        self.store_id = str(meta["store_id"])
        self.log_facts: Facts = {name: value for name, value in meta.items() if name in LOG_FACTS}
        """Where the store stands."""
        self.stored_piece = 0
        self._newest_piece = 0

    def load(self) -> Iterator[Record]:
        """Yield the records that rebuild the state at the stored position."""
        yield from super().load()
        self._collected = RowChanges(self._numbers, self._apart)

    def add(self, burst: Sequence[Record]) -> None:
        """Collect records that are settled; `flush` writes them."""
        self._collected.add(burst)
        for each in burst:
            if type(each) is MessageStored:
                self._newest_piece = each.piece

    def flush(self, facts: Mapping[str, str | int], clock: Mark) -> None:
        """Write what was collected, which is all up to the position in `facts`, durably. Raises `StoreError`.

        `clock` is where the broker's clocks stood there.
        """
        changes, self._collected = self._collected, RowChanges(self._numbers, self._apart)
        self._store(changes, clock, [MetaRow(name, value) for name, value in facts.items()])
        self.log_facts.update(facts)
        self.stored_piece = self._newest_piece
