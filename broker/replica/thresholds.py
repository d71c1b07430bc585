"""Every number of a replicated broker at which it takes another path; seconds are of CLOCK_BOOTTIME."""

from __future__ import annotations

from typing import NamedTuple


class ReplicaThresholds(NamedTuple):
    """None of them decides what is safe: only how soon something is done, and how much of it at once."""

    silence_s: float = 3.0
    """A candidate that has seen no new entry for this long takes over."""
    heartbeat_s: float = 1.0
    """An owner appends at least this often."""
    direct_read_s: float = 1.5
    """A candidate that was delivered no new entry for this long reads by itself."""
    probe_s: float = 0.5
    """Between two such reads while they find nothing."""
    answer_s: float = 1.0
    """A log that has not answered a read for this long is away."""
    grace_s: float = 1.0
    """A candidate waits this long after a log that was away answers again: its owner comes first."""
    retry_s: float = 0.1
    """An owner repeats an append of unknown outcome this often."""
    release_s: float = 1.0
    """An owner that releases a log without room tries for this long."""
    behind_s: float = 15.0
    """A log that says for this long that it has less than it had is lost; an election takes up to 10 s."""
    turn_entries: int = 1000
    """Entries that are applied per turn."""
    turn_bytes: int = 8 * 1024 * 1024
    """Their bytes, likewise; one entry is always taken."""


DEFAULT = ReplicaThresholds()
