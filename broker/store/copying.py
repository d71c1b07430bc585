"""A copy of a SQLite store, made through the store's own connection while it is in use."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from broker.store.base import StoreError
from broker.store.files import sync


class SqliteBackup:
    """A copy that is being made. What the broker commits meanwhile goes into it, too
    (https://www.sqlite.org/c3ref/backup_finish.html): the source is written by the same connection.
    """

    STEP = 256
    """Pages at a time."""

    def __init__(self, source: apsw.Connection, target: Path) -> None:
        """Raises `StoreError` where the file is there already, or cannot be made."""
        self._target = target
        self._pages = (0, 0)
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            self._db = apsw.Connection(str(target))
            self._backup = self._db.backup("main", source, "main")
        except OSError as error:
            raise StoreError(f"{target}: {error.strerror}") from None
        except apsw.Error as error:
            raise StoreError(f"{target}: {error}") from None

    @property
    def pages(self) -> tuple[int, int]:
        """How many pages are copied, and of how many."""
        return self._pages

    def step(self) -> bool:
        """Copies some more; whether it is complete, and synced. Raises `StoreError`, and the copy is of no use then."""
        try:
            done: bool = self._backup.step(self.STEP)
            total = self._backup.page_count
            self._pages = (total - self._backup.remaining, total)
            if done:
                self._backup.finish()
                self._db.close()
                sync(self._target)
            return done
        except (apsw.Error, OSError) as error:
            raise StoreError(f"{self._target}: {error}") from None

    def cancel(self) -> None:
        """No copy is wanted any more."""
        self._backup.close(True)
        self._db.close()
        self._target.unlink(missing_ok=True)
