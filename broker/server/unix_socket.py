"""The Unix socket of a broker, at which no more connections come in than there are descriptors for.

libzmq accepts whoever comes, and ends the process (an assertion) where there is no descriptor for it. So
the socket is made here and given to libzmq only when somebody waits at it, and only when another one, made meanwhile,
has its name: then nobody new can come to it, and libzmq can accept no more than its backlog. Where descriptors are
few, those who wait are refused. libzmq closes what it has accepted at a socket together with that socket: it
stays bound until the last of them has gone.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.utils.monitor import parse_monitor_message

from common.errors import StartError
from common.process.descriptors import free_descriptors
from common.protocol import stats

log = logging.getLogger("fanmail.broker")

LEAST, MOST = 8, 128
"""Connections that may wait, where descriptors are few, and where they are many."""
RESERVE = 16
"""Descriptors that are kept for files: the store, its copies, the cluster description."""
SPARE = 2
"""For the next socket, and its folder while it is made."""
NEEDED = RESERVE + SPARE + LEAST
"""Descriptors without which nobody could be let in."""
SETTLED = 3
"""Looks, one every half second, after which libzmq has accepted who waited."""
REPORT_EVERY_US = 10_000_000
"""Microseconds between two lines of the log about refused connections."""


@dataclass
class _Given:
    """A socket that libzmq has."""

    most: int
    """Connections that can come in at it."""
    looks: int = 0
    accepted: int = 0
    left: int = 0

    @property
    def owed(self) -> int:
        """How many may still come in at it."""
        return max(0, self.most - self.accepted) if self.looks < SETTLED else 0


class UnixSocket:
    """Belongs to the loop's thread."""

    def __init__(
        self,
        router: zmq.Socket[bytes],
        path: Path,
        counters: Counter[str],
        epoll: select.epoll,
        free: Callable[[], int] = free_descriptors,
    ) -> None:
        """Opens the door: whoever connects waits until `turn`, and `epoll` becomes readable. `free` says how many
        descriptors are left. Raises `StartError`. The path belongs to whoever holds the broker's lock.
        """
        self._router = router
        self._path = path
        self._counters = counters
        self._free = free
        self._made = 0
        """Sockets so far."""
        self._given: dict[str, _Given] = {}
        """By the endpoint under which libzmq has them."""
        self._refused = 0
        self._next_report = 0
        self._monitor = router.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._epoll = epoll
        try:
            self._listening = self._listen()
        except OSError as error:
            raise StartError(f"cannot listen on ipc://{path}: {error.strerror}") from None

    def turn(self) -> None:
        """Once a turn of the loop: lets in, or refuses, who waits."""
        if not self._epoll.poll(0):
            return
        self._hear()
        owed = sum(each.owed for each in self._given.values())
        full = self._free() - owed < RESERVE + SPARE + self._backlog
        waits_at = _Given(self._backlog), self._listening
        if not full:
            try:
                self._listening = self._listen()
            except OSError as error:
                log.error("the socket cannot be made again", extra={"path": str(self._path), "reason": error.strerror})
                full = True
        if full:
            self._refuse()
        else:
            self._give(*waits_at)

    def look(self, mono: int) -> None:
        """Housekeeping: takes back what nobody uses any more, and makes the socket again where its file is gone.
        Microseconds of the monotonic clock.
        """
        self._hear()
        for endpoint, given in list(self._given.items()):
            given.looks += 1
            if given.looks > SETTLED and given.left >= given.accepted:
                del self._given[endpoint]
                self._router.unbind(endpoint)
        if not self._is_there():
            self._open_again()
        if self._refused and mono >= self._next_report:
            self._next_report = mono + REPORT_EVERY_US
            log.error("connections refused: too few file descriptors", extra={"count": self._refused})
            self._refused = 0

    def close(self) -> None:
        """Before the ROUTER is closed."""
        if self._is_there():
            self._path.unlink()
        self._listening.close()
        self._monitor.close(linger=0)

    def _listen(self) -> socket.socket:
        """A new socket under the path. Whoever waits at the old one still waits."""
        self._made += 1
        backlog = max(LEAST, min(MOST, (self._free() - RESERVE) // 8))
        fresh = socket.socket(socket.AF_UNIX)
        folder = -1
        try:
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            name = f"{os.getpid()}.{self._made}.new"  # by way of the folder: its path may be as long as may be
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            fresh.bind(f"/proc/self/fd/{folder}/{name}")
            fresh.listen(backlog - 1)  # the kernel takes one more
            fresh.setblocking(False)
            made = os.stat(name, dir_fd=folder)
            self._epoll.register(fresh, select.EPOLLIN)
            os.rename(name, self._path.name, src_dir_fd=folder, dst_dir_fd=folder)
            self._file, self._backlog = made, backlog
        except OSError:
            fresh.close()
            raise
        finally:
            if folder >= 0:
                os.close(folder)
        return fresh

    def _give(self, given: _Given, waited_at: socket.socket) -> None:
        self._epoll.unregister(waited_at)
        self._router.setsockopt(zmq.USE_FD, waited_at.detach())
        self._router.bind(f"ipc://{self._path}")
        endpoint = self._router.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        self._given[endpoint.rstrip(b"\0").decode()] = given

    def _refuse(self) -> None:
        for _ in range(self._backlog):
            try:
                self._listening.accept()[0].close()
            except OSError:
                return
            self._refused += 1
            self._counters[stats.REFUSED("descriptors")] += 1

    def _hear(self) -> None:
        """Counts who has come and gone at each socket."""
        try:
            while True:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
                given = self._given.get(event["endpoint"].decode())
                if given is not None:
                    given.accepted += event["event"] == zmq.EVENT_ACCEPTED
                    given.left += event["event"] == zmq.EVENT_DISCONNECTED
        except zmq.Again:
            return

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self._path.lstat(), self._file)
        except OSError:
            return False

    def _open_again(self) -> None:
        old = self._listening
        try:
            self._listening = self._listen()
        except OSError:  # whoever looks after the folder says so
            return
        old.close()
        log.warning("the socket was removed: made again", extra={"path": str(self._path)})
