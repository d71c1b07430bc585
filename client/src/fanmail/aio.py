"""The client for asyncio: the same calls, loops and retries as `fanmail.client`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar, Unpack

import httpx

from fanmail import transport
from fanmail.loops import DEFAULT_LEASE, ReadOptions, WorkOptions, extending, reading, working
from fanmail.message import Message, Worked
from fanmail.methods import Methods
from fanmail.values import Call, Effect, Emit, Flow, Handle, Outcome, Pause, Send

P = ParamSpec("P")
T = TypeVar("T")


class AsyncClient(Methods):
    """As `Client`, for asyncio: every method is awaited, `messages` is for `async for`, handlers are coroutines."""

    _http: httpx.AsyncClient

    def _open(self, settings: dict[str, Any]) -> None:
        self._http = httpx.AsyncClient(**settings)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    def caller(self, make: Callable[P, Call[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """The function as a method of this client."""

        @wraps(make)
        async def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self._run(self._exchange.call(make(*args, **kwargs)))

        return method

    async def messages(self, topic: str, user: str, **options: Unpack[ReadOptions]) -> AsyncIterator[Message]:
        """As `Client.messages`, for `async for`."""
        flow = reading(self._exchange, topic, user, options)
        answer: Any = None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration:
                return
            if isinstance(effect, Emit):
                yield effect.message
                answer = None
            else:
                answer = await self._do(effect)

    async def work(
        self, topic: str, user: str, handle: Callable[[Message], Awaitable[object]], **options: Unpack[WorkOptions]
    ) -> Worked:
        """As `Client.work`; a task extends the lease meanwhile, and cancelling gives the message back."""
        lease = options.get("lease", DEFAULT_LEASE)

        async def handled(message: Message) -> BaseException | None:
            kept = asyncio.create_task(self._run(extending(self._exchange, message, lease)))
            try:
                await handle(message)
            except BaseException as error:
                return error
            finally:
                kept.cancel()
                await asyncio.wait([kept])
            return None

        return await self._run(working(self._exchange, topic, user, options), handled)

    async def _run(
        self, flow: Flow[T], handled: Callable[[Message], Awaitable[BaseException | None]] | None = None
    ) -> T:
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
            else:
                answer = await self._do(effect)

    async def _do(self, effect: Effect) -> Outcome | None:
        if isinstance(effect, Send):
            return await self._send(effect)
        assert isinstance(effect, Pause), effect
        await asyncio.sleep(effect.seconds)
        return None

    async def _send(self, send: Send) -> Outcome:
        request = self._http.build_request(**transport.request_arguments(send))
        try:
            response = await self._http.send(request, stream=True)
            try:
                return transport.answered(response, b"".join([part async for part in response.aiter_raw()]))
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            return transport.lost(send, error)
