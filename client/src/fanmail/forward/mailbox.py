"""The mailbox of a target: the calls of the client that a forwarder needs, and what their failures mean to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fanmail.aio import AsyncClient
from fanmail.errors import FanmailError, LeaseLost, NoSubscription, Refused
from fanmail.forward.tally import Tally
from fanmail.forward.target import MAX_LEASE_S, Target
from fanmail.forward.timing import Timing
from fanmail.message import Fetched, Message, MessageId

T = TypeVar("T")

WAIT_S = 30.0
"""Of a long poll; the most that a server allows by default."""
PARALLEL = 8
"""Messages of a batch that are given back or extended at once; there is no call for many."""

log: logging.Logger = logging.getLogger("fanmail.forward")


class Mailbox:
    """The messages of one user of one topic, under leases.

    The client retries without end whatever says that Fanmail is not available: an outage is a delay and no error.
    """

    def __init__(self, target: Target, client: AsyncClient, tally: Tally, timing: Timing) -> None:
        self._target = target
        self._client = client
        self._tally = tally
        self._timing = timing

    async def lease(self, limit: int) -> Fetched:
        """Lease up to `limit` messages; wait for the first. Raises `NoSubscription` and `Denied`, among others."""
        target = self._target
        try:
            return await self._client.fetch(target.topic, target.user, limit, lease=target.lease, wait=WAIT_S)
        except Refused as error:  # too many leases: other consumers hold them
            return Fetched(retry_after=error.retry_after or 1.0)

    async def leased(self) -> int:
        """Return how many messages are leased, by anybody."""
        return (await self._client.status(self._target.topic, self._target.user)).leased

    async def are_oldest(self, messages: Sequence[Message]) -> bool:
        """Return whether no message before these is leased by somebody else or waits for redelivery."""
        status = await self._client.status(self._target.topic, self._target.user)
        if status.leased > len(messages):
            return False
        if status.next_id is None:
            return True
        first, waiting = MessageId.parse(messages[0].id), MessageId.parse(status.next_id)
        return first.epoch != waiting.epoch or first.seq < waiting.seq

    async def acknowledge(self, messages: Sequence[Message]) -> bool:
        """Acknowledge messages. Return whether all of their leases were still held; otherwise some come again."""
        try:
            if len(messages) == 1:
                await self._client.acknowledge(messages[0])
                kept = 1
            else:
                kept = sum(each.done for each in await self._client.acknowledge_many(messages))
        except LeaseLost:
            kept = 0
        except FanmailError as error:  # such as a key that has been removed: they come again
            self.note(error)
            kept = 0
        self._count("done", kept)
        self._count("lost", len(messages) - kept)
        return kept == len(messages)

    async def give_back(self, messages: Sequence[Message], delays: Sequence[float]) -> None:
        """End the leases; each message is delivered again after its delay. Without an answer they run out."""

        async def one(pair: tuple[Message, float]) -> None:
            message, delay = pair
            try:
                await self._client.give_back(message, min(delay, MAX_LEASE_S))
                self._count("returned", 1)
            except LeaseLost:
                self._count("lost", 1)
            except FanmailError as error:
                self.note(error)

        await _for_each(one, list(zip(messages, delays, strict=True)))

    async def keep(self, messages: Sequence[Message]) -> None:
        """Extend the leases after each third of their time, until cancelled or until all are lost."""
        held = {each.receipt: each for each in messages}

        async def one(message: Message) -> None:
            try:
                await self._client.extend(message, self._target.lease)
            except LeaseLost:
                del held[message.receipt]
            except FanmailError as error:
                self.note(error)

        while held:
            await self._timing.sleep(self._target.lease / 3)
            await _for_each(one, list(held.values()))

    async def unsubscribe(self) -> None:
        """End the subscription."""
        try:
            await self._client.unsubscribe(self._target.topic, self._target.user)
        except NoSubscription:
            return
        except FanmailError as error:
            self.note(error)

    def note(self, error: FanmailError) -> None:
        """Count and log a call that failed for good."""
        self._tally.errors[error.code or type(error).__name__] += 1
        log.warning("a call to Fanmail failed", extra={"target": self._target.name, "reason": str(error)})

    def _count(self, result: str, number: int) -> None:
        if number:
            self._tally.messages[result] += number


async def _for_each(call: Callable[[T], Awaitable[None]], items: Sequence[T]) -> None:
    """Await a call for each item, `PARALLEL` at once."""
    waiting = iter(items)

    async def worker() -> None:
        for each in waiting:
            await call(each)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(PARALLEL, len(items))):
            group.create_task(worker())
