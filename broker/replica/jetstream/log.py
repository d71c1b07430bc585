"""The contract `Log` over a stream of NATS JetStream: a client in a thread of its own, events by a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg
from nats.nuid import NUID

from broker.replica.engine.names import StreamName
from broker.replica.engine.outbox import Outbox
from broker.replica.engine.threaded_log import EngineClient, ThreadedLog
from broker.replica.jetstream.access import Access
from broker.replica.jetstream.appending import Appending, Result
from broker.replica.jetstream.connection import Connection, Failures
from broker.replica.jetstream.feed import Feed
from broker.replica.jetstream.fetching import Fetcher, Unanswered
from broker.replica.jetstream.health import Health, info_of, payload_problems
from broker.replica.log import Appended, Down, Inspected, Purged, Reported, Up

CANCEL_S = 0.1
"""After which what has not ended is cancelled again."""
MOST_REPORT_BYTES = 4096
"""Of one report; others are not this program's."""


class JetStreamLog(ThreadedLog):
    """One candidate's access to the log of a broker. See `Log`."""

    def __init__(self, access: Access, name: StreamName, candidate: str, max_batch: int, replicas: int = 3) -> None:
        """Begin to connect; whether that succeeds is an event. `access` has passed `check_access`.

        `max_batch`: bytes of the greatest burst that will be appended. `replicas`: copies that the stream must have.
        """

        def make(loop: asyncio.AbstractEventLoop, outbox: Outbox) -> _Client:
            client = _Client(loop, outbox, access, name, candidate)
            client.max_batch, client.replicas = max_batch, replicas
            return client

        super().__init__(make)


class _Client(EngineClient):
    thread_name = "NATS"
    max_batch, replicas = 0, 3

    def __init__(
        self, loop: asyncio.AbstractEventLoop, outbox: Outbox, access: Access, name: StreamName, candidate: str
    ) -> None:
        super().__init__(loop, outbox)
        self._name = name
        inbox = f"_INBOX.{NUID().next().decode()}"
        handlers = {f"{inbox}.a.*": self._on_append, f"{inbox}.g.*": self._on_get, name.reports: self._on_report}
        self._connection = Connection(access, f"fanmail {name.broker}@{candidate}", handlers)
        self._connection.on_up, self._connection.on_down = self._on_up, self._on_down
        self._connection.on_refused = self._on_refused
        self._appending = Appending(self._connection, name, self._on_result)
        self._fetcher = Fetcher(self._connection, name)
        self._appending.inbox, self._fetcher.inbox = f"{inbox}.a", f"{inbox}.g"
        self._health = Health(name, loop.time)
        self._feed = Feed(self._fetcher, self._health, outbox, loop.time)
        self._readers: dict[str, asyncio.Task[None]] = {}

    def begin(self) -> None:
        # What the client library leaves behind of connections that have ended.
        self._loop.set_exception_handler(lambda *_: None)
        self.start(self._connection.run())

    def close_connections(self) -> None:
        # Again and again: `asyncio.wait_for`, before Python 3.12, swallows a cancellation that comes with its result.
        while tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_S))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())

    def cut(self) -> None:
        self._connection.cut()

    def append(self, data: bytes, expected: int) -> None:
        self.start(self._appending.append(data, expected))

    def follow(self, first: int) -> None:
        self._feed.unfollow()
        self._replace("follow", self._feed.follow(first) if first else None)

    def read(self, position: int) -> None:
        self._replace("read", self._feed.read(position))

    def taken(self) -> None:
        self._feed.taken()

    def purge(self, before: int) -> None:
        self.start(self._purge(before))

    def report(self, data: bytes) -> None:
        self.start(self._report(data))

    def inspect(self) -> None:
        self.start(self._inspect())

    def _replace(self, name: str, work: Coroutine[Any, Any, None] | None) -> None:
        former = self._readers.pop(name, None)
        if former is not None:
            former.cancel()
        if work is not None:
            self._readers[name] = self.start(work)

    async def _purge(self, before: int) -> None:
        with suppress(*Unanswered):
            await self._fetcher.purge(before)
            self._outbox.put(Purged(before))

    async def _report(self, data: bytes) -> None:
        client = self._connection.client
        if client is not None:
            with suppress(*Failures):
                await client.publish(self._name.reports, data)

    async def _inspect(self) -> None:
        with suppress(*Unanswered):
            described = await self._feed.inspect()
            problems = payload_problems(self._connection.max_payload, self.max_batch)
            self._outbox.put(Inspected(info_of(described, self.replicas, problems)))

    def _on_result(self, result: Result) -> None:
        if isinstance(result, Appended):
            self._health.on_answer()
        self._outbox.put(result)

    def _on_refused(self, reason: str) -> None:
        self._appending.give_up(reason)

    def _on_up(self) -> None:
        self._outbox.put(Up())

    def _on_down(self, reason: str) -> None:
        self._appending.give_up(reason)
        self._outbox.put(Down(reason))

    async def _on_append(self, message: Msg) -> None:
        self._appending.take(_token(message), message)

    async def _on_get(self, message: Msg) -> None:
        self._fetcher.take(_token(message), message)

    async def _on_report(self, message: Msg) -> None:
        if len(message.data) <= MOST_REPORT_BYTES:
            self._outbox.put(Reported(message.data))


def _token(message: Msg) -> str:
    return message.subject.rpartition(".")[2]
