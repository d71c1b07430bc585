"""File descriptors: limits, how many are free, and draining a pipe."""

from __future__ import annotations

import os
import resource


def raise_limit(wanted: int) -> int:
    """Raise the soft limit of open files to `wanted`, up to the hard limit. Returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def lower_limit(most: int) -> None:
    """Set the soft limit of open files to `most`, or to the hard limit if that is lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def free_descriptors() -> int:
    """Return how many more files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - (len(os.listdir("/proc/self/fd")) - 1)  # the listing itself uses one


def drain_fd(fd: int) -> None:
    """Read a non-blocking pipe until it is empty."""
    while True:
        try:
            if len(os.read(fd, 4096)) < 4096:
                return
        except BlockingIOError:
            return
