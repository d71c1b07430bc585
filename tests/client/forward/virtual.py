"""An event loop whose clock jumps to the next timer, so that hours of pauses take no time. It has no sockets."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from fanmail.forward.timing import Timing

T = TypeVar("T")
EPOCH_S = 1_700_000_000.0
"""The time since 1970 when the clock is 0."""


class _Selector(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everything waits for something that never happens"
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Counts its turns: a busy loop has many of them."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        self.turns = 0
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()  # type: ignore[misc]


def play(main: Coroutine[Any, Any, T]) -> tuple[T, VirtualLoop]:
    """Run a coroutine. Return its result and the loop."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main), loop


def virtual_timing(seed: int = 0) -> Timing:
    """Return the timing of the running loop."""
    loop = asyncio.get_running_loop()
    return Timing(loop.time, lambda: EPOCH_S + loop.time(), random.Random(seed).random, asyncio.sleep)
