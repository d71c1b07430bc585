"""Open files: how many a process may have, and how many are left."""

from __future__ import annotations

import os
import resource


def raise_limit(wanted: int) -> int:
    """Raises the soft limit of open files to what is wanted, as far as the hard limit goes. Returns the limit then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def lower_limit(most: int) -> None:
    """Sets the number of files that this process may open to `most`, or to the hard limit where that is lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def free_descriptors() -> int:
    """How many more files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - (len(os.listdir("/proc/self/fd")) - 1)  # one is that of the listing


def drain_fd(fd: int) -> None:
    """Reads a non-blocking pipe empty."""
    while True:
        try:
            if len(os.read(fd, 4096)) < 4096:
                return
        except BlockingIOError:
            return
