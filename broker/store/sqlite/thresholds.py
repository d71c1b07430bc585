"""Every number at which the durable store takes another path, in one place. Tests set all of them to 3."""

from __future__ import annotations

from typing import NamedTuple

from broker.store.sqlite.deletion_queue import GROUP
from common.clock import BEHIND_MS


class StoreThresholds(NamedTuple):
    """Of one store."""

    cached_bytes: int = 16 * 1024 * 1024
    """Contents in the cache."""
    group: int = GROUP
    """Consecutive numbers of pieces that are deleted together."""
    deleted_groups: int = 4
    """Groups that a commit deletes, more where it writes many pieces: it must not hold up the loop."""
    reclaimed_groups: int = 16
    """Groups that are deleted at a time between the bursts."""
    vacuumed_pages: int = 2048
    """Free pages that are returned to the file system at a time."""
    vacuum_above: int = 4096
    """Free pages up to which none are returned: steady load uses them again."""
    scarce_bytes: int = 64 * 1024 * 1024
    """Free bytes on the disk below which every free page is returned: publishing may be refused for want of them."""
    clock_us: int = BEHIND_MS * 1000
    """How far the stored clock may be behind when something is written."""
    numbers: int = 10_000
    """Numbers of pieces that are reserved at a time; the rest is lost at a restart."""
    upgraded_rows: int = 2_000
    """Rows of an older store that are copied per transaction."""
    copied_pages: int = 256
    """Pages that a backup copies between two bursts."""


DEFAULT = StoreThresholds()
