"""A copy of the store, made in steps between the bursts, for who asks again and again how far it is."""

from __future__ import annotations

import re

from broker.store.base import Backup, Store, StoreError
from common import ops
from common.errors import FanmailError

_NAME = re.compile(r"backup-[0-9a-z]{1,64}\.db").fullmatch


class Backups:
    """Copies of one store, at most one at a time. A copy that fails harms nothing but itself."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = ""
        self._path = ""
        self._backup: Backup | None = None
        """The copy that is being made."""
        self._pages = (0, 0)
        self._failed = ""

    @property
    def busy(self) -> bool:
        """Whether there is something to do in every turn."""
        return self._backup is not None

    def ask(self, name: str) -> ops.BackupProgress:
        """Begins the copy with this name, or says how far it is. Raises `backup-failed`."""
        if not _NAME(name):
            raise FanmailError("backup-failed", "the name of a copy is backup-<letters and digits>.db")
        if name != self._name:
            if self._backup is not None:
                raise FanmailError("backup-failed", f"another copy is being made: {self._name}")
            self._begin(name)
        if self._failed:
            raise FanmailError("backup-failed", self._failed)
        return ops.BackupProgress(self._path, *self._pages, self._backup is None)

    def turn(self) -> None:
        """Copies some more."""
        if self._backup is None:
            return
        if self._store.room() < 0:
            self._fail("the disk is nearly full")
            return
        try:
            done = self._backup.step()
            self._pages = self._backup.pages
        except StoreError as error:
            self._fail(str(error))
            return
        if done:
            self._backup = None

    def cancel(self) -> None:
        """The broker stops: what is not whole is removed."""
        if self._backup is not None:
            self._fail("the broker is stopping")

    def _begin(self, name: str) -> None:
        self._name, self._failed, self._pages = name, "", (0, 0)
        if self._store.room() < 0:
            self._failed = "the disk is nearly full"
            return
        try:
            path, self._backup = self._store.backup(name)
        except StoreError as error:
            self._failed = str(error)
        else:
            self._path = str(path)

    def _fail(self, why: str) -> None:
        assert self._backup is not None
        self._failed = why
        self._backup.cancel()
        self._backup = None
