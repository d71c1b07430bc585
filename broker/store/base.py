"""The contract of a store: a burst of records becomes one transaction, and comes back as state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from broker.records import Record


class StoreError(Exception):
    """The store cannot go on: the broker answers nobody, exits with this text and starts from what is stored."""


class Store(Protocol):
    """One broker's store. Called by one thread."""

    def load(self) -> Iterator[Record]:
        """The records that rebuild the live state, `StoreOpened` first. Called once, before any commit.

        Raises `StoreError` for a store that cannot be trusted.
        """
        ...

    def commit(self, records: Sequence[Record]) -> None:
        """Keeps all of the records or, after a crash, none of them; on return they are as durable as this
        store makes them. Never called with none. Raises `StoreError`; afterwards only `close` may be called.
        """
        ...

    def close(self) -> None:
        """Lets go of files and locks. May be called twice."""
        ...
