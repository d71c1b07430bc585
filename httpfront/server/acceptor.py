"""The listening sockets of a server: accepting, pausing, and closing without resetting a client."""

from __future__ import annotations

import ctypes
import errno
import logging
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from httpfront.hub import Hub

ACCEPTS_PER_TURN = 128
PAUSE_S = 1.0
"""Time without accepting after descriptors or memory have run out."""
_SO_ATTACH_FILTER = 26
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger("fanmail.http")


class Acceptor:
    """The listening sockets of a server. Belongs to the hub's thread."""

    def __init__(
        self, hub: Hub, listeners: Sequence[socket.socket], take: Callable[[socket.socket, tuple[Any, ...]], None]
    ) -> None:
        """Start to accept. `take` is given each new connection and its peer's address."""
        self._hub = hub
        self._listeners = listeners
        self.port = int(listeners[0].getsockname()[1])
        """The TCP port, the same on all addresses."""
        self._take = take
        self._pause_until = 0.0
        self.accepting = False
        """Whether new connections are accepted."""
        self.closed = False
        self._watch()

    def resume_when_due(self) -> None:
        """Accept again once a pause is over."""
        if not self.accepting and time.monotonic() >= self._pause_until:
            self._watch()

    def hold_back(self) -> None:
        """Let the kernel drop new handshakes, so that `close` later resets no client that has got through."""
        for listener in self._listeners:
            _drop_new_connections(listener)

    def close(self) -> None:
        """Stop at once."""
        self.closed = True
        self._unwatch()
        for listener in self._listeners:
            listener.close()

    def close_when_empty(self) -> None:
        """Accept every connection whose handshake has ended, then close."""
        for listener in self._listeners:
            while self._accept_some(listener):
                pass
        self.close()

    def _watch(self) -> None:
        for listener in self._listeners:
            self._hub.watch(listener.fileno(), select.EPOLLIN, partial(self._ready, listener))
        self.accepting = True

    def _unwatch(self) -> None:
        if self.accepting:
            self.accepting = False
            for listener in self._listeners:
                self._hub.unwatch(listener.fileno())

    def _ready(self, listener: socket.socket, events: int) -> None:
        self._accept_some(listener)

    def _accept_some(self, listener: socket.socket) -> bool:
        """Accept waiting connections up to the limit per turn; return whether there may be more."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, addr = listener.accept()
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return False
                continue  # the client has gone already
            self._take(sock, addr)
        return True

    def _pause(self, error: OSError) -> None:
        """Stop accepting for a while: trying again at once would only spin."""
        log.error("cannot accept connections", extra={"reason": error.strerror})
        self._pause_until = time.monotonic() + PAUSE_S
        self._unwatch()


def _drop_new_connections(listener: socket.socket) -> None:
    """Attach a classic BPF program that drops a SYN without ACK and passes everything else.

    Linux, socket(7). A handshake in progress can still end. The packet begins with the TCP header. On other systems
    this does nothing.
    """
    if sys.platform != "linux":
        return
    steps = (
        (0x30, 0, 0, 13),  # load the byte of the flags
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone?
        (0x06, 0, 0, 0),  # then drop
        (0x06, 0, 0, 0xFFFFFFFF),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError as error:
        log.info("new connections are not held back while draining", extra={"reason": error.strerror})
