"""The client for asyncio: the same calls, loops and retries as `fanmail.client`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Unpack

from fanmail.admin_calls import MOST_PAGE
from fanmail.cluster import Delayed, DelayedTopic, Subscription, Topic
from fanmail.driving import AsyncDriver
from fanmail.forking import process_id
from fanmail.listing import listing_delayed, listing_delayed_topics, listing_subscriptions, listing_topics
from fanmail.loops import DEFAULT_LEASE, ReadOptions, WorkOptions, extending, reading, working
from fanmail.message import Message, Worked
from fanmail.methods import AdminMethods, Methods


class AsyncClient(Methods, AsyncDriver):
    """As `Client`, for asyncio: every method is awaited, `messages` is for `async for`, handlers are coroutines."""

    def messages(self, topic: str, user: str, **options: Unpack[ReadOptions]) -> AsyncIterator[Message]:
        """As `Client.messages`, for `async for`."""
        return self._emitted(reading(self._exchange, topic, user, options))

    async def work(
        self, topic: str, user: str, handle: Callable[[Message], Awaitable[object]], **options: Unpack[WorkOptions]
    ) -> Worked:
        """As `Client.work`; a task extends the lease meanwhile, and cancelling gives the message back."""
        lease = options.get("lease", DEFAULT_LEASE)

        async def handled(message: Message) -> BaseException | None:
            began = process_id()
            kept = asyncio.create_task(self._run(extending(self._exchange, message, lease)))
            try:
                await handle(message)
            except BaseException as error:
                return error
            finally:
                if process_id() == began:  # a child of the handler leaves its parent's loop and tasks alone
                    kept.cancel()
                    await asyncio.wait([kept])
            return None

        return await self._run(working(self._exchange, topic, user, options), handled)


class AsyncAdmin(AdminMethods, AsyncDriver):
    """As `Admin`, for asyncio: every method is awaited, listings are for `async for`."""

    def topics(self, prefix: str = "", *, page: int = MOST_PAGE) -> AsyncIterator[Topic]:
        """As `Admin.topics`."""
        return self._emitted(listing_topics(self._exchange, prefix, page))

    def subscriptions(self, topic: str, *, page: int = MOST_PAGE) -> AsyncIterator[Subscription]:
        """As `Admin.subscriptions`."""
        return self._emitted(listing_subscriptions(self._exchange, topic, page))

    def delayed_topics(self, *, page: int = MOST_PAGE) -> AsyncIterator[DelayedTopic]:
        """As `Admin.delayed_topics`."""
        return self._emitted(listing_delayed_topics(self._exchange, page))

    def delayed(self, topic: str, *, page: int = MOST_PAGE) -> AsyncIterator[Delayed]:
        """As `Admin.delayed`."""
        return self._emitted(listing_delayed(self._exchange, topic, page))
