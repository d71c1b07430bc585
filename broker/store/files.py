"""Files that must be there after a crash."""

from __future__ import annotations

import os
from pathlib import Path

FILE, LOCK = "store.db", "lock"
"""In the folder of one broker."""


def sync(path: Path) -> None:
    """The file and its entry in the directory are on the disk when this returns. Raises `OSError`."""
    for each, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(each, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
