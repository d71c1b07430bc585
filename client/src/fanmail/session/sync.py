"""The session for ordinary code. `fanmail.session.aio` has the same for asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Self, TypeVar, Unpack

from fanmail.errors import FanmailError
from fanmail.exchange import Exchange
from fanmail.message import Message, Published
from fanmail.session import ops
from fanmail.session.engine import Engine
from fanmail.session.methods import SessionMethods, SyncBaseSession
from fanmail.session.ops import Op
from fanmail.session.reads import Item, Loop, Read, SessionReadOptions
from fanmail.session.room import Room

T = TypeVar("T")


class _Sent(Future[T]):
    """The result of an operation. `is_seen`: whether its caller has looked at it."""

    is_seen = False

    def result(self, timeout: float | None = None) -> T:
        self.is_seen = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.is_seen = True
        return super().exception(timeout)


class Session(SessionMethods, SyncBaseSession):
    """One connection for many mailboxes and many publishes in flight. `Client.session` makes it.

    A thread of its own keeps it connected while there is something to do, and reconnects after a failure: publishes
    are repeated under their idempotency keys, and reads continue after what was handled. Threads may share it. It
    belongs to the process that made it: in a child, its methods raise RuntimeError.

    Use it in a `with` statement, which ends with `close`, or without it if the block raises. Its methods are the
    functions of `fanmail.session.ops`, each of which waits for its answer, and those below.
    """

    def __init__(self, exchange: Exchange, headers: list[tuple[str, str]], in_flight: int) -> None:
        super().__init__()
        self._room = Room(in_flight)
        self._loop = asyncio.new_event_loop()
        self._engine = Engine(exchange, headers, self._loop)
        self._clock = exchange.environment.clock
        self._inbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        """Calls that the event loop is to make."""
        self._is_posted = self._has_ended = False
        self._failed: _Sent[Any] | None = None
        """The first operation that failed and whose result was not retrieved."""
        self._task = self._engine.start()
        self._thread = threading.Thread(target=self._run, name="fanmail-session", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._is_foreign:
            return
        if kind is None:
            self.close()
        else:
            self._abort()

    def close(self) -> None:
        """End all loops over `read`, wait until everything under way is answered, and end the connection.

        Raises what `flush` raises. Leases of messages that were not acknowledged are given back.
        """
        if self._is_foreign or self._has_ended:
            return
        self._post(self._engine.close)
        self._thread.join()
        self._raise_failed()

    def flush(self) -> None:
        """Wait until everything under way is answered.

        Raises the error of the first operation begun by `publish_soon` or `acknowledge_soon` that failed and whose
        result was not retrieved.
        """
        self._check()
        self._room.wait_empty()
        self._raise_failed()

    def publish_soon(
        self,
        topic: str,
        body: bytes | str = b"",
        *,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
        ttl: float | None = None,
        delay: float | None = None,
        key: str | None = None,
    ) -> Future[Published]:
        """Publish one message without waiting for the answer, which the result of the future is.

        It waits for room while `in_flight` operations, or 4 MiB, are not answered. Publishes to one topic are executed
        in the order in which they were made, except for those that are retried after a failure of their broker: where
        that matters, use `publish`. `flush` and `close` raise errors that were not retrieved.

        >>> with client.session() as example:
        ...     answers = [example.publish_soon("news", f"{n}") for n in range(100)]
        >>> {answer.result().subscribers for answer in answers}
        {2}
        """
        return self._begin(ops.publish(topic, body, type=type, headers=headers, ttl=ttl, delay=delay, key=key))

    def acknowledge_soon(self, message: Message) -> Future[None]:
        """Acknowledge a message without waiting for the answer, as `publish_soon` does."""
        return self._begin(ops.acknowledge(message))

    def read(self, topic: str, user: str, **options: Unpack[SessionReadOptions]) -> Generator[Message, None, None]:
        """Yield every message of a user as it arrives, in order, endlessly, unless `wait` or `close` ends it.

        Any number of loops, each over another mailbox and in a thread of its own, may share the session. Messages are
        delivered at least once, except in mode `take`.

        In mode `after`, a message is acknowledged when the next one is asked for, and what was handled when the loop
        ends; to acknowledge the message at which it stops, call `acknowledge`. In mode `lease`, several workers may
        share a user: the caller acknowledges each message, or gives it back, and leases are extended while the loop
        goes on.

        Raises `NoSubscription`, also when the subscription ends during the loop, `CursorLost`, `LeasesOut`, and
        ValueError if the session reads this mailbox already.

        Args:
            topic: The topic.
            user: The user.
            **options: mode: `after` (the default), `lease`, or `take`, which delivers at most once. after: Where to
                begin; by default at the position of the user. lease: Seconds (30); extended, so it need only cover a
                crash. window: The greatest number of messages that are delivered and not acknowledged (100, at most
                1,000). wait: End after this many seconds without a message, in which the server had the read open.
                on_gap: Called with a `Gap` for messages that are not delivered, because they were acknowledged
                elsewhere or dropped; by default logged.

        >>> for message in session.read("news", "bob", wait=0.1):
        ...     last = message.text
        >>> last
        '99'
        """
        return self._messages(Read(topic, user, options))

    def _messages(self, read: Read) -> Generator[Message, None, None]:
        self._check()
        items: SimpleQueue[Item] = SimpleQueue()
        read.put = items.put
        loop, state = Loop(read), self._engine.state
        self._post(state.open_read, read)
        try:
            while (item := _next(items, read, self._clock)) is not None:
                message = loop.open(item)
                if message is not None:
                    yield message
                    self._check()
                    if loop.is_handled(message, items.empty()):
                        self._post(state.confirm, read)
        finally:
            if not self._is_foreign:
                stopped = threading.Event()
                self._post(state.stop_read, read, lambda *_: stopped.set())
                stopped.wait()

    def _execute(self, op: Op[T]) -> T:
        return self._begin(op).result()

    def _begin(self, op: Op[T]) -> Future[T]:
        self._check()
        if self._has_ended:
            raise RuntimeError("the session is closed")
        self._room.enter(op.size)
        sent: _Sent[T] = _Sent()
        sent.set_running_or_notify_cancel()  # it cannot be cancelled any more

        def settle(result: T, error: FanmailError | None) -> None:
            if error is None:
                sent.set_result(result)
            else:
                sent.set_exception(error)
                if self._failed is None or self._failed.is_seen:
                    self._failed = sent
            self._room.leave(op.size)

        try:
            self._post(self._engine.state.submit, self._engine.state.new_pending(op, settle))
        except BaseException:
            self._room.leave(op.size)
            raise
        return sent

    def _raise_failed(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None and not failed.is_seen:
            failed.result()

    def _post(self, call: Callable[..., object], *arguments: Any) -> None:
        """Have the event loop make a call."""
        self._inbox.append((call, arguments))
        if self._has_ended:
            self._make_calls()
        elif not self._is_posted:
            self._is_posted = True
            try:
                self._loop.call_soon_threadsafe(self._make_calls)
            except RuntimeError:  # it has just ended, and makes what was posted
                return

    def _make_calls(self) -> None:
        self._is_posted = False
        while self._inbox:
            call, arguments = self._inbox.popleft()
            call(*arguments)
        self._engine.wake()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(asyncio.wait([self._task]))
        finally:
            self._has_ended = True
            self._loop.close()
            self._make_calls()

    def _abort(self) -> None:
        """End without waiting: what is under way has an unknown outcome."""
        if not self._has_ended:
            self._post(self._task.cancel)
            self._thread.join()


def _next(items: SimpleQueue[Item], read: Read, clock: Callable[[], float]) -> Item:
    """Return the next item, or None at the end."""
    began = clock()
    while True:
        left_s = read.left_s(began, clock())
        try:
            return items.get(timeout=left_s)
        except Empty:
            if left_s == 0:
                return None
