"""Find, make and remove the streams of brokers: for the start of a broker, and for tools. Nothing else makes one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from nats.aio.client import Client

from broker.replica.engine.logs import only_one
from broker.replica.engine.names import StreamName, name_of, subjects_of
from broker.replica.jetstream import api
from broker.replica.jetstream.access import Access
from broker.replica.jetstream.connection import Failures, abandon, connect, describe
from broker.replica.jetstream.health import PROVEN, info_of, proven_of
from broker.replica.log import StreamInfo
from common.errors import StartError

REQUEST_S, ASK_AGAIN_S = 20.0, 4.0
"""How long the servers may take: a leader may have to be elected."""
NAME = "fanmail replica"
MADE_S = 10.0
"""How long a new stream may take to be ready."""

T = TypeVar("T")


class Streams:
    """A connection to NATS for a few requests. Made by `ask`."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def names(self, cluster: str, broker: str) -> list[StreamName]:
        """Return the logs that a broker has. There should be one."""
        query = api.encode({"subject": subjects_of(cluster, broker)})
        answer = await self._request(api.NAMES, query, api.Names)
        return [name for each in answer.streams or () if (name := name_of(cluster, broker, each))]

    async def find(self, cluster: str, broker: str) -> StreamName:
        """Return the log of a broker. Raises `UnusableStoreError` where there is none, or more than one."""
        return only_one(await self.names(cluster, broker), "NATS", cluster, broker)

    async def describe(self, name: StreamName) -> api.Described:
        """Return what the leader says of a stream."""
        return await self._request(api.INFO + name.stream, b"", api.Described)

    async def look(self, name: StreamName, replicas: int) -> StreamInfo:
        """Return what is known of a log that should have as many copies."""
        return info_of(await self.describe(name), replicas, ())

    async def read(self, name: StreamName, position: int) -> bytes | None:
        """Return an entry, None where there is none."""
        message = await self.client.request(api.GET + name.stream, api.encode({"seq": position}), timeout=ASK_AGAIN_S)
        got = api.decode(api.Got, message.data)
        if got.error is not None and got.error.err_code != api.NO_MESSAGE:
            raise api.RequestError(got.error)
        return got.message.data if got.error is None else None

    async def make(self, name: StreamName, genesis: bytes, max_bytes: int, replicas: int) -> None:
        """Make a log with its first entry. Raises `StartError` where it exists."""
        await self.create(name, max_bytes, replicas)
        await self.begin(name, genesis)

    async def create(self, name: StreamName, max_bytes: int, replicas: int, tags: tuple[str, ...] = ()) -> None:
        """Make an empty stream, durable in as many copies. Raises `StartError` where it exists."""
        config = api.Config(
            name=name.stream,
            subjects=[name.subject],
            num_replicas=replicas,
            max_bytes=max_bytes,
            discard="new",
            deny_delete=True,
            allow_direct=True,
            placement=api.Placement(tags=list(tags)) if tags else None,
        )
        await self._request(api.CREATE + name.stream, api.encode(config), api.Described)

    async def begin(self, name: StreamName, genesis: bytes) -> None:
        """Append the first entry to an empty stream, in the time that its leader needs to be elected."""
        headers, sent = {api.EXPECTED: "0"}, 0
        until = asyncio.get_running_loop().time() + MADE_S
        while True:
            sent += 1
            try:
                message = await self.client.request(name.subject, genesis, timeout=REQUEST_S, headers=headers)
                ack = api.decode(api.PubAck, message.data)
            except Failures as error:
                if asyncio.get_running_loop().time() > until:
                    raise StartError(f"{name}: {describe(error)}") from None
                await asyncio.sleep(0.1)
                continue
            if ack.error is not None and not (sent > 1 and ack.last() == 1):  # an earlier attempt was late
                raise StartError(f"{name}: {ack.error.description}")
            return

    async def prove(self, name: StreamName, syncing: set[str], others: set[str]) -> None:
        """Note at a stream which servers were seen to sync before they acknowledge, and which were seen not to."""
        config = (await self.describe(name)).config
        proven = (proven_of(config) | syncing) - others
        if proven != proven_of(config):
            kept = {key: value for key, value in (config.metadata or {}).items() if not key.startswith("_")}
            config.metadata = kept | {PROVEN: ",".join(sorted(proven))}
            await self._request(api.UPDATE + name.stream, api.encode(config), api.Described)

    async def move_leader(self, name: StreamName, server: str) -> None:
        """Ask the leader of a stream to leave that to another server, which keeps a copy."""
        if (await self.describe(name)).cluster.leader == server:
            return  # to ask for that would be an error
        query = api.encode({"placement": {"preferred": server}})
        await self._request(api.STEP_DOWN + name.stream, query, api.Done)

    async def delete(self, name: StreamName) -> None:
        """Remove a stream and all that is in it."""
        await self._request(api.DELETE + name.stream, b"", api.Done)

    async def _request(self, subject: str, payload: bytes, kind: type[api.Answer]) -> api.Answer:
        """Return the answer. Asks again: who was asked may have lost the lead. Raises what is in `Failures`."""
        sent = 0
        while True:
            try:
                message = await self.client.request(subject, payload, timeout=ASK_AGAIN_S)
            except Failures:
                sent += 1
                if sent * ASK_AGAIN_S >= REQUEST_S:
                    raise
                await asyncio.sleep(0.1)
                continue
            answer = api.decode(kind, message.data)
            was_done_before = sent > 0 and subject.startswith(api.DELETE)
            if answer.error is not None and not (was_done_before and answer.error.err_code == api.NO_STREAM):
                raise api.RequestError(answer.error)
            return answer


def ask(access: Access, work: Callable[[Streams], Coroutine[Any, Any, T]]) -> T:
    """Connect to any of the servers, and return what `work` returns.

    Raises `StartError` with one line where no server can be reached or one refuses, and what `work` raises.
    """
    return asyncio.run(_ask(access, work))


async def _ask(access: Access, work: Callable[[Streams], Coroutine[Any, Any, T]]) -> T:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    reasons = []
    for url in access.urls:
        client, refused = Client(), loop.create_future()
        try:
            await asyncio.wait_for(
                connect(client, access, url, NAME, asyncio.Event(), partial(_say, refused)), REQUEST_S
            )
        except Failures as error:
            reasons.append(f"{url}: {describe(error)}")
            await abandon(client)
            continue
        task = loop.create_task(work(Streams(client)))
        try:
            await asyncio.wait([task, refused], return_when=asyncio.FIRST_COMPLETED)
            if refused.done():
                raise StartError(f"NATS at {url}: {refused.result()}")
            return task.result()
        except api.RequestError as error:
            raise StartError(f"NATS at {url}: {error}") from None
        except Failures as error:
            raise StartError(f"NATS at {url}: {describe(error)}") from None
        finally:
            task.cancel()
            await abandon(client)
    raise StartError("NATS cannot be reached: " + "; ".join(reasons))


def _say(refused: asyncio.Future[str], reason: str) -> None:
    if not refused.done():
        refused.set_result(reason)
