"""The going away of one client: whether it has happened, and who is to be told."""

from __future__ import annotations

from collections.abc import Callable


class Departure:
    """Of one connection. A client that has sent its last byte counts as gone."""

    __slots__ = ("_work", "happened")

    def __init__(self) -> None:
        self.happened = False
        self._work: Callable[[], None] | None = None

    def when(self, work: Callable[[], None] | None) -> None:
        """Does this, once, when the client goes, or now where it has gone; None: not any more."""
        self._work = work
        if self.happened:
            self.happens()

    def happens(self) -> None:
        """The client has gone."""
        self.happened = True
        work, self._work = self._work, None
        if work is not None:
            work()
