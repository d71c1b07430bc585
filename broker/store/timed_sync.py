"""How long a store's file waits for its disk: SQLite's own file system layer, with a watch beside `xSync`."""

from __future__ import annotations

from collections.abc import Callable

import apsw


class TimedSync(apsw.VFS):
    """The platform's layer under a name of its own (https://www.sqlite.org/vfs.html); belongs to one connection. Each
    write passes through Python, which costs a microsecond.
    """

    def __init__(self, read: Callable[[], int]) -> None:
        """`read` gives nanoseconds of a clock that only measures."""
        self.name = f"fanmail-{id(self)}"
        super().__init__(self.name, "")
        self.read = read
        self._spent = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Called by SQLite for the database and its log."""
        return _File(self, name, flags)

    def add(self, took: int) -> None:
        """A sync has taken so many nanoseconds."""
        self._spent += took

    def take(self) -> int:
        """Microseconds spent in syncs since this was asked last."""
        spent, self._spent = self._spent, 0
        return spent // 1000


class _File(apsw.VFSFile):
    def __init__(self, layer: TimedSync, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._layer = layer

    def xSync(self, flags: int) -> None:
        """Raises what the platform's raises; SQLite sees it as such."""
        began = self._layer.read()
        super().xSync(flags)
        self._layer.add(self._layer.read() - began)
