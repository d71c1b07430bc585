"""The client for asyncio: the calls, loops and retries of `fanmail.client`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Unpack

from fanmail.admin_calls import MAX_PAGE
from fanmail.base_client import AsyncBaseClient
from fanmail.cluster import Delayed, DelayedTopic, Subscription, Topic
from fanmail.consumer import ReadOptions, read_messages
from fanmail.deprecation import former_names
from fanmail.flow import Flow
from fanmail.fork_safety import process_id
from fanmail.listing import list_delayed, list_delayed_topics, list_subscriptions, list_topics
from fanmail.message import Message, Worked
from fanmail.methods import AdminMethods, Methods
from fanmail.retry import ONCE
from fanmail.session.aio import AsyncSession
from fanmail.session.room import DEFAULT_IN_FLIGHT
from fanmail.streaming import Progress, StreamOptions, confirm_handled, confirm_regularly, stream_messages
from fanmail.worker import DEFAULT_LEASE_S, WorkOptions, extend_lease, run_worker


class AsyncClient(Methods, AsyncBaseClient):
    """`Client` for asyncio: methods are awaited, `messages` is for `async for`, and handlers are coroutine functions.

    Several event loops may use it, each with connections of its own. Those of an event loop that ended without `close`
    are closed by the garbage collector.
    """

    def messages(self, topic: str, user: str, **options: Unpack[ReadOptions]) -> AsyncIterator[Message]:
        """Yield every message of a user, as `Client.messages` does."""
        return self._emitted(read_messages(self._exchange, topic, user, options))

    async def stream(self, topic: str, user: str, **options: Unpack[StreamOptions]) -> AsyncGenerator[Message, None]:
        """Yield every message of a user as it arrives, as `Client.stream` does.

        A task acknowledges what is handled. A loop that is left with `break` acknowledges the rest when the generator
        is closed: close it with `contextlib.aclosing` before the client is closed, else the rest is delivered again.
        """
        progress, owner = Progress(), process_id()
        emitted = self._emitted(stream_messages(self._exchange, topic, user, options, progress))
        try:
            async with self._beside(confirm_regularly(self._exchange, topic, user, progress)):
                async for message in emitted:
                    yield message
        finally:
            if process_id() == owner:
                await emitted.aclose()
                if not self._connections.closed:
                    once = replace(self._exchange, retries=ONCE)
                    await self._run(confirm_handled(once, topic, user, progress))

    @former_names(most="limit", most_delay="max_delay")
    async def work(
        self, topic: str, user: str, handle: Callable[[Message], Awaitable[object]], **options: Unpack[WorkOptions]
    ) -> Worked:
        """Lease and handle messages, as `Client.work` does.

        A task extends the lease, and cancellation gives the message back.
        """
        lease = options.get("lease", DEFAULT_LEASE_S)

        async def handled(message: Message) -> BaseException | None:
            try:
                async with self._beside(extend_lease(self._exchange, message, lease)):
                    await handle(message)
            except BaseException as error:
                return error
            return None

        return await self._run(run_worker(self._exchange, topic, user, options), handled)

    def session(self, *, in_flight: int = DEFAULT_IN_FLIGHT) -> AsyncSession:
        """Return a session of the running event loop, as `Client.session` does."""
        if self._connections.closed:
            raise RuntimeError("the client is closed")
        return AsyncSession(self._exchange, self._text_headers(), in_flight)

    @asynccontextmanager
    async def _beside(self, flow: Flow[None]) -> AsyncIterator[None]:
        """Run a flow in a task of its own within the context."""
        owner = process_id()
        task = asyncio.create_task(self._run(flow))
        try:
            yield
        finally:
            if process_id() == owner:  # a child leaves its parent's loop and tasks alone
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled() and (error := task.exception()) and not self._connections.closed:
                    raise error


class AsyncAdmin(AdminMethods, AsyncBaseClient):
    """`Admin` for asyncio: methods are awaited, and listings are for `async for`."""

    def topics(self, prefix: str = "", *, page: int = MAX_PAGE) -> AsyncIterator[Topic]:
        """Yield all topics, as `Admin.topics` does."""
        return self._emitted(list_topics(self._exchange, prefix, page))

    def subscriptions(self, topic: str, *, page: int = MAX_PAGE) -> AsyncIterator[Subscription]:
        """Yield all subscriptions of a topic, as `Admin.subscriptions` does."""
        return self._emitted(list_subscriptions(self._exchange, topic, page))

    def delayed_topics(self, *, page: int = MAX_PAGE) -> AsyncIterator[DelayedTopic]:
        """Yield all topics that have delayed publishes, as `Admin.delayed_topics` does."""
        return self._emitted(list_delayed_topics(self._exchange, page))

    def delayed(self, topic: str, *, page: int = MAX_PAGE) -> AsyncIterator[Delayed]:
        """Yield all delayed publishes of a topic, as `Admin.delayed` does."""
        return self._emitted(list_delayed(self._exchange, topic, page))
