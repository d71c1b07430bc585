"""The session for asyncio: what `fanmail.session.sync` has, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, Self, TypeVar, Unpack

from fanmail.errors import FanmailError
from fanmail.exchange import Exchange
from fanmail.message import Message, Published
from fanmail.session import ops
from fanmail.session.engine import Engine
from fanmail.session.methods import AsyncBaseSession, SessionMethods
from fanmail.session.ops import Op
from fanmail.session.reads import Item, Loop, Read, SessionReadOptions
from fanmail.session.room import AsyncRoom

T = TypeVar("T")


class _Sent(asyncio.Future[T]):
    """The result of an operation. `is_seen`: whether its caller has looked at it."""

    is_seen = False

    def __await__(self) -> Generator[Any, None, T]:
        self.is_seen = True
        return super().__await__()

    def result(self) -> T:
        self.is_seen = True
        return super().result()

    def exception(self) -> BaseException | None:
        self.is_seen = True
        return super().exception()


class AsyncSession(SessionMethods, AsyncBaseSession):
    """`Session` for asyncio: methods are awaited, and `read` is for `async for`. It belongs to one event loop.

    A task keeps it connected. Use it in an `async with` statement.
    """

    def __init__(self, exchange: Exchange, headers: list[tuple[str, str]], in_flight: int) -> None:
        super().__init__()
        self._room = AsyncRoom(in_flight)
        self._engine = Engine(exchange, headers, asyncio.get_running_loop())
        self._clock = exchange.environment.clock
        self._failed: _Sent[Any] | None = None
        """The first operation that failed and whose result was not retrieved."""
        self._task = self._engine.start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._is_foreign:
            return
        if kind is None:
            await self.close()
        else:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """End all loops and the connection, as `Session.close` does."""
        if self._is_foreign or self._task.done():
            return
        self._engine.close()
        await asyncio.wait([self._task])
        self._raise_failed()

    async def flush(self) -> None:
        """Wait until everything under way is answered, as `Session.flush` does."""
        self._check()
        await self._room.wait_empty()
        self._raise_failed()

    async def publish_soon(
        self,
        topic: str,
        body: bytes | str = b"",
        *,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
        ttl: float | None = None,
        delay: float | None = None,
        key: str | None = None,
    ) -> asyncio.Future[Published]:
        """Wait for room, publish, and return a future of the answer, as `Session.publish_soon` does."""
        return await self._begin(ops.publish(topic, body, type=type, headers=headers, ttl=ttl, delay=delay, key=key))

    async def acknowledge_soon(self, message: Message) -> asyncio.Future[None]:
        """Wait for room, acknowledge a message, and return a future of the answer."""
        return await self._begin(ops.acknowledge(message))

    def read(self, topic: str, user: str, **options: Unpack[SessionReadOptions]) -> AsyncGenerator[Message, None]:
        """Yield every message of a user as it arrives, as `Session.read` does.

        A loop that is left with `break` acknowledges the rest when the generator is closed: use `contextlib.aclosing`
        to close it at once.
        """
        return self._messages(Read(topic, user, options))

    async def _messages(self, read: Read) -> AsyncGenerator[Message, None]:
        self._check()
        items: asyncio.Queue[Item] = asyncio.Queue()
        read.put = items.put_nowait
        loop, engine = Loop(read), self._engine
        engine.state.open_read(read)
        engine.wake()
        try:
            while (item := await _next(items, read, self._clock)) is not None:
                message = loop.open(item)
                if message is not None:
                    yield message
                    self._check()
                    if loop.is_handled(message, items.empty()):
                        engine.state.confirm(read)
                        engine.wake()
        finally:
            if not self._is_foreign:
                stopped = asyncio.Event()
                engine.state.stop_read(read, lambda *_: stopped.set())
                engine.wake()
                await stopped.wait()

    async def _execute(self, op: Op[T]) -> T:
        return await (await self._begin(op))

    async def _begin(self, op: Op[T]) -> asyncio.Future[T]:
        self._check()
        if self._task.done():
            raise RuntimeError("the session is closed")
        await self._room.enter(op.size)
        sent: _Sent[T] = _Sent(loop=asyncio.get_running_loop())

        def settle(result: T, error: FanmailError | None) -> None:
            self._room.leave(op.size)
            if sent.done():  # cancelled
                return
            if error is None:
                sent.set_result(result)
            else:
                sent.set_exception(error)
                if self._failed is None or self._failed.is_seen:
                    self._failed = sent

        try:
            pending = self._engine.state.new_pending(op, settle)
        except BaseException:
            self._room.leave(op.size)
            raise
        self._engine.state.submit(pending)
        self._engine.wake()
        return sent

    def _raise_failed(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None and not failed.is_seen:
            failed.result()


async def _next(items: asyncio.Queue[Item], read: Read, clock: Callable[[], float]) -> Item:
    """Return the next item, or None at the end."""
    began = clock()
    while items.empty():
        left_s = read.left_s(began, clock())
        if left_s == 0:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                return await items.get()
    return items.get_nowait()
