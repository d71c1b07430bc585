"""A copy of a SQLite store, made through the store's own connection while it is in use."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import apsw

from broker.errors import StoreError
from broker.store.sqlite.files import remove_database, sync
from broker.store.sqlite.vfs import StoreVfs, damage_allowed

PART = ".part"
"""Suffix of the names of incomplete copies."""
is_backup = re.compile(r"backup-[0-9a-z]{1,64}\.db").fullmatch
"""Matches the name of a copy."""


class SqliteBackup:
    """A copy that is being made.

    It includes what the broker commits meanwhile, because the same connection writes the source
    (https://www.sqlite.org/c3ref/backup_finish.html).
    """

    def __init__(self, source: apsw.Connection, vfs: StoreVfs, target: Path, step: int) -> None:
        """`vfs` is the layer under the source; `step` is how many pages are copied at a time.

        Raises `StoreError` where the copy cannot be made.
        """
        self._source = source
        self._source_vfs = vfs
        self._step = step
        self._layer = StoreVfs(source=vfs)
        self._target = target
        self._part = target.with_name(target.name + PART)
        self._pages = (0, 0)
        try:
            os.close(os.open(self._part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            self._db = apsw.Connection(str(self._part), vfs=self._layer.name)
            self._backup = self._db.backup("main", source, "main")
        except OSError as error:
            raise StoreError(f"{self._part}: {error.strerror}") from None
        except apsw.Error as error:
            remove_backup(target)
            raise StoreError(f"{self._part}: {error}") from None

    @property
    def pages(self) -> tuple[int, int]:
        """Return how many pages are copied, and of how many."""
        return self._pages

    def step(self) -> bool:
        """Copy some more.

        Return whether the copy is complete and synced. Raises `StoreError`; then the copy is useless.
        """
        try:
            # What is damaged is copied as it is, and is damaged in the copy: the rest of it can be restored.
            with damage_allowed(self._source, self._source_vfs):
                done: bool = self._backup.step(self._step)
            total = self._backup.page_count
            self._pages = (total - self._backup.remaining, total)
            if done:
                self._backup.finish()
                self._db.close()
                sync(self._part)
                self._part.replace(self._target)
                sync(self._target)
            return done
        except OSError as error:
            raise StoreError(f"{self._part}: {error.strerror}") from None
        except apsw.Error as error:
            raise StoreError(f"{self._part}: {type(error).__name__}: {error}") from None

    def cancel(self) -> None:
        """Remove the copy, complete or not. Never raises."""
        with suppress(apsw.Error):
            self._backup.close(True)
        with suppress(apsw.Error):
            self._db.close()
        remove_backup(self._target)


def remove_backups(folder: Path) -> None:
    """Remove copies that no client has fetched, and the remains of incomplete ones. Never raises."""
    with suppress(OSError):
        for name in {re.sub(r"(\.part)?(-wal|-shm|-journal)?$", "", each.name) for each in folder.iterdir()}:
            if is_backup(name):
                remove_backup(folder / name)


def remove_backup(copy: Path) -> None:
    """Remove one copy, complete or not. Never raises."""
    for each in (copy, copy.with_name(copy.name + PART)):
        with suppress(OSError):
            remove_database(each)
