"""Sends what a turn of the loop has written in one piece at its end, and no more than the client reads."""

from __future__ import annotations

import socket
from math import inf
from typing import Any

from httpfront.budget import Account
from httpfront.server.client_socket import State
from httpfront.server.context import ServerContext
from httpfront.server.lasting_connection import AT_ONCE, CLIENT, LastingConnection


class BatchedSocket(LastingConnection):
    """The sending half of a session's connection."""

    _out: bytes | memoryview

    def __init__(self, server: ServerContext, sock: socket.socket, addr: tuple[Any, ...], account: Account) -> None:
        """Take over the socket of a connection and what is counted for it."""
        super().__init__(server, sock, addr, account)
        self._pieces: list[bytes] = []
        """What this turn sends."""
        self._out = b""
        self._delivering = self._ending = False
        """Whether `_deliver` will be called; whether the last frame is written."""

    @property
    def unsent(self) -> int:
        """Return the bytes that the kernel has not taken yet."""
        return self._pending + len(self._out)

    def _held(self) -> int:
        """Return the bytes that are received and not handled, or under way."""
        raise NotImplementedError

    def waits_for_client(self) -> bool:
        """Return whether there is something that only the client can end: half a message, or what it does not read."""
        raise NotImplementedError

    def _emptied(self) -> None:
        """Continue: everything is sent."""
        raise NotImplementedError

    def _watch(self) -> None:
        """Ask for the events that matter now."""
        raise NotImplementedError

    def _append(self, data: bytes) -> None:
        self._pieces.append(data)
        self._pending += len(data)
        if not self._delivering:
            self._delivering = True
            self.hub.end_turn_with(self._deliver)

    def _deliver(self) -> None:
        """Send what was written in this turn."""
        self._delivering = False
        if self.state != State.STREAMING:
            return
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._pending = 0
        self.written += len(data)
        if self._out:
            self._out = bytes(self._out) + data
        else:
            self._out = self._send(data)
            if self._out:
                self._next_window(self.delivered())
        self._sent()

    def _flush(self) -> None:
        """Send what the kernel had no room for."""
        out = memoryview(self._out)
        rest = self._send(out[:AT_ONCE])
        sent = min(len(out), AT_ONCE) - len(rest)
        self._out = out[sent:] if sent < len(out) else b""
        if not self._out and not self.broken:
            self.deadline = inf
            self.server.forget_deadline(self)
        self._sent()

    def _sent(self) -> None:
        """Continue after sending."""
        if self.broken:
            self._close(CLIENT)
            return
        self.settle()
        if self._ending and not self._out:
            self._linger_seen()
            return
        if not self._out:
            self._emptied()
        self._watch()

    def settle(self) -> None:
        """Count what the connection holds, and let it be evicted where it waits for the client."""
        self.account.hold(self._held() + self.unsent)
        if self.waits_for_client():
            self.account.progress()
        else:
            self.account.stop_waiting()

    def _drop(self) -> None:
        self._out = b""
        self._pieces.clear()
        self._pending = 0
        super()._drop()
