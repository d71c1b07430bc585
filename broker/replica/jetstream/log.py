"""The contract `Log` over a stream of NATS JetStream: a client in a thread of its own, events by a queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg
from nats.nuid import NUID

from broker.replica.engine.names import StreamName
from broker.replica.engine.outbox import Outbox
from broker.replica.jetstream.access import Access
from broker.replica.jetstream.appending import Appending, Result
from broker.replica.jetstream.connection import Connection, Failures
from broker.replica.jetstream.feed import AHEAD_BYTES, Feed, LostError
from broker.replica.jetstream.fetching import Fetcher, Unanswered
from broker.replica.jetstream.health import Health, info_of, payload_problems
from broker.replica.log import Appended, Down, Event, Inspected, Lost, Purged, Reported, Up

CANCEL_S = 0.1
"""After which what has not ended is cancelled again."""
MOST_REPORT_BYTES = 65536
"""Of one report; others are not this program's."""


class JetStreamLog:
    """One candidate's access to the log of a broker. See `Log`."""

    def __init__(self, access: Access, name: StreamName, candidate: str, max_batch: int, replicas: int = 3) -> None:
        """Begin to connect; whether that succeeds is an event. `access` has passed `check_access`.

        `max_batch`: bytes of the greatest burst that will be appended. `replicas`: copies that the stream must have.
        """
        self._outbox = Outbox()
        self.fileno = self._outbox.fileno
        self._ahead = False
        self._loop = asyncio.new_event_loop()
        self._client = _Client(self._loop, self._outbox, access, name, candidate)
        self._client.max_batch, self._client.replicas = max_batch, replicas
        self._thread = threading.Thread(target=self._client.run, name="nats", daemon=True)
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
        """Ask for what is known of the stream."""
        self._do(self._client.inspect)

    def events(self) -> list[Event]:
        """Return what has happened since."""
        was_full = self._outbox.held_bytes >= AHEAD_BYTES
        events = self._outbox.take()
        if was_full:
            self._do(self._client.feed.taken)
        return events

    def cut(self) -> None:
        """End the present connection, as the network may, for tests; another one is made."""
        self._do(self._client.cut)

    def close(self) -> None:
        """End the connection and the thread."""
        if self._thread.is_alive():
            self._do(self._client.stop)
            self._thread.join()
        self._outbox.close()

    def _do(self, call: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: the log is lost, or `close` was called
            self._loop.call_soon_threadsafe(call, *arguments)


class _Client:
    """What runs in the thread."""

    max_batch, replicas = 0, 3

    def __init__(
        self, loop: asyncio.AbstractEventLoop, outbox: Outbox, access: Access, name: StreamName, candidate: str
    ) -> None:
        self._loop, self._outbox, self._name = loop, outbox, name
        inbox = f"_INBOX.{NUID().next().decode()}"
        handlers = {f"{inbox}.a.*": self._on_append, f"{inbox}.g.*": self._on_get, name.reports: self._on_report}
        self._connection = Connection(access, f"fanmail {name.broker}@{candidate}", handlers)
        self._connection.on_up, self._connection.on_down = self._on_up, self._on_down
        self._connection.on_refused = self._on_refused
        self._appending = Appending(self._connection, name, self._on_result)
        self._fetcher = Fetcher(self._connection, name)
        self._appending.inbox, self._fetcher.inbox = f"{inbox}.a", f"{inbox}.g"
        self._health = Health(name, loop.time)
        self.feed = Feed(self._fetcher, self._health, outbox, loop.time)
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._ended = loop.create_future()

    def run(self) -> None:
        """Run until `stop`, or until the log is lost."""
        asyncio.set_event_loop(self._loop)
        # What the client library leaves behind of connections that have ended.
        self._loop.set_exception_handler(lambda *_: None)
        self._start(self._connection.run())
        reason = self._loop.run_until_complete(self._ended)
        self._close_loop()
        if reason:
            self._outbox.put(Lost(reason))

    def _close_loop(self) -> None:
        # Again and again: `asyncio.wait_for`, before Python 3.12, swallows a cancellation that comes with its result.
        while tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_S))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def stop(self) -> None:
        self._end("")

    def cut(self) -> None:
        self._connection.cut()

    def append(self, data: bytes, expected: int) -> None:
        self._start(self._appending.append(data, expected))

    def follow(self, first: int) -> None:
        self.feed.unfollow()
        self._replace("follow", self.feed.follow(first) if first else None)

    def read(self, position: int) -> None:
        self._replace("read", self.feed.read(position))

    def purge(self, before: int) -> None:
        self._start(self._purge(before))

    def report(self, data: bytes) -> None:
        self._start(self._report(data))

    def inspect(self) -> None:
        self._start(self._inspect())

    def _replace(self, name: str, work: Coroutine[Any, Any, None] | None) -> None:
        former = self._readers.pop(name, None)
        if former is not None:
            former.cancel()
        if work is not None:
            self._readers[name] = self._start(work)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the rest. What it raises ends all."""
        task = self._loop.create_task(self._guarded(work))
        self._tasks.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except LostError as error:
            self._end(str(error))
        except Exception as error:  # a bug; nothing may stop in silence
            self._end(f"unexpected in the client of NATS: {error!r}")

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

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
            described = await self.feed.inspect()
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
