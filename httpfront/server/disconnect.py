"""Whether the client of a connection has disconnected, and who wants to know."""

from __future__ import annotations

from collections.abc import Callable


class ClientDisconnect:
    """One connection. A client that has sent its last byte counts as disconnected."""

    __slots__ = ("_callback", "happened")

    def __init__(self) -> None:
        self.happened = False
        self._callback: Callable[[], None] | None = None

    def call(self, callback: Callable[[], None] | None) -> None:
        """Call this once when the client disconnects, now where it already has; None cancels."""
        self._callback = callback
        if self.happened:
            self.notify()

    def notify(self) -> None:
        """Record that the client has disconnected."""
        self.happened = True
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
