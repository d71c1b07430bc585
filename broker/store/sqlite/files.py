"""The files in the folder of one broker, and those that must be there after a crash."""

from __future__ import annotations

import os
from pathlib import Path

from broker.errors import UnusableStoreError
from common.process.locks import HOLDER_BYTES

FILE, LOCK, DAMAGE_MARKER = "store.db", "lock", "damaged"
"""In the folder of one broker; the last is there where the store was found damaged when it was written."""
WAL, JOURNAL = "-wal", "-journal"
SUFFIXES = (WAL, "-shm", JOURNAL)
"""What SQLite keeps beside a database, after its name. It takes what is there for a part of the database, whoever left
it (https://www.sqlite.org/howtocorrupt.html#_mispairing_database_files_and_hot_journals_)."""
_MARK = "store "


def write_damage_marker(store: Path, reason: str) -> None:
    """The store is not opened again before somebody has looked at it. Where this cannot be written, it is."""
    try:
        store.with_name(DAMAGE_MARKER).write_text(f"{reason}\n", encoding="utf-8")
    except OSError:
        return


def check_damage_marker(store: Path) -> None:
    """Raises `UnusableStoreError` for a store that was found damaged when it was written."""
    marker = store.with_name(DAMAGE_MARKER)
    try:
        reason = marker.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = str(error)
    raise UnusableStoreError(
        f"{store}: damaged, found when it was written: {reason}; restore a copy, or remove {marker} to try again"
    )


def sync(path: Path) -> None:
    """The file and its entry in the directory are on the disk when this returns. Raises `OSError`."""
    for each, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(each, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def database_files(path: Path) -> list[Path]:
    """The database and what may be beside it, as far as it exists."""
    return [each for each in (path, *(Path(f"{path}{end}") for end in SUFFIXES)) if os.path.lexists(each)]


def remove_database(path: Path) -> None:
    """Removes the database and what is beside it; what belongs to it goes first. Raises `OSError`."""
    for each in reversed(database_files(path)):
        each.unlink(missing_ok=True)


def read_store_id(folder: Path) -> str:
    """The id of the store that was here, from the second line of the lock file; "" where none is named."""
    try:
        lines = (folder / LOCK).read_text("ascii", "replace").split("\n")
    except OSError:
        return ""
    named = len(lines) > 2 and len(lines[0]) == HOLDER_BYTES - 1 and lines[1].startswith(_MARK)
    return lines[1].removeprefix(_MARK) if named else ""


def write_store_id(folder: Path, store_id: str) -> None:
    """Writes the id of the store that is here into the lock file, durably, in one write: after a crash the old line is
    there or the new one. Does nothing where it is there already. Raises `OSError`.
    """
    if read_store_id(folder) == store_id:
        return
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        holder = os.read(descriptor, HOLDER_BYTES).split(b"\n")[0].strip()
        line = holder.ljust(HOLDER_BYTES - 1) + f"\n{_MARK}{store_id}\n".encode()
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))
    finally:
        os.close(descriptor)
    sync(folder / LOCK)


def traces(path: Path) -> list[Path]:
    """What says that there was a store where the file is missing, or has nothing in it: a log, the store's id in the
    lock file. A first start that was killed leaves neither beside an empty file.
    """
    log = Path(f"{path}{WAL}")
    return [*([path.parent / LOCK] if read_store_id(path.parent) else []), *([log] if log.exists() else [])]


def describe_missing(path: Path) -> str:
    """What to say of a file that is missing, or has nothing in it."""
    left = traces(path)
    if not left:
        return f"{path}: there is {'nothing in it' if path.exists() else 'no store'}"
    names = " and ".join(each.name for each in left)
    begin_anew = " and ".join(map(str, [*left, *([path] if path.exists() else [])]))
    return (
        f"{path}: is {'empty' if path.exists() else 'missing'}, but {names} beside it shows that there was a store: "
        f"restore a copy (bin/restore), or remove {begin_anew} to begin with an empty one"
    )
