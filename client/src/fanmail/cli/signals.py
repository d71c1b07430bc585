"""Ctrl-C and SIGTERM: they end the command where that leaves nothing locked.

A handler that raises does so between any two steps of the program. httpx's connection pool (httpcore 1.0) has a lock
that is taken and given back by Python code, so an exception between "taken" and "remembered" leaves it taken, and
whoever wants it next, such as the pool's own tidying up, waits for ever.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

LOCKS = "httpcore._synchronization"
"""The module of those locks."""
LATER = 0.002
"""Seconds."""

Act = Callable[[int], object]
Handler = Callable[[int, FrameType | None], None]


def careful(act: Act) -> Handler:
    """A signal handler that calls `act` with the signal: at once, or a moment later where a lock is being taken.

    It takes SIGALRM for that.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_globals.get("__name__") == LOCKS:
            signal.signal(signal.SIGALRM, lambda _, later: handle(number, later))
            signal.setitimer(signal.ITIMER_REAL, LATER)
        else:
            act(number)

    return handle


def interrupt(number: int) -> None:
    """Ends what is running, so that everybody on the way tidies up; the exit codes are those of shells."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def listen(act: Act = interrupt) -> None:
    """Handles SIGINT and SIGTERM, where they were not ignored, as in the background of a script."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, careful(act))
