"""Whether a slow client keeps up: how much it moves in a window of time.

For an answer this is what the client's side has taken. What the kernel takes from us does not show it: it reports room
only when a third of its buffer is free, which may be megabytes.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time


class Pace:
    """One transfer. A client that keeps up may take as long as it needs."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = 0

    def begin(self, left: int, window: float) -> float:
        """Start the first window with `left` bytes to be moved; return when it ends, in monotonic seconds.

        Where the total is unknown, `left` is any number that decreases as bytes are moved.
        """
        self._left = left
        return time.monotonic() + window

    def keeps_up(self, left: int, least: float) -> bool:
        """End a window with `left` bytes to be moved and start the next; return whether it moved `least`."""
        moved, self._left = self._left - left, left
        return moved >= least


def unread(sock: socket.socket) -> int:
    """Return the bytes that were sent and that the client's side has not taken (SIOCOUTQ, tcp(7))."""
    found: int = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]
    return found
