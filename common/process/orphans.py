"""What process 1 of a container owes the others: to reap processes whose parents have ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Container

INIT = 1


def leave_orphans_to_the_kernel() -> None:
    """As process 1, make the kernel reap all children, for a process that starts none itself."""
    if os.getpid() == INIT:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def reap_orphans(own: Container[int]) -> None:
    """As process 1, reap children that have ended, other than `own`, which the caller awaits itself."""
    if os.getpid() != INIT:
        return
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, 0)
