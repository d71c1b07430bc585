"""Fronts that misbehave: they read complete requests, record them, and then do what the path says."""

from __future__ import annotations

import re
import socket
import struct
import threading
from contextlib import suppress

from tests.e2e.cluster import PATIENCE

DEATHS = ("hang-up", "reset", "half")
FAULTS = (*DEATHS, "silent")
"""First segments of paths that mean a fault. Requests for other paths get a response."""
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.I)


class FakeFront:
    """A fake front on a port of its own, until it is closed."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        """Received request heads."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def __enter__(self) -> FakeFront:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(PATIENCE)
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    data += _some(connection)
                head, _, data = data.partition(b"\r\n\r\n")
                found = _LENGTH.search(head)
                size = int(found[1]) if found else 0
                while len(data) < size:
                    data += _some(connection)
                data = data[size:]
                if not self._do(connection, head):
                    return

    def _do(self, connection: socket.socket, head: bytes) -> bool:
        """Do what the path says. Return whether the connection stays open."""
        self.requests.append(head)
        fault = head.split(b"/")[1].decode("latin-1")
        if fault == "half":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Len")
        elif fault == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault not in FAULTS:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return fault == "silent" or fault not in FAULTS

    def times(self, method: str, path: str) -> int:
        """Return how often this request arrived."""
        return sum(head.startswith(f"{method} {path} ".encode()) for head in self.requests)


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionResetError
    return data
