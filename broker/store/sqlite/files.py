"""The files in the folder of one broker, and those that must be there after a crash."""

from __future__ import annotations

import os
from pathlib import Path

from broker.errors import UnusableStoreError
from common.process.locks import HOLDER_BYTES

FILE, LOCK, DAMAGE_MARKER = "store.db", "lock", "damaged"
"""In the folder of one broker; the last exists where the store was found damaged when it was written."""
LEFT_OUT = "left-out"
"""There where the store is to be replaced by that of the owner of the replicated log: it can follow it no more."""
WAL, JOURNAL = "-wal", "-journal"
SUFFIXES = (WAL, "-shm", JOURNAL)
"""Suffixes of the files that SQLite keeps beside a database. It takes such a file for a part of the database, whoever
left it (https://www.sqlite.org/howtocorrupt.html#_mispairing_database_files_and_hot_journals_).
"""
_PREFIX = "store "


def write_damage_marker(store: Path, reason: str) -> None:
    """Prevent the store from being opened again before an operator has looked at it; does nothing on a full disk."""
    try:
        store.with_name(DAMAGE_MARKER).write_text(f"{reason}\n", encoding="utf-8")
    except OSError:
        return


def check_damage_marker(store: Path) -> None:
    """Raise `UnusableStoreError` for a store that was found damaged when it was written."""
    marker = store.with_name(DAMAGE_MARKER)
    try:
        reason = marker.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = str(error)
    raise UnusableStoreError(
        f"{store}: found damaged when it was written: {reason}; restore a copy, or remove {marker} to try again"
    )


def sync(path: Path) -> None:
    """Sync a file and its entry in the directory to the disk. Raises `OSError`."""
    for each, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(each, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def database_files(path: Path) -> list[Path]:
    """Return the database and the files that belong to it, as far as they exist."""
    return [each for each in (path, *(Path(f"{path}{end}") for end in SUFFIXES)) if os.path.lexists(each)]


def remove_database(path: Path) -> None:
    """Remove the database and the files that belong to it, those first. Raises `OSError`."""
    for each in reversed(database_files(path)):
        each.unlink(missing_ok=True)


def read_store_id(folder: Path) -> str:
    """Return the id of the store that was here, from the second line of the lock file; "" where there is none."""
    try:
        lines = (folder / LOCK).read_text("ascii", "replace").split("\n")
    except OSError:
        return ""
    named = len(lines) > 2 and len(lines[0]) == HOLDER_BYTES - 1 and lines[1].startswith(_PREFIX)
    return lines[1].removeprefix(_PREFIX) if named else ""


def write_store_id(folder: Path, store_id: str) -> None:
    """Write the id of the store that is here into the lock file, durably, unless it is there.

    It is one write: after a crash the old line is there or the new one. Raises `OSError`.
    """
    if read_store_id(folder) == store_id:
        return
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        holder = os.read(descriptor, HOLDER_BYTES).split(b"\n")[0].strip()
        line = holder.ljust(HOLDER_BYTES - 1) + f"\n{_PREFIX}{store_id}\n".encode()
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))
    finally:
        os.close(descriptor)
    sync(folder / LOCK)


def traces(path: Path) -> list[Path]:
    """Return the files that show that there was a store where the database is missing or empty.

    They are a log, and the lock file where it names a store; a first start that was killed leaves neither beside an
    empty file.
    """
    log = Path(f"{path}{WAL}")
    return [*([path.parent / LOCK] if read_store_id(path.parent) else []), *([log] if log.exists() else [])]


def describe_missing(path: Path) -> str:
    """Return the error text for a database that is missing or empty."""
    left = traces(path)
    if not left:
        return f"{path}: {'empty' if path.exists() else 'no such store'}"
    names = " and ".join(each.name for each in left)
    leftovers = " and ".join(map(str, [*left, *([path] if path.exists() else [])]))
    return (
        f"{path}: {'empty' if path.exists() else 'missing'}, but {names} beside it shows that there was a store: "
        f"restore a copy (bin/restore), or remove {leftovers} to start with an empty one"
    )
