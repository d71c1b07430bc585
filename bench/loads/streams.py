"""Thousands of open streams in one process: a socket each, one epoll, and when each event arrived."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from bench.harness.processes import BenchError
from bench.loads.client import request

TIMEOUT_S = 30.0
AT_ONCE = 100
"""Connections that are being opened."""
EVENT = b"\nid: "
"""What an event begins with, behind the line end of what is before it."""


class Streams:
    """Open streams. A context manager."""

    def __init__(self, port: int, paths: Sequence[bytes]) -> None:
        """Open a stream of each path. Raises `BenchError` where one is refused."""
        self._poll = select.epoll()
        self._sockets: dict[int, tuple[int, socket.socket]] = {}
        """Number and socket by descriptor."""
        for start in range(0, len(paths), AT_ONCE):
            opened = [self._open(port, path) for path in paths[start : start + AT_ONCE]]
            for each in opened:
                self._await_head(each)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, each in self._sockets.values():
            each.close()
        self._poll.close()

    def events(self, count: int) -> list[tuple[int, float]]:
        """Return the next `count` events as they arrive: the number of the stream, and the time (perf_counter)."""
        found: list[tuple[int, float]] = []
        ends = time.monotonic() + TIMEOUT_S
        while len(found) < count:
            if time.monotonic() > ends:
                raise BenchError(f"{len(found)} of {count} events have arrived")
            for fd, _ in self._poll.poll(1, 4096):
                number, sock = self._sockets[fd]
                data = sock.recv(65536)
                now = time.perf_counter()
                if not data:
                    raise BenchError("a stream has ended")
                found += [(number, now)] * data.count(EVENT)
        return found

    def _open(self, port: int, path: bytes) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        sock.sendall(request("GET", path, b"", b"Accept: text/event-stream"))
        return sock

    def _await_head(self, sock: socket.socket) -> None:
        head = b""
        while b"\n:\n" not in head:  # the comment, which follows at once
            data = sock.recv(65536)
            if not data:
                raise BenchError(f"no stream: {head[:200].decode('latin-1')!r}")
            head += data
        if b" 200 " not in head[:20]:
            raise BenchError(f"no stream: {head[:200].decode('latin-1')!r}")
        sock.setblocking(False)
        self._sockets[sock.fileno()] = (len(self._sockets), sock)
        self._poll.register(sock, select.EPOLLIN)
