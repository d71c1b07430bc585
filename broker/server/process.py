"""What the loop gets from the process around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from common.clock import Mark
from common.cluster.slots import ClusterMap


class Process(NamedTuple):
    """What the process around the loop provides."""

    wake_fd: int
    """Becomes readable when a signal has arrived."""
    reload_map: Callable[[], ClusterMap | None]
    """Reads the cluster description again; None where it cannot be used."""
    look_around: Callable[[], object] = lambda: None
    """Called with the housekeeping; an exception that it raises ends `run`."""
    new_life: Callable[[Mark], int] = lambda mark: 0
    """Called when a standby takes over: makes the clock continue from a mark, and returns a new incarnation."""
