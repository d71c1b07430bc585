"""Every number at which the durable store takes another path, in one place. Tests set all of them to 3."""

from __future__ import annotations

from typing import NamedTuple

from common.clock import BEHIND_MS


class StoreThresholds(NamedTuple):
    """Of one store."""

    cached_bytes: int = 16 * 1024 * 1024
    """Contents that were read are kept, the newest up to this and one always: a batch is read in many parts."""
    deleted: int = 1000
    """Pieces that are deleted in one transaction, or twice as many as it writes: more would hold up the loop."""
    vacuumed_pages: int = 2048
    """Free pages that are given back to the file system at a time."""
    vacuum_above: int = 4096
    """Free pages that are not worth it: steady load uses them again."""
    scarce_bytes: int = 64 * 1024 * 1024
    """Room on the disk below which every free page is worth it: publishing may be refused for want of them."""
    clock_us: int = BEHIND_MS * 1000
    """How far the stored clock may be behind when something is written."""
    numbers: int = 10_000
    """Numbers of pieces that are reserved at a time; the rest is lost at a restart."""
    upgraded_rows: int = 2_000
    """Rows of an older store that are copied in one transaction."""
    copied_pages: int = 256
    """Pages that a backup copies between two bursts."""


DEFAULT = StoreThresholds()
