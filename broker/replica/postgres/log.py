"""The contract `Log` over tables of PostgreSQL: connections in a thread of its own, events by a queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import psycopg

from broker.replica.engine.names import StreamName
from broker.replica.engine.outbox import Outbox
from broker.replica.log import Appended, Event, Inspected, Lost, Purged
from broker.replica.postgres import tables
from broker.replica.postgres.access import Access
from broker.replica.postgres.appending import Appending, Result
from broker.replica.postgres.health import ServerSettings, State, info_of
from broker.replica.postgres.reading import AHEAD_BYTES, LostError, Reading
from broker.replica.postgres.session import Failures, Session, describe
from broker.replica.postgres.talk import Talk


class PostgresLog:
    """One candidate's access to the log of a broker. See `Log`."""

    def __init__(self, access: Access, name: StreamName, candidate: str, replicas: int = 3) -> None:
        """Begin to connect; whether that succeeds is an event. `access` has passed `check_access`.

        `replicas`: a majority of so many servers must have what is acknowledged.
        """
        self._outbox = Outbox()
        self.fileno = self._outbox.fileno
        self._loop = asyncio.new_event_loop()
        self._client = _Client(self._loop, self._outbox, access, name, candidate)
        self._client.replicas = replicas
        self._thread = threading.Thread(target=self._client.run, name="postgres", daemon=True)
        self._thread.start()

    def append(self, data: bytes, expected: int) -> None:
        """Append an entry behind `expected`."""
        self._do(self._client.append, data, expected)

    def follow(self, first: int) -> None:
        """Deliver all entries from `first` on."""
        self._do(self._client.reading.follow, first)

    def unfollow(self) -> None:
        """End `follow`."""
        self._do(self._client.reading.follow, 0)

    def read(self, position: int) -> None:
        """Deliver one entry."""
        self._do(self._client.reading.read, position)

    def purge(self, before: int) -> None:
        """Forget entries below `before`."""
        self._do(self._client.start, self._client.purge, before)

    def report(self, data: bytes) -> None:
        """Tell the other candidates."""
        self._do(self._client.start, self._client.tell, data)

    def inspect(self) -> None:
        """Ask for what is known of the log."""
        self._do(self._client.start, self._client.inspect)

    def events(self) -> list[Event]:
        """Return what has happened since."""
        was_full = self._outbox.held_bytes >= AHEAD_BYTES
        events = self._outbox.take()
        if was_full:
            self._do(self._client.reading.wake)
        return events

    def cut(self) -> None:
        """End the present connections, as the network may, for tests; others are made."""
        self._do(self._client.cut)

    def close(self) -> None:
        """End the connections and the thread."""
        if self._thread.is_alive():
            self._do(self._client.end, "")
            self._thread.join()
        self._outbox.close()

    def _do(self, call: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: the log is lost, or `close` was called
            self._loop.call_soon_threadsafe(call, *arguments)


class _Client:
    """What runs in the thread."""

    replicas = 3

    def __init__(
        self, loop: asyncio.AbstractEventLoop, outbox: Outbox, access: Access, name: StreamName, candidate: str
    ) -> None:
        self._loop, self._outbox, self._log_id = loop, outbox, name.log_id
        # A commit may wait for long: what must not wait for it has a connection of its own.
        self._sessions = [Session(access, f"fanmail {name.broker}@{candidate} {each}") for each in ("a", "r", "l", "s")]
        appends, reads, hears, self._side = self._sessions
        self.reading = Reading(reads, name.log_id, outbox)
        self._appending = Appending(appends, name.log_id, self._on_result)
        self._talk = Talk(hears, name, candidate, outbox, self.reading.wake)
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = loop.create_future()

    def run(self) -> None:
        """Run until `end`."""
        asyncio.set_event_loop(self._loop)
        for work in (self.reading.run, self._talk.hear, self._tell_news):
            self.start(work)
        reason = self._loop.run_until_complete(self._ended)
        self._loop.run_until_complete(self._close())
        self._loop.close()
        if reason:
            self._outbox.put(Lost(reason))

    async def _close(self) -> None:
        await asyncio.gather(*(each.close() for each in self._sessions))
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        await asyncio.gather(*(each.close() for each in self._sessions))

    def start(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        """Run something beside the rest. What it raises ends all."""
        task = self._loop.create_task(self._guarded(work(*arguments)))
        self._tasks.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except LostError as error:
            self.end(str(error))
        except psycopg.ProgrammingError as error:  # tables or rights are missing
            self.end(f"PostgreSQL: {describe(error)}")
        except Exception as error:  # a bug; nothing may stop in silence
            self.end(f"unexpected in the client of PostgreSQL: {error!r}")

    def end(self, reason: str) -> None:
        """End all; "": it was asked for."""
        if not self._ended.done():
            self._ended.set_result(reason)

    def cut(self) -> None:
        for session in self._sessions:
            session.cut()

    def append(self, data: bytes, expected: int) -> None:
        self.start(self._appending.append, data, expected)

    def _on_result(self, result: Result) -> None:
        if isinstance(result, Appended):
            self.reading.durable = max(self.reading.durable, result.position)
            self.reading.wake()
            self._news.set()
        self._outbox.put(result)

    async def _tell_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self.tell(b"")

    async def tell(self, data: bytes) -> None:
        """Tell the others a report, or with no bytes that there is an entry."""
        text = self._talk.text_of(data)
        if text:
            with suppress(*Failures):
                await self._side.run(tables.NOTIFY, channel=self._talk.channel, text=text)

    async def purge(self, before: int) -> None:
        try:
            await self._side.run(tables.PURGE, log=self._log_id, before=before)
            while await self._side.run(tables.DELETE_SOME, log=self._log_id):
                pass
        except Failures:
            return
        self._outbox.put(Purged(before))

    async def inspect(self) -> None:
        try:
            rows = await self._side.run(tables.STATE, log=self._log_id)
            settings = await self._side.run(tables.SETTINGS)
        except Failures:
            return
        if not rows:
            raise LostError(f"PostgreSQL has no log {self._log_id.hex()}")
        self._outbox.put(Inspected(info_of(State(*rows[0]), ServerSettings(*settings[0]), self.replicas)))
