"""What drives flows against real servers: by httpx, for ordinary code and for asyncio.

`Client` and `AsyncClient` are these with the calls of the public port, `Admin` and `AsyncAdmin` with those of the
operations port.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import wraps
from typing import Any, NoReturn, ParamSpec, Self, TypeVar

import httpx

from fanmail import transport
from fanmail.exchange import Exchange
from fanmail.forking import PerProcess, note_opened, note_opened_async, process_id, stay
from fanmail.message import Message
from fanmail.retry import Retries
from fanmail.values import Call, Effect, Emit, Flow, Handle, Outcome, Pause, Send

P = ParamSpec("P")
T = TypeVar("T")


class Driver:
    """Base URLs, their state, and connections."""

    _exchange: Exchange

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: make one in each process")

    def _start(
        self, urls: list[str], api_key: str | None, retries: Retries, timeout: float, headers: Mapping[str, str] | None
    ) -> None:
        self._exchange = transport.new_exchange(urls, retries, timeout)
        self._open(transport.settings(headers, api_key, urls))

    def _open(self, settings: dict[str, Any]) -> None:
        """Sets up the connections, with these arguments of httpx's clients."""
        raise NotImplementedError


class SyncDriver(Driver):
    """For ordinary code; threads may share it."""

    _connections: PerProcess[httpx.Client]

    def _open(self, settings: dict[str, Any]) -> None:
        self._connections = PerProcess(lambda: httpx.Client(**settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An interruption within httpx may have left a lock of its taken, and closing would wait for that for ever.
        if kind is None or not issubclass(kind, KeyboardInterrupt | SystemExit):
            self.close()

    def close(self) -> None:
        """Closes the connections of this process; those of a parent or a child stay."""
        http = self._connections.take()
        if http is not None:
            http.close()

    def caller(self, make: Callable[P, Call[T]]) -> Callable[P, T]:
        """The function as a method of this client."""

        @wraps(make)
        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return self._run(self._exchange.call(make(*args, **kwargs)))

        return method

    def _emitted(self, flow: Flow[None]) -> Iterator[Any]:
        """What a flow hands to who iterates, in the process that begins to."""
        began, answer = process_id(), None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration:
                return
            if isinstance(effect, Emit):
                yield effect.item
                stay(began)
                answer = None
            else:
                answer = self._do(effect, time.sleep)

    def _run(
        self,
        flow: Flow[T],
        handled: Callable[[Message], BaseException | None] | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> T:
        began = process_id()
        answer: Any = None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(effect, Handle):
                assert handled is not None
                answer = handled(effect.message)
                stay(began, answer)
            else:
                answer = self._do(effect, pause)

    def _do(self, effect: Effect, pause: Callable[[float], object]) -> Outcome | None:
        if isinstance(effect, Send):
            return self._send(effect)
        assert isinstance(effect, Pause), effect
        pause(effect.seconds)
        return None

    def _send(self, send: Send) -> Outcome:
        http = self._connections.get()
        request = transport.new_request(http, send, note_opened)
        try:
            response = http.send(request, stream=True)
            try:
                if transport.is_of_another(request, response):
                    return transport.mixed_up(send)
                return transport.answered(response, b"".join(response.iter_raw()))
            finally:
                response.close()
        except httpx.TransportError as error:
            return transport.lost(send, error)


class AsyncDriver(Driver):
    """For asyncio."""

    _connections: PerProcess[httpx.AsyncClient]

    def _open(self, settings: dict[str, Any]) -> None:
        self._connections = PerProcess(lambda: httpx.AsyncClient(**settings))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections of this process; those of a parent or a child stay."""
        http = self._connections.take()
        if http is not None:
            await http.aclose()

    def caller(self, make: Callable[P, Call[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """The function as a method of this client."""

        @wraps(make)
        async def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self._run(self._exchange.call(make(*args, **kwargs)))

        return method

    async def _emitted(self, flow: Flow[None]) -> AsyncIterator[Any]:
        """What a flow hands to who iterates, in the process that begins to."""
        began, answer = process_id(), None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration:
                return
            if isinstance(effect, Emit):
                yield effect.item
                stay(began)
                answer = None
            else:
                answer = await self._do(effect)

    async def _run(
        self, flow: Flow[T], handled: Callable[[Message], Awaitable[BaseException | None]] | None = None
    ) -> T:
        began = process_id()
        answer: Any = None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(effect, Handle):
                assert handled is not None
                answer = await handled(effect.message)
                stay(began, answer)
            else:
                answer = await self._do(effect)

    async def _do(self, effect: Effect) -> Outcome | None:
        if isinstance(effect, Send):
            return await self._send(effect)
        assert isinstance(effect, Pause), effect
        await asyncio.sleep(effect.seconds)
        return None

    async def _send(self, send: Send) -> Outcome:
        http = self._connections.get()
        request = transport.new_request(http, send, note_opened_async)
        try:
            response = await http.send(request, stream=True)
            try:
                if transport.is_of_another(request, response):
                    return transport.mixed_up(send)
                return transport.answered(response, b"".join([part async for part in response.aiter_raw()]))
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            return transport.lost(send, error)
