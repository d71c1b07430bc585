"""The layer under SQLite: page checksums, the time spent in syncs, and retries on a full disk.

SQLite has checksums on its write-ahead log (https://www.sqlite.org/fileformat2.html#walformat) but none on the file
itself. The last eight bytes of each page are reserved for one, as in SQLite's own checksum extension
(https://www.sqlite.org/cksumvfs.html); here it covers the number of the page too, so that a page in the wrong place is
noticed. A page is checked whenever it is read from the file, before SQLite uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw
from xxhash import xxh3_64_digest

PAGE_BYTES = 8192
CHECKSUM_BYTES = 8
_RESERVED_AT = 20
"""Offset in the header of the file of the number of bytes reserved at the end of each page. It is 0 in stores before
schema 3, which have no checksums.
"""
_HEADER_BYTES = 100


class DamagedPageError(apsw.CorruptError):
    """A page is not what was written. SQLite passes this error on to its caller."""


class StoreVfs(apsw.VFS):
    """The platform's layer under a name of its own, for one connection (https://www.sqlite.org/vfs.html).

    Each read and write passes through Python, which costs one to two microseconds.
    """

    def __init__(
        self,
        read_ns: Callable[[], int] = lambda: 0,
        make_room: Callable[[], bool] = lambda: False,
        source: StoreVfs | None = None,
        base: str = "",
    ) -> None:
        """`read_ns` reads a clock that only measures.

        `make_room` is called when the disk is full, and returns whether to try again. `source` is what a copy is made
        of: pages that are damaged there are damaged in the copy. `base` names the layer below, where it is not the
        default.
        """
        self.name = f"fanmail-{id(self)}"
        super().__init__(self.name, base)
        self.base = base
        self.read_ns = read_ns
        self.make_room = make_room
        self.damaged: set[int] = set()
        """Numbers of the pages that were found damaged and not rewritten since."""
        self.invalid: set[int] = source.damaged if source else set()
        """Pages that get no valid checksum when they are written."""
        self.allows_damage = False
        """Damaged pages are returned as they are. The reader checks the content, and writes nothing."""
        self.returned_damage = False
        """A damaged page was returned."""
        self.makes_table = False
        """The page behind the end of the file may be read, and is empty."""
        self._synced_ns = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Open the database or its log; called by SQLite."""
        return _File(self, name, flags)

    def add_sync(self, took_ns: int) -> None:
        """Count a sync that has taken `took_ns` nanoseconds."""
        self._synced_ns += took_ns

    def take_synced_us(self) -> int:
        """Return the microseconds spent in syncs since the last call."""
        spent, self._synced_ns = self._synced_ns, 0
        return spent // 1000


@contextmanager
def damage_allowed(db: apsw.Connection, vfs: StoreVfs) -> Iterator[None]:
    """Let damaged pages be read. None of them stays in SQLite's cache, from where it could be written."""
    vfs.allows_damage, vfs.returned_damage = True, False
    try:
        yield
    finally:
        vfs.allows_damage = False
        if vfs.returned_damage:
            db.release_memory()


@contextmanager
def table_made(vfs: StoreVfs) -> Iterator[None]:
    """Let SQLite make a table in a file that has others.

    It moves a page to the end of the file then, and reads what is there before: nothing.
    """
    vfs.makes_table = True
    try:
        yield
    finally:
        vfs.makes_table = False


def checksum(page: bytes | memoryview, number: int) -> bytes:
    """Return the checksum of a page's content; the number of the page counts from 1."""
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
        """Read and check a page, or a part of one: the header, or what overflows from a row.

        Raises `DamagedPageError`.
        """
        if not self._checked or offset + amount <= _HEADER_BYTES:
            return super().xRead(amount, offset)
        page = super().xRead(PAGE_BYTES, offset)
        if not page and self._vfs.makes_table:
            return page
        content = memoryview(page)[:-CHECKSUM_BYTES]
        number = offset // PAGE_BYTES + 1
        if len(page) != PAGE_BYTES or checksum(content, number) != page[-CHECKSUM_BYTES:]:
            self._vfs.damaged.add(number)
            self._vfs.returned_damage = True
            if not self._vfs.allows_damage:
                raise DamagedPageError(f"page {number} is damaged")
        return page if amount == PAGE_BYTES else page[:amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write a page with its checksum. Raises the platform's errors."""
        if self._checked and len(data) == PAGE_BYTES:
            content = memoryview(data)[:-CHECKSUM_BYTES]
            number = offset // PAGE_BYTES + 1
            found = checksum(content, number)
            if number in self._vfs.invalid:
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
        """Sync and take the time. Raises the platform's errors, which SQLite handles."""
        began = self._vfs.read_ns()
        super().xSync(flags)
        self._vfs.add_sync(self._vfs.read_ns() - began)
