"""What the logs of all engines share: calls go to a client in a thread of its own, events come by a queue."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from broker.replica.engine.outbox import Outbox
from broker.replica.log import Entries, Event, Lost

AHEAD_BYTES = 8 * 2**20
"""Bytes of entries that may wait for the broker; a client reads no further meanwhile."""


class LostError(Exception):
    """The log is gone, is another one, or has fewer entries than it had."""


class EngineClient:
    """What runs in the thread, on an event loop. All methods but `run` are called there."""

    thread_name = ""
    """Also how the engine is called in reasons."""

    def __init__(self, loop: asyncio.AbstractEventLoop, outbox: Outbox) -> None:
        self._loop, self._outbox = loop, outbox
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[str] = loop.create_future()

    def run(self) -> None:
        """Run until `end`, then report why the log is lost, if it is."""
        asyncio.set_event_loop(self._loop)
        self.begin()
        reason = self._loop.run_until_complete(self._ended)
        self.close_connections()
        self._loop.close()
        if reason:
            self._outbox.put(Lost(reason))

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the rest. What it raises ends all."""
        task = self._loop.create_task(self._guarded(work))
        self._tasks.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self._tasks.discard)
        return task

    def end(self, reason: str = "") -> None:
        """End all; "": it was asked for."""
        if not self._ended.done():
            self._ended.set_result(reason)

    def reason_of(self, error: Exception) -> str:
        """Return why an error, which is not a `LostError`, ends all."""
        return f"unexpected in the client of {self.thread_name}: {error!r}"  # a bug; nothing may stop in silence

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except LostError as error:
            self.end(str(error))
        except Exception as error:
            self.end(self.reason_of(error))

    @abstractmethod
    def begin(self) -> None:
        """Start what runs all the time."""

    @abstractmethod
    def close_connections(self) -> None:
        """Run the loop until everything has ended."""

    @abstractmethod
    def append(self, data: bytes, expected: int) -> None:
        """As `Log.append`; the same holds for the next ones."""

    @abstractmethod
    def follow(self, first: int) -> None:
        """Follow from a position on; 0: do not follow."""

    @abstractmethod
    def read(self, position: int) -> None: ...

    @abstractmethod
    def purge(self, before: int) -> None: ...

    @abstractmethod
    def report(self, data: bytes) -> None: ...

    @abstractmethod
    def inspect(self) -> None: ...

    @abstractmethod
    def taken(self) -> None:
        """Read on: the broker has taken entries."""

    @abstractmethod
    def cut(self) -> None:
        """End the present connections, as the network may; others are made."""


class ThreadedLog:
    """One candidate's access to the log of a broker. See `Log`."""

    def __init__(self, make_client: Callable[[asyncio.AbstractEventLoop, Outbox], EngineClient]) -> None:
        """Begin to connect; whether that succeeds is an event."""
        self._outbox = Outbox()
        self.fileno = self._outbox.fileno
        self._loop = asyncio.new_event_loop()
        self._client = make_client(self._loop, self._outbox)
        self._thread = threading.Thread(target=self._client.run, name=self._client.thread_name, daemon=True)
        self._thread.start()

    def append(self, data: bytes, expected: int) -> None:
        """Append an entry behind `expected`."""
        self._do(self._client.append, data, expected)

    def follow(self, first: int) -> None:
        """Deliver all entries from `first` on."""
        self._do(self._client.follow, first)

    def unfollow(self) -> None:
        """End `follow`."""
        self._do(self._client.follow, 0)

    def read(self, position: int) -> None:
        """Deliver one entry."""
        self._do(self._client.read, position)

    def purge(self, before: int) -> None:
        """Forget entries below `before`."""
        self._do(self._client.purge, before)

    def report(self, data: bytes) -> None:
        """Tell the other candidates."""
        self._do(self._client.report, data)

    def inspect(self) -> None:
        """Ask for what is known of the log."""
        self._do(self._client.inspect)

    def events(self) -> list[Event]:
        """Return what has happened since."""
        events = self._outbox.take()
        if any(isinstance(each, Entries) for each in events):
            self._do(self._client.taken)
        return events

    def cut(self) -> None:
        """End the present connections, for tests."""
        self._do(self._client.cut)

    def close(self) -> None:
        """End the connections and the thread."""
        if self._thread.is_alive():
            self._do(self._client.end)
            self._thread.join()
        self._outbox.close()

    def _do(self, call: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: the log is lost, or `close` was called
            self._loop.call_soon_threadsafe(call, *arguments)
