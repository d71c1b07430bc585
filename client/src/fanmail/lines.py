"""Responses that are read line by line while they arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Self

import httpx

from fanmail import transport
from fanmail.encoding import redacted
from fanmail.errors import ServerFault
from fanmail.flow import Send
from fanmail.fork_safety import process_id
from fanmail.http_call import NoResponse

MAX_LINE = 512 * 2**20
"""Bytes: more than the largest body that a server takes, 64 MiB, has in JSON."""


class _Lines:
    """The response that is open, and the lines of it that have arrived."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._owner = process_id()
        self._max_line = max_line
        self._response: httpx.Response | None = None
        self._send: Send | None = None
        self._complete: deque[bytes] = deque()
        self._begun: list[bytes] = []
        """The parts of a line whose end has not arrived."""
        self._begun_bytes = 0

    def reads(self, response: httpx.Response) -> bool:
        """Return whether this is the response that is open."""
        return self._response is response

    def _begin(self, send: Send, response: httpx.Response) -> None:
        self._send, self._response = send, response
        self._complete.clear()
        self._begun, self._begun_bytes = [], 0

    def _add(self, part: bytes) -> None:
        first, *rest = part.split(b"\n")  # and at no other line end, which JSON may contain
        self._begun.append(first)
        self._begun_bytes += len(first)
        if rest:
            self._complete.append(b"".join(self._begun))
            *complete, last = rest
            self._complete.extend(complete)
            self._begun, self._begun_bytes = [last], len(last)
        if self._begun_bytes > self._max_line:
            raise ServerFault("a line of the stream is too long: it is not from Fanmail")

    def _ended(self, error: httpx.TransportError | None) -> NoResponse:
        assert self._send is not None
        if error is None:
            return NoResponse(True, f"{redacted(self._send.base)}: the stream has ended")
        return transport.to_no_response(self._send, error)


class Lines(_Lines):
    """For ordinary code. A context manager, which closes the response."""

    _parts: Iterator[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, send: Send, response: httpx.Response) -> None:
        """Read this response from now on, and close the one before."""
        self.close()
        self._begin(send, response)
        self._parts = response.iter_raw()

    def read(self) -> bytes | NoResponse:
        """Return the next line, or why there is none. Blocks."""
        while not self._complete:
            try:
                self._add(next(self._parts))
            except StopIteration:
                return self._ended(None)
            except httpx.TransportError as error:
                return self._ended(error)
        return self._complete.popleft()

    def close(self) -> None:
        """Close the response, if one is open."""
        if self._response is not None and process_id() == self._owner:  # a child leaves the locks of the pool alone
            self._response.close()
            self._response = None


class AsyncLines(_Lines):
    """`Lines` for asyncio."""

    _parts: AsyncIterator[bytes]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self, send: Send, response: httpx.Response) -> None:
        """Read this response from now on, and close the one before."""
        await self.close()
        self._begin(send, response)
        self._parts = response.aiter_raw()

    async def read(self) -> bytes | NoResponse:
        """Return the next line, or why there is none."""
        while not self._complete:
            try:
                self._add(await anext(self._parts))
            except StopAsyncIteration:
                return self._ended(None)
            except httpx.TransportError as error:
                return self._ended(error)
        return self._complete.popleft()

    async def close(self) -> None:
        """Close the response, if one is open."""
        if self._response is not None and process_id() == self._owner:  # a child leaves the locks of the pool alone
            await self._response.aclose()
            self._response = None
