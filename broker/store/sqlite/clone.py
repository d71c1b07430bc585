"""Copies a store that no broker uses, as a store with an id of its own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import apsw

from broker.errors import UnusableStoreError
from broker.store.sqlite.errors import unusable_on_error
from broker.store.sqlite.files import remove_database, sync
from broker.store.sqlite.meta import LOG_FACTS, read_meta
from broker.store.sqlite.read_only import open_read_only
from broker.store.sqlite.slot_tables import EPOCHS, has_slot_tables
from broker.store.sqlite.tables import META
from broker.store.sqlite.vfs import CHECKSUM_BYTES, StoreVfs, damage_allowed

PAGES = 1024
"""Pages that are copied at a time."""


def clone_store(source: Path, target: Path, new_id: str, facts: Mapping[str, str | int] | None = None) -> None:
    """Copy a store as it is, and give the copy another id, from which the epochs of its topics follow.

    `facts` are set in the copy. Those in `LOG_FACTS` make it the state of a replicated log, at the position that they
    say; else it is of none. The store is of any schema, and what is in its log is copied too; it is not changed. The
    target is durable; a failed one is removed. Raises `UnusableStoreError` and `OSError`.
    """
    try:
        with open_read_only(source) as (db, vfs):
            _copy(db, vfs, target, {**(facts or {}), "store_id": new_id})
        sync(target)
    except (UnusableStoreError, OSError):
        remove_database(target)
        raise


def _copy(source: apsw.Connection, vfs: StoreVfs, target: Path, facts: Mapping[str, str | int]) -> None:
    layer = StoreVfs(source=vfs)
    checked = source.reserve_bytes() == CHECKSUM_BYTES
    with unusable_on_error(target), closing(apsw.Connection(str(target), vfs=layer.name if checked else None)) as copy:
        # What is damaged is copied as it is, and is damaged in the copy.
        with damage_allowed(source, vfs), copy.backup("main", source, "main") as backup:
            while not backup.step(PAGES):
                pass
        same_id = read_meta(copy)["store_id"] == facts["store_id"]
        with copy:
            copy.executemany(META.delete, [(name,) for name in LOG_FACTS])  # it does not follow that log any more
            copy.executemany(META.replace, list(facts.items()))
            if has_slot_tables(copy) and not same_id:  # message ids from now on have the new one, of these topics too
                copy.execute(f"DELETE FROM {EPOCHS.name}")
