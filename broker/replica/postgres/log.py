"""The contract `Log` over tables of PostgreSQL: connections in a thread of its own, events by a queue."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import psycopg

from broker.replica.engine.names import StreamName
from broker.replica.engine.outbox import Outbox
from broker.replica.engine.threaded_log import EngineClient, LostError, ThreadedLog
from broker.replica.log import Appended, Inspected, Purged
from broker.replica.postgres import tables
from broker.replica.postgres.access import Access
from broker.replica.postgres.appending import Appending, Result
from broker.replica.postgres.health import ServerSettings, State, info_of
from broker.replica.postgres.reading import Reading
from broker.replica.postgres.session import Failures, Session, describe
from broker.replica.postgres.talk import Talk


class PostgresLog(ThreadedLog):
    """One candidate's access to the log of a broker. See `Log`."""

    def __init__(self, access: Access, name: StreamName, candidate: str, replicas: int = 3) -> None:
        """Begin to connect; whether that succeeds is an event. `access` has passed `check_access`.

        `replicas`: servers of which a majority must have what is acknowledged.
        """

        def make(loop: asyncio.AbstractEventLoop, outbox: Outbox) -> _Client:
            client = _Client(loop, outbox, access, name, candidate)
            client.replicas = replicas
            return client

        super().__init__(make)


class _Client(EngineClient):
    thread_name = "PostgreSQL"
    replicas = 3

    def __init__(
        self, loop: asyncio.AbstractEventLoop, outbox: Outbox, access: Access, name: StreamName, candidate: str
    ) -> None:
        super().__init__(loop, outbox)
        self._log_id = name.log_id
        # A commit may wait for long: what must not wait for it has a connection of its own.
        self._sessions = [Session(access, f"fanmail {name.broker}@{candidate} {each}") for each in ("a", "r", "l", "s")]
        appends, reads, hears, self._side = self._sessions
        self._reading = Reading(reads, name.log_id, outbox)
        self._appending = Appending(appends, name.log_id, self._on_result)
        self._talk = Talk(hears, name, candidate, outbox, self._reading.wake)
        self._news = asyncio.Event()

    def begin(self) -> None:
        for work in (self._reading.run, self._talk.hear, self._tell_news):
            self.start(work())

    def close_connections(self) -> None:
        self._loop.run_until_complete(self._close())

    def reason_of(self, error: Exception) -> str:
        if isinstance(error, psycopg.ProgrammingError):  # tables or rights are missing
            return f"PostgreSQL: {describe(error)}"
        return super().reason_of(error)

    def cut(self) -> None:
        for session in self._sessions:
            session.cut()

    def append(self, data: bytes, expected: int) -> None:
        self.start(self._appending.append(data, expected))

    def follow(self, first: int) -> None:
        self._reading.follow(first)

    def read(self, position: int) -> None:
        self._reading.read(position)

    def taken(self) -> None:
        self._reading.wake()

    def purge(self, before: int) -> None:
        self.start(self._purge(before))

    def report(self, data: bytes) -> None:
        self.start(self._tell(data))

    def inspect(self) -> None:
        self.start(self._inspect())

    async def _close(self) -> None:
        await asyncio.gather(*(each.close() for each in self._sessions))
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        await asyncio.gather(*(each.close() for each in self._sessions))

    def _on_result(self, result: Result) -> None:
        if isinstance(result, Appended):
            self._reading.durable = max(self._reading.durable, result.position)
            self._reading.wake()
            self._news.set()
        self._outbox.put(result)

    async def _tell_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._tell(b"")

    async def _tell(self, data: bytes) -> None:
        """Tell the others a report, or with no bytes that there is an entry."""
        text = self._talk.text_of(data)
        if text:
            with suppress(*Failures):
                await self._side.run(tables.NOTIFY, channel=self._talk.channel, text=text)

    async def _purge(self, before: int) -> None:
        try:
            await self._side.run(tables.PURGE, log=self._log_id, before=before)
            while await self._side.run(tables.DELETE_SOME, log=self._log_id):
                pass
        except Failures:
            return
        self._outbox.put(Purged(before))

    async def _inspect(self) -> None:
        try:
            rows = await self._side.run(tables.STATE, log=self._log_id)
            settings = await self._side.run(tables.SETTINGS)
        except Failures:
            return
        if not rows:
            raise LostError(f"PostgreSQL has no log {self._log_id.hex()}")
        self._outbox.put(Inspected(info_of(State(*rows[0]), ServerSettings(*settings[0]), self.replicas)))
