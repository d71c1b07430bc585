"""What a client keeps after `fork()`: its settings, but no connections.

Two processes on one connection would read each other's responses. Therefore a child opens connections of its own with
its first request. The connections of its parent are cut off in the child before it does anything else; the parent does
not notice.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary


class ProcessId(NamedTuple):
    """The identity of a process, unambiguous even if the system reuses its number."""

    pid: int
    forks: int
    """The number of forks that Python made between the first process and this one."""


_forks = 0
_OPENED = (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")
_opened: WeakKeyDictionary[object, tuple[int, int]] = WeakKeyDictionary()
"""The descriptor and the inode of each connection's socket in this process."""


def process_id() -> ProcessId:
    """Return the identity of the running process."""
    return ProcessId(os.getpid(), _forks)


def note_opened(event: str, info: Mapping[str, Any]) -> None:
    """Remember the connections that are opened for a request. This is its `trace` extension."""
    if event.endswith(_OPENED):
        with suppress(AttributeError):  # a stream of httpcore without a socket
            note_socket(info["return_value"], info["return_value"].get_extra_info("socket"))


def note_socket(owner: object, opened: socket.socket) -> None:
    """Remember the socket of a connection as long as its owner lives."""
    with suppress(OSError):
        number = opened.fileno()
        _opened[owner] = (number, os.fstat(number).st_ino)


async def note_opened_async(event: str, info: Mapping[str, Any]) -> None:
    """Do the same as `note_opened`, for httpx's asynchronous client."""
    note_opened(event, info)


def _cut_off() -> None:
    """Replace each connection's socket by an unconnected one, in a child before anything else runs there.

    Closing the sockets would need the objects that own the descriptors, some of which are in frames of threads that the
    child does not have. The inode shows whether a descriptor was closed and reused meanwhile.
    """
    global _forks
    _forks += 1
    with suppress(OSError), socket.socket(socket.AF_UNIX) as unconnected:  # with no descriptor free they stay, unused
        for number, inode in list(_opened.values()):
            with suppress(OSError):
                if os.fstat(number).st_ino == inode:
                    os.dup2(unconnected.fileno(), number, inheritable=False)
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cut_off)


def check_process(owner: ProcessId, raised: BaseException | None = None) -> None:
    """End a loop in a child of the process that began it, as leases and cursor belong to the parent.

    Raises what the handler `raised` in the child, or RuntimeError.
    """
    if process_id() != owner:
        raise raised or RuntimeError("this loop belongs to the parent process: begin another one after the fork")
