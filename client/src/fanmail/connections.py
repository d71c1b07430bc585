"""Owners of connections: each process, and in asyncio each event loop, has its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from fanmail.fork_safety import ProcessId, process_id

T = TypeVar("T")


class PerProcess(Generic[T]):
    """An object that each process makes for itself on first use. Threads may share it."""

    def __init__(self, make: Callable[[], T]) -> None:
        """Make the first object at once, so that `make` raises here what it raises."""
        self._make = make
        self._unused = [make()]
        self._made: dict[Hashable, T] = {}
        self.closed: bool = False

    def get(self) -> T:
        """Return the object of the current owner. Raises RuntimeError after `close`, also of a parent process."""
        if self.closed:
            raise RuntimeError("the client is closed")
        owner = self._owner()
        found = self._made.get(owner)
        if found is None:
            found = self._made.setdefault(owner, self._new())  # no lock: a thread of the parent may have held it
            self._forget_former_owners()
        return found

    def close(self) -> T | None:
        """Refuse further use. Return the object of the current owner, which the caller closes, if there is one."""
        self.closed = True
        self._forget_former_owners()
        return self._made.pop(self._owner(), None)

    def _new(self) -> T:
        try:
            return self._unused.pop()
        except IndexError:
            return self._make()

    def _forget_former_owners(self) -> None:
        for owner in list(self._made):  # a copy, as other threads may add theirs
            if not self._is_current(owner):
                self._made.pop(owner, None)

    def _owner(self) -> Hashable:
        return process_id()

    def _is_current(self, owner: Hashable) -> bool:
        return owner == process_id()


class _LoopOwner(NamedTuple):
    process: ProcessId
    loop: asyncio.AbstractEventLoop


class PerLoop(PerProcess[T]):
    """An object that each event loop of each process makes for itself on first use.

    The object of a closed loop cannot be closed any more and is left to the garbage collector.
    """

    def _owner(self) -> Hashable:
        return _LoopOwner(process_id(), asyncio.get_running_loop())

    def _is_current(self, owner: Hashable) -> bool:
        return isinstance(owner, _LoopOwner) and owner.process == process_id() and not owner.loop.is_closed()
