"""SQLite's own file system layer, with a watch beside `xSync` and a second try for writes that find the disk full."""

from __future__ import annotations

from collections.abc import Callable

import apsw


class TimedSync(apsw.VFS):
    """The platform's layer under a name of its own (https://www.sqlite.org/vfs.html); belongs to one connection. Each
    write passes through Python, which costs a microsecond.
    """

    def __init__(self, read: Callable[[], int], make_room: Callable[[], bool] = lambda: False) -> None:
        """`read` gives nanoseconds of a clock that only measures; `make_room` is called when the disk is full, and says
        whether it is worth trying again.
        """
        self.name = f"fanmail-{id(self)}"
        super().__init__(self.name, "")
        self.read = read
        self.make_room = make_room
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

    def xWrite(self, data: bytes, offset: int) -> None:
        """Likewise."""
        while True:
            try:
                return super().xWrite(data, offset)
            except apsw.FullError:
                if not self._layer.make_room():
                    raise
