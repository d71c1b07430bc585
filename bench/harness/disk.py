"""A private folder on a real disk: what is synced into memory costs nothing and would say nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness.processes import BenchError

IN_MEMORY = ("tmpfs", "ramfs")
"""File systems whose files are in memory only."""
GB = 1_000_000_000


@contextmanager
def data_folder(needed: int = 0) -> Iterator[Path]:
    """A new folder for its owner only, removed afterwards: in the temporary directory, or where that is in memory in
    /var/tmp or bench/out. Raises `BenchError` where none is on a disk, or has less than `needed` bytes free.
    """
    places = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path(__file__).parents[1] / "out")
    on_disk = [each for each in places if each.is_dir() and _file_system(each) not in IN_MEMORY]
    if not on_disk:
        raise BenchError(f"there is no disk under {', '.join(map(str, places))}: name one with TMPDIR")
    free = shutil.disk_usage(on_disk[0]).free
    if free < needed:
        raise BenchError(
            f"{on_disk[0]} has {free / GB:.1f} GB free and this needs {needed / GB:.1f}: name another disk with TMPDIR"
        )
    folder = Path(tempfile.mkdtemp(prefix="fanmail-bench-data-", dir=on_disk[0]))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sqlite_flags(data: Path) -> tuple[str, ...]:
    """Of a broker that keeps its store there."""
    return ("--store=sqlite", f"--data={data}")


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder and below."""
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(directory) / name).stat().st_size
            except FileNotFoundError:  # a log that has just been removed
                continue
    return total


def out_of_memory(path: Path) -> None:
    """The system forgets what it holds of a file in memory: the next who reads it reads the disk (Linux)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _file_system(path: Path) -> str:
    """The kind of the file system that holds a path, "" where the system does not say."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    path = path.resolve()
    above = [(len(mount[1]), number, mount[2]) for number, mount in enumerate(mounts) if path.is_relative_to(mount[1])]
    return max(above)[2] if above else ""
