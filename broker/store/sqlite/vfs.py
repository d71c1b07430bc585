"""The layer under SQLite: a checksum on every page of a store's file, a watch on how long it waits for its disk, and a
second try for writes that find the disk full.

SQLite has checksums on its write-ahead log (https://www.sqlite.org/fileformat2.html#walformat) but none on the file
itself. The last eight bytes of each page are reserved for one, as in SQLite's own checksum extension
(https://www.sqlite.org/cksumvfs.html); here it covers the page's number too, so that a page in the wrong place is
noticed. A page is checked whenever it is read from the file, before SQLite acts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw
from xxhash import xxh3_64_digest

PAGE_BYTES = 8192
CHECKSUM_BYTES = 8
_RESERVED_AT = 20
"""Offset in the header of the file of how many bytes at the end of each page are reserved; there are pages without
checksums where it is 0, which versions before schema 3 wrote.
"""
_HEADER_BYTES = 100


class DamagedPageError(apsw.CorruptError):
    """A page is not what was written. SQLite's caller sees this error as it is raised here."""


class StoreVfs(apsw.VFS):
    """The platform's layer under a name of its own (https://www.sqlite.org/vfs.html); belongs to one connection. Each
    read and write passes through Python, which costs one to two microseconds.
    """

    def __init__(
        self,
        read: Callable[[], int] = lambda: 0,
        make_room: Callable[[], bool] = lambda: False,
        source: StoreVfs | None = None,
        base: str = "",
    ) -> None:
        """`read` gives nanoseconds of a clock that only measures. `make_room` is called when the disk is full, and says
        whether it is worth trying again. `source` is what a copy is made of: its damaged pages are damaged in the copy,
        too. `base` names the layer below, where it is not the usual one.
        """
        self.name = f"fanmail-{id(self)}"
        super().__init__(self.name, base)
        self.base = base
        self.read = read
        self.make_room = make_room
        self.damaged: set[int] = set()
        """Numbers of the pages that were found damaged and not written anew."""
        self.spoilt: set[int] = source.damaged if source else set()
        """Pages that get no valid checksum when they are written."""
        self.trusting = False
        """Damaged pages are given out as they are. Who reads so checks the content, and writes nothing."""
        self.trusted = False
        """One was given out."""
        self._synced_ns = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Called by SQLite for the database and its log."""
        return _File(self, name, flags)

    def add_sync(self, took_ns: int) -> None:
        """A sync has taken so many nanoseconds."""
        self._synced_ns += took_ns

    def take_synced_us(self) -> int:
        """Microseconds spent in syncs since this was asked last."""
        spent, self._synced_ns = self._synced_ns, 0
        return spent // 1000


@contextmanager
def damage_allowed(db: apsw.Connection, vfs: StoreVfs) -> Iterator[None]:
    """Damaged pages can be read for a while. None of them stays in SQLite's cache, from where it could be written."""
    vfs.trusting, vfs.trusted = True, False
    try:
        yield
    finally:
        vfs.trusting = False
        if vfs.trusted:
            db.release_memory()


def checksum(page: bytes | memoryview, number: int) -> bytes:
    """Of the content of a page, whose number counts from 1."""
    return xxh3_64_digest(page, number)


class _File(apsw.VFSFile):
    def __init__(self, vfs: StoreVfs, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(vfs.base, name, flags)
        self._vfs = vfs
        self._checked = bool(flags[0] & apsw.SQLITE_OPEN_MAIN_DB)
        """Pages may have checksums: this is the file itself, not its log or journal."""
        if self._checked:
            reserved = super().xRead(1, _RESERVED_AT) if super().xFileSize() > _RESERVED_AT else b""
            self._checked = reserved in (b"", bytes([CHECKSUM_BYTES]))

    def xRead(self, amount: int, offset: int) -> bytes:
        """Raises `DamagedPageError`. SQLite also reads parts of pages: the header, and what overflows from a row."""
        if not self._checked or offset + amount <= _HEADER_BYTES:
            return super().xRead(amount, offset)
        page = super().xRead(PAGE_BYTES, offset)
        content = memoryview(page)[:-CHECKSUM_BYTES]
        number = offset // PAGE_BYTES + 1
        if len(page) != PAGE_BYTES or checksum(content, number) != page[-CHECKSUM_BYTES:]:
            self._vfs.damaged.add(number)
            self._vfs.trusted = True
            if not self._vfs.trusting:
                raise DamagedPageError(f"page {number} is damaged")
        return page if amount == PAGE_BYTES else page[:amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        """Raises what the platform's raises."""
        if self._checked and len(data) == PAGE_BYTES:
            content = memoryview(data)[:-CHECKSUM_BYTES]
            number = offset // PAGE_BYTES + 1
            found = checksum(content, number)
            if number in self._vfs.spoilt:
                found = bytes(each ^ 0xFF for each in found)
            self._vfs.damaged.discard(number)
            data = bytes(content) + found
        while True:
            try:
                return super().xWrite(data, offset)
            except apsw.FullError:
                if not self._vfs.make_room():
                    raise

    def xSync(self, flags: int) -> None:
        """Raises what the platform's raises; SQLite sees it as such."""
        began = self._vfs.read()
        super().xSync(flags)
        self._vfs.add_sync(self._vfs.read() - began)
