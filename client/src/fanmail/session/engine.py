"""The loop that keeps a session connected as long as it has something to do.

It connects when there is something to send or to read, continues on another connection after a failure, and pauses in
between as the retries say. It runs in one event loop, which is that of the caller or that of a thread.
"""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import TYPE_CHECKING

from fanmail.errors import FanmailError, OutcomeUnknown, Refused, ServerFault, TooLarge, Unavailable
from fanmail.exchange import Exchange
from fanmail.session.reads import log
from fanmail.session.state import SessionState

if TYPE_CHECKING:
    from fanmail.session.connection import SessionConnection

STALL_CHECKS = 4
"""How often within its timeout a connection without answers is looked at."""


def load_websockets() -> ModuleType:
    """Return the module of connections. Raises ImportError if the package `websockets` is missing."""
    try:
        from fanmail.session import connection
    except ImportError as error:
        if error.name is None or not error.name.startswith("websockets"):
            raise
        text = "sessions need the package websockets: pip install 'fanmail[session]'"
        raise ImportError(text, name="websockets") from error
    return connection


class Engine:
    """The connection of a session, and what is written to it. Everything runs in the event loop."""

    def __init__(self, exchange: Exchange, headers: list[tuple[str, str]], loop: asyncio.AbstractEventLoop) -> None:
        self._connections = load_websockets()
        self._loop = loop
        self._target = self._connections.Target(headers, exchange.timeout_s)
        self._base_urls, self._retries = exchange.base_urls, exchange.retries
        self._environment = exchange.environment
        self.state: SessionState = SessionState(exchange.retries, exchange.environment)
        self._connection: SessionConnection | None = None
        self._wanted = asyncio.Event()
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._ended_with: FanmailError | None = None
        self._failures = 0
        """Consecutive connections on which nothing was heard."""
        self._heard_at = 0.0
        """When anything was heard, or when the server began to owe an answer."""

    def start(self) -> asyncio.Task[None]:
        """Return a task that runs until `close`. When it ends, also by cancellation, everything is settled."""
        task = self._loop.create_task(self._run(), name="fanmail-session")
        task.add_done_callback(self._end)
        return task

    async def _run(self) -> None:
        while not (self._is_closing and self.state.is_idle):
            if self.state.is_idle:
                self._wanted.clear()
                await self._wanted.wait()
            else:
                await self._connect()

    def close(self) -> None:
        """End all reads; settle everything that is under way, and close the connection."""
        self._is_closing = True
        self.state.stop_all()
        self.wake()

    def wake(self) -> None:
        """Send what there is to send, soon. After the end, settle it."""
        if self._ended_with is not None:
            self.state.fail(self._ended_with, None)
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    async def _connect(self) -> None:
        """Use a connection until it ends, or fail to open one, and pause."""
        base = self._base_urls.current
        try:
            connection = await self._connections.open_connection(base, self._target)
        except FanmailError as error:
            if not self._may_retry(error):
                self._base_urls.switch_from(base)
                self.state.fail(error, error)
                return
            await self._pause(base, error)
            return
        why = await self._use(base, connection)
        if self._is_closing and self.state.is_idle:
            return
        if isinstance(why, TooLarge):
            self.state.lanes.refuse_largest(why)
        elif not isinstance(why, OutcomeUnknown):
            self.state.fail(why, why)
            return
        await self._pause(base, why)

    async def _use(self, base: str, connection: SessionConnection) -> FanmailError:
        """Send and receive until the connection ends. Return why."""
        connection.on_text, connection.on_room = self._receive, self.wake
        self._connection = connection
        self._heard_at = self._loop.time()
        self.state.opened()
        self.wake()
        stall = asyncio.create_task(self._watch(connection))
        try:
            await connection.wait_closed()
        finally:
            stall.cancel()
            self._connection = None
            connection.abort()
        error: FanmailError = self._connections.why_lost(base, connection)
        self.state.lost(error)
        return error

    async def _watch(self, connection: SessionConnection) -> None:
        """End a connection on which the server owes answers and nothing moves."""
        unsent = 0
        while True:
            await asyncio.sleep(self._target.timeout_s / STALL_CHECKS)
            before, unsent = unsent, connection.transport.get_write_buffer_size()
            if not self.state.lanes.under_way or unsent < before:
                self._heard_at = self._loop.time()
            elif self._loop.time() - self._heard_at > self._target.timeout_s:
                connection.give_up(OutcomeUnknown(f"no answer within {self._target.timeout_s:g} s"))

    async def _pause(self, base: str, error: FanmailError) -> None:
        self._base_urls.switch_from(base)
        self._failures += 1
        pause_s = self._retries.pause(self._failures, error.retry_after, self._environment.random())
        self.state.lanes.expire(self._environment.clock() + pause_s, error)
        if self._retries.on_retry and not self.state.is_idle:
            self._retries.on_retry(error)
        await asyncio.sleep(pause_s)

    def _may_retry(self, error: FanmailError) -> bool:
        if self._retries.total == 0:
            return False
        return isinstance(error, Unavailable) or (self._retries.refused and isinstance(error, Refused))

    def _receive(self, text: bytes) -> None:
        self._heard_at = self._loop.time()
        self._failures = 0
        self.state.receive(text)
        self.wake()

    def _flush(self) -> None:
        """Write what may be written, and say when to look again."""
        self._flushing = False
        self._wanted.set()
        connection = self._connection
        if connection is None:
            return
        self.state.release_due()
        while connection.has_room:
            texts = self.state.take_output()
            if not texts:
                break
            connection.write(texts)
        if self._is_closing and self.state.is_idle:
            self._loop.create_task(connection.close())
        self._look_again_at(self.state.next_due())

    def _look_again_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due < float("inf"):
            left_s = max(0.0, due - self._environment.clock())
            self._timer = self._loop.call_later(left_s, self.wake)

    def _end(self, task: asyncio.Task[None]) -> None:
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            log.error("a session failed", exc_info=failure)
        self._ended_with = Unavailable("the session is closed") if failure is None else ServerFault(repr(failure))
        if self._timer is not None:
            self._timer.cancel()
        self.state.lost(OutcomeUnknown(self._ended_with.detail))
        self.state.fail(self._ended_with, None)
