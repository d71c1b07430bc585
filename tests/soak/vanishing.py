"""Clients that go away: while they wait, before they read the answer, and in the middle of what they send."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress

from tests.e2e.cluster import PATIENCE

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a connection is reset, not closed."""


class Vanishers:
    """A thread of such clients. A context manager.

    They read only in ways that hand a message out again when its reader vanishes.
    """

    def __init__(self, ports: Sequence[int], targets: Sequence[str], topics: Sequence[str], seed: int) -> None:
        """`targets` are paths of reads, with a query; to `topics` halves of publishes are sent."""
        self._ports, self._targets, self._topics = ports, targets, topics
        self._rng = random.Random(seed)
        self._going = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.gone = 0

    def __enter__(self) -> Vanishers:
        self._going.set()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going.clear()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while self._going.is_set():
            with suppress(OSError):  # the front may be away
                self._vanish()

    def _vanish(self) -> None:
        rng = self._rng
        with socket.create_connection(("127.0.0.1", rng.choice(self._ports)), PATIENCE) as connection:
            if rng.random() < 0.2:
                head = f"POST /{rng.choice(self._topics)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
                connection.sendall(head.encode() + b"half a body")
            else:
                connection.sendall(f"GET {rng.choice(self._targets)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            threading.Event().wait(rng.uniform(0, 0.2))
            if rng.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.gone += 1
