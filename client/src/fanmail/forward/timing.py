"""The sources of time and chance of a forwarder, which tests replace."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """All of them; seconds."""

    clock: Callable[[], float]
    """Return the time of a monotonic clock."""
    wall: Callable[[], float]
    """Return the time since 1970."""
    random: Callable[[], float]
    """Return a uniformly distributed number from 0 to 1."""
    sleep: Callable[[float], Awaitable[object]]
    """Wait for this number of seconds."""


REAL_TIMING = Timing(time.monotonic, time.time, random.random, asyncio.sleep)


def jittered(seconds: float, chance: float) -> float:
    """Return between half and all of a delay, so that what failed together does not come back together."""
    return seconds * (0.5 + chance / 2)
