"""Files that must be there after a crash."""

from __future__ import annotations

import os
from pathlib import Path

from broker.store.base import UnusableStoreError

FILE, LOCK, MARKER = "store.db", "lock", "damaged"
"""In the folder of one broker; the last is there where the store was found damaged when it was written."""


def leave_marker(store: Path, reason: str) -> None:
    """The store is not opened again before somebody has looked at it. Where this cannot be written, it is."""
    try:
        store.with_name(MARKER).write_text(f"{reason}\n", encoding="utf-8")
    except OSError:
        return


def check_marker(store: Path) -> None:
    """Raises `UnusableStoreError` for a store that was found damaged when it was written."""
    marker = store.with_name(MARKER)
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
