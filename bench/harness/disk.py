"""A private directory on a real disk: syncing to a file system in memory costs nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness.processes import BenchError

IN_MEMORY = ("tmpfs", "ramfs")
"""File systems that keep files in memory only."""
GB = 1_000_000_000


@contextmanager
def data_folder(needed: int = 0) -> Iterator[Path]:
    """Create a private directory and remove it afterwards.

    It is in the temporary directory, or in /var/tmp or bench/out if that is in memory. Raises `BenchError` if none of
    them is on a disk, or if fewer than `needed` bytes are free.
    """
    places = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path(__file__).parents[1] / "out")
    on_disk = [each for each in places if each.is_dir() and _file_system(each) not in IN_MEMORY]
    if not on_disk:
        raise BenchError(f"none of {', '.join(map(str, places))} is on a disk; set TMPDIR")
    free = shutil.disk_usage(on_disk[0]).free
    if free < needed:
        raise BenchError(f"{on_disk[0]} has {free / GB:.1f} GB free, {needed / GB:.1f} GB are needed; set TMPDIR")
    folder = Path(tempfile.mkdtemp(prefix="fanmail-bench-data-", dir=on_disk[0]))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sqlite_flags(data: Path) -> tuple[str, ...]:
    """Return the flags of a broker that keeps its store in `data`."""
    return ("--store=sqlite", f"--data={data}")


def size_of(folder: Path) -> int:
    """Return the size in bytes of all files below a directory."""
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(directory) / name).stat().st_size
            except FileNotFoundError:  # a log file that was just removed
                continue
    return total


def evict_from_page_cache(path: Path) -> None:
    """Evict a file from the page cache, so that the next read comes from the disk (Linux)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _file_system(path: Path) -> str:
    """Return the type of the file system of a path, or "" if unknown."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    path = path.resolve()
    above = [(len(mount[1]), number, mount[2]) for number, mount in enumerate(mounts) if path.is_relative_to(mount[1])]
    return max(above)[2] if above else ""
