"""SIGINT and SIGTERM, which end the command at a point where no lock is taken.

A handler that raises does so between any two steps of the program. httpx's connection pool (httpcore 1.0) has a lock
that Python code takes and releases, so an exception between "taken" and "remembered" leaves it taken. Code that needs
it next, such as the pool's own clean-up, would wait endlessly.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

LOCK_MODULE = "httpcore._synchronization"
"""The module of those locks."""
RETRY_S = 0.002

Act = Callable[[int], object]
Handler = Callable[[int, FrameType | None], None]


def careful(act: Act) -> Handler:
    """Return a signal handler that calls `act` with the signal: at once, or slightly later while a lock is being taken.

    The handler uses SIGALRM for that.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_globals.get("__name__") == LOCK_MODULE:
            signal.signal(signal.SIGALRM, lambda _, later: handle(number, later))
            signal.setitimer(signal.ITIMER_REAL, RETRY_S)
        else:
            act(number)

    return handle


def interrupt(number: int) -> None:
    """Raise KeyboardInterrupt or SystemExit, so that all callers clean up. The exit codes are those of shells."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def listen(act: Act = interrupt) -> None:
    """Handle SIGINT and SIGTERM, unless they are ignored, as in the background of a script."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, careful(act))
