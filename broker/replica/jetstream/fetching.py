"""Read entries of a stream: several at once from whichever server has a copy, or one from the leader.

A copy may lag behind what is acknowledged, and then has no entry where the leader has one: what a direct get does not
find says nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from broker.replica.engine.names import StreamName
from broker.replica.jetstream import api
from broker.replica.jetstream.connection import NO_CONNECTION, Connection, Failures

BATCH_ENTRIES = 256
BATCH_BYTES = 2**20
"""What one request asks for; an entry that is larger comes alone."""
BATCH_S = 2.0
"""How long a server may take to send it all."""

Found = list[tuple[int, bytes]]
"""Positions, without a gap, and entries."""

Unanswered = (*Failures, api.RequestError)
"""What a request ends with that was not answered, or refused."""


class Fetcher:
    """Reads the stream of one log. Used in the thread of the event loop."""

    def __init__(self, connection: Connection, name: StreamName) -> None:
        self._connection, self._name = connection, name
        self._number = 0
        self._gets: dict[str, _Get] = {}
        self.inbox = ""
        """Prefix of the subjects for the answers to direct gets; whoever subscribes calls `take`."""

    def take(self, token: str, message: Msg) -> None:
        """Take an answer to a direct get. `token` is the end of its subject."""
        get = self._gets.get(token)
        if get is not None:
            get.take(message)

    async def direct(self, first: int, entries: int = BATCH_ENTRIES) -> Found:
        """Return some entries; the first one is at `first` or, where a copy has none there, behind it.

        Raises what is in `Unanswered`.
        """
        client = self._connection.client
        if client is None:
            raise ConnectionError(NO_CONNECTION)
        self._number += 1
        token = str(self._number)
        get = self._gets[token] = _Get()
        try:
            query = api.encode({"seq": first, "batch": entries, "max_bytes": BATCH_BYTES})
            await client.publish(api.DIRECT_GET + self._name.stream, query, reply=f"{self.inbox}.{token}")
            await asyncio.wait_for(get.done, BATCH_S)
        except TimeoutError:
            if not get.found:
                raise
        finally:
            del self._gets[token]
        return list(get.found)

    async def from_leader(self, position: int) -> bytes | None:
        """Return an entry, None where the leader has none there. Raises what is in `Unanswered`."""
        query = api.encode({"seq": position})
        answer = await self._connection.request(api.GET + self._name.stream, query)
        got = api.decode(api.Got, answer)
        if got.error is None:
            return got.message.data
        if got.error.err_code == api.NO_MESSAGE:
            return None
        raise api.RequestError(got.error)

    async def describe(self) -> api.Described:
        """Return what the leader says of the stream. Raises what is in `Unanswered`."""
        answer = await self._connection.request(api.INFO + self._name.stream, b"")
        described = api.decode(api.Described, answer)
        if described.error is not None:
            raise api.RequestError(described.error)
        return described

    async def purge(self, before: int) -> None:
        """Forget entries below `before`. Raises what is in `Unanswered`."""
        query = api.encode({"filter": self._name.subject, "seq": before})
        answer = await self._connection.request(api.PURGE + self._name.stream, query, PURGE_S)
        done = api.decode(api.Done, answer)
        if not done.success:
            raise api.RequestError(done.error or api.ApiError(description="not purged"))


PURGE_S = 10.0


class _Get:
    """The answers to one direct get, which end with one that has no entry."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.found: deque[tuple[int, bytes]] = deque()

    def take(self, message: Msg) -> None:
        if self.done.done():
            return
        headers = message.headers or {}
        status = headers.get(api.STATUS)
        if status is None and api.SEQUENCE in headers:
            position = int(headers[api.SEQUENCE])
            if not self.found or position == self.found[-1][0] + 1:
                self.found.append((position, message.data))
                return
            self.done.set_result(None)  # a gap: what is before it is an answer too
        elif status in (None, "204", "404"):
            self.done.set_result(None)
        else:
            self.done.set_exception(NatsError(f"a direct get was answered with {status}"))
