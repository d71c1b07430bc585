"""A store that no broker uses just now becomes another one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from broker.errors import UnusableStoreError
from broker.store.sqlite.files import remove_database, sync
from broker.store.sqlite.read_only import open_read_only
from broker.store.sqlite.vfs import CHECKSUM_BYTES, StoreVfs, damage_allowed

PAGES = 1024
"""That are copied at a time."""


def clone_store(source: Path, target: Path, new_id: str) -> None:
    """Copies a store as it is, of whatever schema and with what is in its log, and gives the copy another id, from
    which the epochs of its topics follow. The source is not changed; the target is durable, and nothing is left of one
    that failed. Raises `UnusableStoreError` and `OSError`.
    """
    try:
        with open_read_only(source) as (db, vfs):
            _copy(db, vfs, target, new_id)
        sync(target)
    except (UnusableStoreError, OSError):
        remove_database(target)
        raise


def _copy(source: apsw.Connection, vfs: StoreVfs, target: Path, new_id: str) -> None:
    layer = StoreVfs(source=vfs)
    checked = source.reserve_bytes() == CHECKSUM_BYTES
    try:
        with closing(apsw.Connection(str(target), vfs=layer.name if checked else None)) as copy:
            # What is damaged is copied as it is, and is damaged in the copy.
            with damage_allowed(source, vfs), copy.backup("main", source, "main") as backup:
                while not backup.step(PAGES):
                    pass
            copy.execute("UPDATE meta SET value = ? WHERE name = 'store_id'", (new_id,))
    except apsw.FullError:
        raise UnusableStoreError(f"{target}: the disk is full") from None
    except apsw.Error as error:
        raise UnusableStoreError(f"{target}: {error}") from None
