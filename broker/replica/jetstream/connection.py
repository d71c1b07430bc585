"""A connection to one NATS server after the other: made, watched, given up and made again.

`nats-py` could do that by itself, but waits without limit for a paused server to take what it was sent, sends what was
meant for the former connection, and gives up for ever where a server refuses it. So each connection is a new client.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoServersError

from broker.replica.jetstream.access import Access, options_of
from common.errors import StartError

CONNECT_S = 1.0
PING_S = 1.0
"""Interval of pings."""
PONG_S = 2.0
"""How long a server may take to answer one."""
RETRY_S, MOST_RETRY_S = 0.1, 1.0
"""Pause between two attempts; doubles when no server could be reached."""
CLOSE_S = 0.2
PENDING_BYTES = 64 * 2**20
"""What may wait to be written."""
NO_CONNECTION = "no connection to NATS"

Handler = Callable[[Msg], Awaitable[None]]
Failures = (OSError, NatsError, asyncio.TimeoutError)
"""What a connection, or a request, ends with."""


class Connection:
    """The present connection, if there is one. Used in the thread of its event loop."""

    def __init__(self, access: Access, name: str, handlers: Mapping[str, Handler]) -> None:
        """`handlers` are called with what comes for their subjects. `name` is shown by the servers' monitoring."""
        self._access, self._name, self._handlers = access, name, handlers
        self.client: Client | None = None
        """None: there is no connection."""
        self.max_payload = 0
        """Bytes that the last server takes in one message; 0: unknown yet."""
        self.on_up: Callable[[], None] = _nothing
        self.on_down: Callable[[str], None] = _ignore
        self.on_refused: Callable[[str], None] = _ignore
        """Called where a server does not let this client do something."""
        self._up = asyncio.Event()

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        # Processes with the same list begin with different servers.
        begin, said = sum(self._name.encode()) % len(self._access.urls), ""
        urls = self._access.urls[begin:] + self._access.urls[:begin]
        pause_s = RETRY_S
        while True:
            for url in urls:
                reason = await self._connected(url)
                was_up, self.client = self.client is not None, None
                self._up.clear()
                if was_up or reason != said:
                    self.on_down(reason)
                said = reason
                pause_s = RETRY_S if was_up else pause_s
                await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MOST_RETRY_S)

    async def up(self) -> Client:
        """Wait until there is a connection."""
        while self.client is None:
            await self._up.wait()
        return self.client

    def cut(self) -> None:
        """End the present connection."""
        writer = _writer(self.client) if self.client is not None else None
        if writer is not None:
            writer.transport.abort()

    async def request(self, subject: str, payload: bytes, timeout_s: float = CONNECT_S) -> bytes:
        """Return the answer to a request. Raises what is in `Failures`."""
        if self.client is None:
            raise ConnectionError(NO_CONNECTION)
        answer = await self.client.request(subject, payload, timeout=timeout_s)
        return bytes(answer.data)

    async def _connected(self, url: str) -> str:
        """Connect, and return why the connection, or the attempt, has ended."""
        client, ended = Client(), asyncio.Event()
        try:
            await asyncio.wait_for(
                connect(client, self._access, url, self._name, ended, lambda reason: self.on_refused(reason)),
                3 * CONNECT_S,
            )
            for subject, handler in self._handlers.items():
                await client.subscribe(subject, cb=handler)
            self.max_payload = client.max_payload
            self.client = client
            self._up.set()
            self.on_up()
            return f"{url}: {await _watch(client, ended)}"
        except StartError as error:
            return str(error)
        except Exception as error:  # the client library raises many kinds
            return f"{url}: {describe(error)}"
        finally:
            await abandon(client)


def _nothing() -> None:
    pass


def _ignore(_: str) -> None:
    pass


async def connect(
    client: Client, access: Access, url: str, name: str, ended: asyncio.Event, refused: Callable[[str], None]
) -> None:
    """Connect a new client, which sets `ended` when its connection ends, and calls `refused` for lack of a right.

    Raises what is in `Failures`, and `StartError` for files that cannot be used.
    """

    async def end() -> None:
        ended.set()

    said: list[Exception] = []

    async def note(error: Exception) -> None:
        # The end of a connection is noticed; what else there is shows in the answers.
        said[:] = [error]
        if "permissions violation" in str(error):
            refused(describe(error))

    try:
        await _connect(client, url, name, end, note, options_of(access, lambda: is_private(client)))
    except NoServersError as error:
        raise said[0] if said else error from None
    if access.tls and not is_private(client):
        raise ConnectionError("the server does not offer TLS")


async def _connect(
    client: Client, url: str, name: str, end: Callable[[], Awaitable[None]], note: Any, options: dict[str, Any]
) -> None:
    await client.connect(
        [url],
        name=name,
        allow_reconnect=False,
        max_reconnect_attempts=1,  # of a server that cannot be reached; 0 would be for ever
        reconnect_time_wait=0,
        connect_timeout=CONNECT_S,  # type: ignore[arg-type]
        ping_interval=10**6,  # `_watch` does it
        pending_size=PENDING_BYTES,
        no_echo=True,
        error_cb=note,
        closed_cb=end,
        disconnected_cb=end,
        lame_duck_mode_cb=end,
        **options,
    )


async def _watch(client: Client, ended: asyncio.Event) -> str:
    """Return when the connection has ended, or the server does not answer any more."""
    while True:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), PING_S)
        if ended.is_set() or client.is_closed:
            return describe(client.last_error) if client.last_error else "the connection has ended"
        try:
            await client.flush(timeout=PONG_S)  # type: ignore[arg-type]
        except Failures:
            return "the server does not answer"


async def abandon(client: Client) -> None:
    """Close a connection without waiting for the server."""
    with suppress(Exception):
        await asyncio.wait_for(client.close(), CLOSE_S)
    writer = _writer(client)
    if writer is not None:
        writer.transport.abort()


def is_private(client: Client) -> bool:
    """Return whether the connection of a client is encrypted."""
    writer = _writer(client)
    return writer is not None and writer.get_extra_info("ssl_object") is not None


def _writer(client: Client) -> Any:
    # There is no public way to end a connection at once, nor to see whether it has TLS. The version is pinned.
    return getattr(client._transport, "_io_writer", None)


def describe(error: Exception | str) -> str:
    """Return an error in a few words."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, asyncio.TimeoutError) and not isinstance(error, NatsError):
        return "no answer in time"
    return str(error).removeprefix("nats: ") or type(error).__name__
