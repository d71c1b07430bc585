"""A file system that forgets what was not synced, as a disk does at a power loss. Needs Linux, root and libfuse 2.

`python -m tests.support.forgetful_disk FOLDER MOUNTPOINT` serves what is in FOLDER. Data that is written, and the size
of a file, stay in this process until the file is synced; `Disk.forget` drops the rest. Names are durable at once: a
file that was renamed and never synced is there afterwards, and is empty.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import ROOT, Process, wait_for

SYNCED = os.O_SYNC | os.O_DSYNC
FORGET = "/.forget"
"""Whoever asks for the attributes of this file has everything forgotten."""


def need_fuse() -> None:
    """Skip a test where there cannot be such a file system."""
    try:
        import fuse  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"no file system in user space: {error}")
    if os.geteuid() or not Path("/dev/fuse").exists():
        pytest.skip("no file system in user space: needs root and /dev/fuse")


class Disk:
    """One such file system, by its process."""

    def __init__(self, folder: Path, mountpoint: Path) -> None:
        """Serve `folder` at `mountpoint`; both are made."""
        for each in (folder, mountpoint):
            each.mkdir(parents=True, exist_ok=True)
        self._folder, self._mountpoint = folder, mountpoint
        argv = [sys.executable, "-m", "tests.support.forgetful_disk", str(folder), str(mountpoint)]
        self._process = Process("disk", argv, folder.with_name(f"{folder.name}.log"), ROOT)
        wait_for(lambda: os.path.ismount(mountpoint) or not self._process.running, "the file system")
        assert self._process.running, self._process.about()

    def forget(self) -> int:
        """Lose what was not synced, which nobody has open; return how many bytes were lost."""
        before = len(self._lines())
        with suppress(FileNotFoundError):
            Path(f"{self._mountpoint}{FORGET}").stat()
        wait_for(lambda: len(self._lines()) > before, "the file system to forget")
        return int(self._lines()[-1].split()[1])

    def close(self) -> None:
        """End it; what was not synced is lost."""
        self._process.terminate()
        if os.path.ismount(self._mountpoint):
            subprocess.run(["umount", "--lazy", str(self._mountpoint)], check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _lines(self) -> list[str]:
        return [each for each in self._process.log().splitlines() if each.startswith("forgotten ")]


@dataclass
class _File:
    """What a file has, by those who read it, and what of that is not synced."""

    data: bytearray
    dirty: list[tuple[int, int]] = field(default_factory=list)
    """Begin and end of what was written."""
    least: int = 0
    """The smallest size since the last sync."""

    @property
    def unsynced(self) -> int:
        return sum(end - begin for begin, end in self.dirty)


def _sync(file: _File, handle: int) -> None:
    """Keep what a file has."""
    os.ftruncate(handle, file.least)
    for begin, end in file.dirty:
        os.pwrite(handle, file.data[begin:end], begin)
    os.ftruncate(handle, len(file.data))
    file.dirty.clear()
    file.least = len(file.data)


class ForgetfulDisk:
    """The operations, as `fuse.FUSE` calls them. Files are known by their inode."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[int, _File] = {}
        self.use_ns = False

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Do one operation; what there is not is refused."""
        if not hasattr(self, name):
            raise OSError(errno.ENOSYS, name)
        return getattr(self, name)(*arguments)

    def init(self, path: str) -> None: ...

    def destroy(self, path: str) -> None: ...

    def getattr(self, path: str, opened: Any = None) -> dict[str, Any]:
        if path == FORGET:
            self._forget()
        found = os.lstat(self._at(path)) if opened is None else os.fstat(opened.fh)
        names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_atime", "st_mtime", "st_ctime")
        values = {name: getattr(found, name) for name in names}
        if found.st_ino in self._files:
            values["st_size"] = len(self._files[found.st_ino].data)
        return values

    def readdir(self, path: str, opened: Any) -> list[str]:
        return [".", "..", *os.listdir(self._at(path))]

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._at(path))
        names = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize")
        return {name: getattr(found, name) for name in names}

    def mkdir(self, path: str, mode: int) -> None:
        Path(self._at(path)).mkdir(mode)

    def rmdir(self, path: str) -> None:
        Path(self._at(path)).rmdir()

    def unlink(self, path: str) -> None:
        found = os.lstat(self._at(path))
        Path(self._at(path)).unlink()
        self._gone(found)

    def rename(self, old: str, new: str) -> None:
        found = os.lstat(self._at(new)) if os.path.lexists(self._at(new)) else None
        Path(self._at(old)).rename(self._at(new))
        if found is not None:
            self._gone(found)

    def chmod(self, path: str, mode: int) -> None:
        Path(self._at(path)).chmod(mode)

    def chown(self, path: str, user: int, group: int) -> None:
        os.chown(self._at(path), user, group)

    def utimens(self, path: str, times: tuple[float, float] | None = None) -> None:
        os.utime(self._at(path), times)

    def access(self, path: str, mode: int) -> None: ...

    def opendir(self, path: str) -> int:
        return 0

    def releasedir(self, path: str, opened: Any) -> None: ...

    def fsyncdir(self, path: str, datasync: int, opened: Any) -> None: ...

    def open(self, path: str, opened: Any) -> int:
        opened.fh = os.open(self._at(path), os.O_RDWR)
        self._file(opened.fh)
        return 0

    def create(self, path: str, mode: int, opened: Any) -> int:
        opened.fh = os.open(self._at(path), os.O_RDWR | os.O_CREAT, mode)
        self._file(opened.fh)
        return 0

    def read(self, path: str, size: int, offset: int, opened: Any) -> bytes:
        return bytes(self._file(opened.fh).data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, opened: Any) -> int:
        file = self._file(opened.fh)
        self._grow(file, offset)
        file.data[offset : offset + len(data)] = data
        file.dirty.append((offset, offset + len(data)))
        if opened.flags & SYNCED:  # the kernel leaves that to us
            _sync(file, opened.fh)
        return len(data)

    def truncate(self, path: str, length: int, opened: Any = None) -> None:
        handle = os.open(self._at(path), os.O_RDWR) if opened is None else os.dup(opened.fh)
        try:
            file = self._file(handle)
            self._grow(file, length)
            del file.data[length:]
            file.least = min(file.least, length)
        finally:
            os.close(handle)

    def flush(self, path: str, opened: Any) -> None: ...

    def fsync(self, path: str, datasync: int, opened: Any) -> None:
        _sync(self._file(opened.fh), opened.fh)

    def release(self, path: str, opened: Any) -> None:
        os.close(opened.fh)

    def _gone(self, found: os.stat_result) -> None:
        """Let go of a file that has no name any more: its inode may become that of another one."""
        if found.st_nlink == 1:  # one that is open has got another name before, from libfuse
            self._files.pop(found.st_ino, None)

    def _at(self, path: str) -> str:
        return self._folder + path

    def _file(self, handle: int) -> _File:
        found = os.fstat(handle)
        if found.st_ino not in self._files:
            self._files[found.st_ino] = _File(bytearray(os.pread(handle, found.st_size, 0)), [], found.st_size)
        return self._files[found.st_ino]

    def _grow(self, file: _File, size: int) -> None:
        before = len(file.data)
        if size > before:
            file.data.extend(bytes(size - before))
            file.dirty.append((before, size))

    def _forget(self) -> None:
        lost = sum(file.unsynced for file in self._files.values())
        self._files.clear()
        print(f"forgotten {lost} bytes", file=sys.stderr, flush=True)


if __name__ == "__main__":
    from fuse import FUSE

    options = {"attr_timeout": 0, "entry_timeout": 0, "direct_io": True, "default_permissions": True}
    FUSE(ForgetfulDisk(sys.argv[1]), sys.argv[2], foreground=True, nothreads=True, raw_fi=True, **options)
