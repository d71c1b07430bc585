"""Whether a slow client keeps up: what it has to move in a window of time.

Of an answer that is what the client's side has taken. What the kernel takes from us does not show it: it says that
there is room again only when a third of its buffer is free, which may be megabytes.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time


class Pace:
    """Of one transfer. A client that keeps up may take as long as it needs; one that trickles may not."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = 0

    def begins(self, left: int, window: float) -> float:
        """The first window, of `window` seconds, begins with `left` bytes still to be moved (any number where nobody
        knows). When it ends, by the monotonic clock.
        """
        self._left = left
        return time.monotonic() + window

    def keeps_up(self, left: int, least: float) -> bool:
        """A window ends, with `left` bytes to be moved: were at least `least` moved in it? The next one begins."""
        moved, self._left = self._left - left, left
        return moved >= least


def unread(sock: socket.socket) -> int:
    """Bytes that were sent and that the client's side has not taken (SIOCOUTQ, tcp(7))."""
    found: int = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]
    return found
