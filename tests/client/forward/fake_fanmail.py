"""A mailbox in memory with the leases of the server, in place of `AsyncClient`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from fanmail.errors import FanmailError, LeaseLost
from fanmail.message import Acknowledged, Fetched, Message, SubscriptionStatus


@dataclass
class Held:
    """A message that is not done."""

    attempt: int = 0
    until: float = 0.0
    """End of its lease, or earliest redelivery."""
    is_leased: bool = False


class FakeFanmail:
    """One user. Time is that of the running loop."""

    def __init__(self, count: int = 0, max_deliveries: int = 0) -> None:
        self._max_deliveries = max_deliveries
        self.held: dict[int, Held] = {seq: Held() for seq in range(1, count + 1)}
        self.dead: list[int] = []
        self.fetches = 0
        self.returned: list[tuple[int, float]] = []
        """Sequence numbers and delays of what was given back."""
        self.give_back_s = 0.001
        """How long it takes to give a message back."""
        self.extended = 0
        self.errors: list[FanmailError] = []
        """What the next fetches raise."""
        self.unsubscribed = False
        self.lost_fetches: set[int] = set()
        """Numbers of fetches whose answer is lost: what they lease stays leased."""

    async def fetch(self, topic: str, user: str, limit: int, *, lease: float, wait: float) -> Fetched:
        self.fetches += 1
        if self.errors:
            raise self.errors.pop(0)
        ends = self._now + wait
        while not (found := self._ready()) and self._now < ends:
            due = min((each.until for each in self.held.values() if each.until > self._now), default=ends)
            await asyncio.sleep(min(due, ends) - self._now)
        for seq in found[:limit]:
            each = self.held[seq]
            each.attempt, each.until, each.is_leased = each.attempt + 1, self._now + lease, True
        if self.fetches in self.lost_fetches:
            return await self.fetch(topic, user, limit, lease=lease, wait=wait)
        await asyncio.sleep(0.001)
        return Fetched(tuple(self._message(seq, topic, user) for seq in found[:limit]))

    async def acknowledge(self, message: Message) -> None:
        await asyncio.sleep(0.001)
        del self.held[self._held(message)]

    async def acknowledge_many(self, messages: Iterable[Message]) -> list[Acknowledged]:
        for each in messages:
            await self.acknowledge(each)
        return [Acknowledged(each.receipt, True) for each in messages]

    async def extend(self, message: Message, lease: float) -> None:
        self.held[self._held(message)].until = self._now + lease
        self.extended += 1

    async def give_back(self, message: Message, delay: float) -> None:
        await asyncio.sleep(self.give_back_s)
        seq = self._held(message)
        self.returned.append((seq, delay))
        self.held[seq].until, self.held[seq].is_leased = self._now + delay, False
        if self.held[seq].attempt == self._max_deliveries:
            del self.held[seq]
            self.dead.append(seq)

    async def status(self, topic: str, user: str) -> SubscriptionStatus:
        ready = self._ready()
        return SubscriptionStatus(len(ready), self.leased, len(self.dead), f"e-{ready[0]}" if ready else None)

    async def unsubscribe(self, topic: str, user: str) -> None:
        self.unsubscribed = True

    @property
    def leased(self) -> int:
        return sum(each.is_leased and each.until > self._now for each in self.held.values())

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _ready(self) -> list[int]:
        """Return what may be delivered, redeliveries first."""
        ready = [seq for seq, each in self.held.items() if each.until <= self._now]
        return sorted(ready, key=lambda seq: (self.held[seq].attempt == 0, seq))

    def _held(self, message: Message) -> int:
        found = self.held.get(message.seq)
        if found is None or found.attempt != message.attempt:
            raise LeaseLost("lost", "lease-lost", 409)
        return message.seq

    def _message(self, seq: int, topic: str, user: str) -> Message:
        attempt = self.held[seq].attempt
        return Message(f"e-{seq}", b"%d" % seq, attempt=attempt, receipt=f"e-{seq}.{attempt}", topic=topic, user=user)
