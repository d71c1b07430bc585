"""A TCP proxy for one connection, which it cuts in different ways."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress

CLOSE, RESET, SWALLOW = "closes", "resets", "swallows"
"""Both sides are closed; both are reset; it reads on for a client that is gone, and closes later."""
WAYS = (CLOSE, RESET, SWALLOW)
_RESET = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Listens at `port` until the connection is cut or ends. It reads `swallow_s` seconds for a client that is gone."""

    def __init__(self, target: int, swallow_s: float) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self.port: int = self._listener.getsockname()[1]
        self._target, self._swallow_s = target, swallow_s
        self._way = ""
        self._told, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def cut(self, way: str) -> None:
        """Cut, and wait for the end."""
        self._way = way
        self.close()

    def close(self) -> None:
        """End."""
        self._wake.close()
        self._thread.join()

    def _run(self) -> None:
        with self._listener, self._told, suppress(OSError):
            ready = select.select([self._listener, self._told], [], [])[0]
            if self._listener not in ready:
                return
            client, _ = self._listener.accept()
            with client, socket.create_connection(("127.0.0.1", self._target), 10) as server:
                self._relay(client, server)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        others = {client: server, server: client}
        while True:
            ready = select.select([client, server, self._told], [], [])[0]
            if self._told in ready:
                break
            for each in ready:
                data = each.recv(65536)
                if not data:
                    return
                others[each].sendall(data)
        if self._way == SWALLOW:
            client.close()
            self._swallow(server)
        for each in (client, server) if self._way == RESET else ():
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _swallow(self, server: socket.socket) -> None:
        until = time.monotonic() + self._swallow_s
        while (left := until - time.monotonic()) > 0:
            if select.select([server], [], [], left)[0] and not server.recv(65536):
                return
