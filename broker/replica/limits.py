"""Every number of the store of a candidate at which it takes another path."""

from __future__ import annotations

from typing import NamedTuple

from broker.replica import space, thresholds


class ReplicaLimits(NamedTuple):
    """Seconds are of CLOCK_BOOTTIME."""

    entry_bytes: int
    """The largest payload of an entry."""
    flush_bytes: int = 4 * 1024 * 1024
    """Settled bytes that are not in the local store; it is written when there are more."""
    flush_s: float = 0.1
    """Or when they have waited for this long."""
    idle_flush_s: float = 5.0
    """The same where only the position has changed."""
    report_s: float = 5.0
    """Between two reports to the other candidates."""
    inspect_s: float = 10.0
    """Between two looks at the settings and the size of the log."""
    purge_s: float = 30.0
    """Between two purges."""
    urgent_s: float = 1.0
    """The same while the log has no room."""
    digest_s: float = 1.0
    """Between two digests."""
    collected: int = 1024
    """Pieces of garbage that a standby frees per turn."""
    wall_ms: int = 5000
    """A candidate whose system clock is off by more takes over only when no other does."""
    patient_s: float = 10.0
    """How long it leaves that to the others."""
    space: space.SpaceThresholds = space.DEFAULT
    log: thresholds.ReplicaThresholds = thresholds.DEFAULT
