"""What `fork()` leaves of a client: its settings, and none of its connections.

Two processes on one connection read each other's answers. So a child opens connections of its own with its first
request, and those of its parent are cut off in it before it does anything; the parent does not notice.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class ProcessId(NamedTuple):
    """A process, also where the system gives its number to another one later."""

    pid: int
    forks: int
    """Forks that Python made between the first process and this one."""


_forks = 0
_OPENED = (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")
_opened: WeakKeyDictionary[object, tuple[int, int]] = WeakKeyDictionary()
"""Descriptor and inode of the socket of every connection of this process."""


def process_id() -> ProcessId:
    """The process that runs this."""
    return ProcessId(os.getpid(), _forks)


def note_opened(event: str, info: Mapping[str, Any]) -> None:
    """The `trace` extension of a request: remembers the connections that are opened for it."""
    if event.endswith(_OPENED):
        with suppress(OSError, AttributeError):  # a stream of httpcore that has no socket
            number = info["return_value"].get_extra_info("socket").fileno()
            _opened[info["return_value"]] = (number, os.fstat(number).st_ino)


async def note_opened_async(event: str, info: Mapping[str, Any]) -> None:
    """The same for httpx's asynchronous client."""
    note_opened(event, info)


def _cut_off() -> None:
    """In the child, before anything else runs there: puts a socket that leads nowhere in the place of each connection.

    Closing them would need the objects that own the descriptors, some of which are in frames of threads that the child
    does not have. The inode tells a descriptor that was closed and given to something else.
    """
    global _forks
    _forks += 1
    with suppress(OSError), socket.socket(socket.AF_UNIX) as nowhere:  # no descriptor left: they stay, and are not used
        for number, inode in list(_opened.values()):
            with suppress(OSError):
                if os.fstat(number).st_ino == inode:
                    os.dup2(nowhere.fileno(), number, inheritable=False)
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cut_off)


def stay(began: ProcessId, raised: BaseException | None = None) -> None:
    """Ends a loop that was begun in another process, with what its handler `raised`, or RuntimeError: its leases and
    what it has handed out are that process's to acknowledge.
    """
    if process_id() != began:
        raise raised or RuntimeError("a loop ends with the process that began it: begin another one behind the fork")


class PerProcess(Generic[T]):
    """Something that each process makes for itself when it needs it; threads may share it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made = {process_id(): make()}
        self._closed = False

    def get(self) -> T:
        """This process's. Raises RuntimeError once it was taken, here or in a process before this one."""
        if self._closed:
            raise RuntimeError("the client is closed")
        me = process_id()
        made = self._made.get(me)
        if made is None:
            made = self._made.setdefault(me, self._make())  # no lock: the parent's threads may have held it
            for other in [each for each in self._made if each != me]:
                self._made.pop(other, None)
        return made

    def take(self) -> T | None:
        """This process's, to be closed, or None where it has made none."""
        self._closed = True
        return self._made.pop(process_id(), None)
