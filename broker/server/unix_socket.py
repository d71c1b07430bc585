"""The Unix socket of a broker, which accepts no more connections than there are descriptors for.

libzmq accepts every connection, and ends the process by an assertion where there is no descriptor for it. So the socket
is made here. It is given to libzmq only when a connection waits at it, and only after a new socket has taken over its
path: then no further connection can reach it, and libzmq can accept no more than its backlog. Where descriptors are
few, those who wait are refused. libzmq closes the connections accepted at a socket together with that socket, so it
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
from struct import Struct

import zmq

from common.errors import StartError
from common.process.descriptors import free_descriptors
from common.protocol import stats

log = logging.getLogger("fanmail.broker")

LEAST, MOST = 8, 128
"""Backlog of a socket where descriptors are few, and where there are many."""
RESERVE = 16
"""Descriptors that are kept for files: the store, its copies, the cluster description."""
SPARE = 2
"""Descriptors for the next socket, and for its directory while it is made."""
NEEDED = RESERVE + SPARE + LEAST
"""Descriptors without which no connection could be accepted."""
SETTLED = 3
"""Housekeeping rounds, one per half second, after which libzmq has accepted those who waited."""
EVENT = Struct("=Hi")
"""A monitor's event and its value (zmq_socket_monitor(3)). pyzmq's own parser imports asyncio, a tenth of the start."""
REPORT_EVERY_US = 10_000_000
"""Microseconds between two lines of the log about refused connections."""


@dataclass
class _Given:
    """A socket that was given to libzmq."""

    most: int
    """Connections that can be accepted at it."""
    rounds: int = 0
    """Housekeeping rounds since then."""
    accepted: int = 0
    left: int = 0

    @property
    def owed(self) -> int:
        """Return how many connections may still be accepted at it."""
        return max(0, self.most - self.accepted) if self.rounds < SETTLED else 0


class UnixSocket:
    """The listening Unix socket of one broker. Belongs to the loop's thread."""

    def __init__(
        self,
        router: zmq.Socket[bytes],
        path: Path,
        counters: Counter[str],
        epoll: select.epoll,
        free: Callable[[], int] = free_descriptors,
    ) -> None:
        """Listen: a connection waits until `turn`, and makes `epoll` readable.

        `free` returns how many descriptors are left. The path belongs to whoever holds the broker's lock. Raises
        `StartError`.
        """
        self._router = router
        self._path = path
        self._counters = counters
        self._free = free
        self._made = 0
        """Sockets made so far."""
        self._given: dict[str, _Given] = {}
        """By the endpoint under which libzmq knows them."""
        self._refused = 0
        self._next_report = 0
        self._monitor = router.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._epoll = epoll
        try:
            self._listening = self._listen()
        except OSError as error:
            raise StartError(f"cannot listen on ipc://{path}: {error.strerror}") from None

    def turn(self) -> None:
        """Accept or refuse those who wait. Called once per turn."""
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
                log.error(
                    "the socket cannot be created again", extra={"path": str(self._path), "reason": error.strerror}
                )
                full = True
        if full:
            self._refuse()
        else:
            self._give(*waits_at)

    def look(self, mono: int) -> None:
        """Close sockets whose connections are all gone, and listen again where the path was removed.

        `mono` in microseconds of the monotonic clock.
        """
        self._hear()
        for endpoint, given in list(self._given.items()):
            given.rounds += 1
            if given.rounds > SETTLED and given.left >= given.accepted:
                del self._given[endpoint]
                self._router.unbind(endpoint)
        if not self._is_there():
            self._open_again()
        if self._refused and mono >= self._next_report:
            self._next_report = mono + REPORT_EVERY_US
            log.error("connections refused: too few file descriptors", extra={"count": self._refused})
            self._refused = 0

    def close(self) -> None:
        """Close the socket; to be called before the ROUTER is closed."""
        if self._is_there():
            self._path.unlink()
        self._listening.close()
        self._monitor.close(linger=0)

    def _listen(self) -> socket.socket:
        """Listen with a new socket under the path. Connections that wait at the old one still wait."""
        self._made += 1
        backlog = max(LEAST, min(MOST, (self._free() - RESERVE) // 8))
        fresh = socket.socket(socket.AF_UNIX)
        folder = -1
        try:
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            name = f"{os.getpid()}.{self._made}.new"  # by way of the directory, whose path may be too long
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            fresh.bind(f"/proc/self/fd/{folder}/{name}")
            fresh.listen(backlog - 1)  # the kernel accepts one more
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
        """Count the connections that libzmq has accepted and closed, per socket."""
        try:
            while True:
                about, endpoint = self._monitor.recv_multipart(zmq.NOBLOCK)
                event, _ = EVENT.unpack(about)
                given = self._given.get(endpoint.decode())
                if given is not None:
                    given.accepted += event == zmq.EVENT_ACCEPTED
                    given.left += event == zmq.EVENT_DISCONNECTED
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
        except OSError:  # reported by the check of the run directory
            return
        old.close()
        log.warning("the socket was removed and is created again", extra={"path": str(self._path)})
