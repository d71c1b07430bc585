"""The bases of all clients, which run flows over httpx: one for ordinary code and one for asyncio.

`Client` and `AsyncClient` add the calls of the public port, `Admin` and `AsyncAdmin` those of the operations port.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from functools import wraps
from typing import Any, Generic, NoReturn, ParamSpec, Self, TypeVar, cast

import httpx

from fanmail import transport
from fanmail.connections import PerLoop, PerProcess
from fanmail.exchange import Exchange
from fanmail.flow import Effect, Emit, Flow, Handle, Pause, ReadLine, Send
from fanmail.fork_safety import check_process, note_opened, note_opened_async, process_id
from fanmail.http_call import Call, Outcome
from fanmail.lines import AsyncLines, Lines
from fanmail.message import Message
from fanmail.retry import Retries

P = ParamSpec("P")
T = TypeVar("T")


class FlowRun(Generic[T]):
    """A run of a flow, which only the process that began it may continue."""

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        self._owner = process_id()
        self.value: T = cast(T, None)
        """What the flow returned, once it has ended."""

    def resume(self, result: Any = None) -> Effect | None:
        """Send the result of the previous effect to the flow. Return the next effect, or None at the end."""
        try:
            return self._flow.send(result)
        except StopIteration as end:
            self.value = end.value
            return None

    def check_process(self, raised: BaseException | None = None) -> None:
        """Raise `raised` or RuntimeError in a process that was forked after the run began."""
        check_process(self._owner, raised)


class BaseClient:
    """Base URLs, retries and connections."""

    _exchange: Exchange

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: make one in each process")

    def _start(
        self, urls: list[str], api_key: str | None, retries: Retries, timeout: float, headers: Mapping[str, str] | None
    ) -> None:
        self._exchange = transport.new_exchange(urls, retries, timeout)
        settings = transport.httpx_settings(headers, api_key, urls)
        self._headers = httpx.Headers(settings["headers"])  # whose text hides the key
        self._open(settings)

    def _text_headers(self) -> list[tuple[str, str]]:
        """Return the headers of every request, for a session."""
        return [(name.decode(), value.decode("utf-8", "surrogateescape")) for name, value in self._headers.raw]

    def _open(self, settings: dict[str, Any]) -> None:
        """Prepare connections with these arguments of httpx's clients."""
        raise NotImplementedError


class SyncBaseClient(BaseClient):
    """The base of clients for ordinary code. Threads may share it."""

    _connections: PerProcess[httpx.Client]

    def _open(self, settings: dict[str, Any]) -> None:
        self._connections = PerProcess(lambda: httpx.Client(**settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # An interruption within httpx may have left one of its locks taken; closing would wait for it without end.
        if kind is None or not issubclass(kind, KeyboardInterrupt | SystemExit):
            self.close()

    def close(self) -> None:
        """Close the connections of this process, but not those of a parent or a child."""
        http = self._connections.close()
        if http is not None:
            http.close()

    def bind(self, make: Callable[P, Call[T]]) -> Callable[P, T]:
        """Return a function that makes a call as a method of this client, which executes the call."""

        @wraps(make)
        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return self._run(self._exchange.call(make(*args, **kwargs)))

        return method

    def _emitted(self, flow: Flow[None]) -> Generator[Any, None, None]:
        """Yield the items that a flow emits."""
        run = FlowRun(flow)
        with Lines() as lines:
            effect = run.resume()
            while effect is not None:
                if isinstance(effect, Emit):
                    yield effect.item
                    run.check_process()
                    effect = run.resume()
                else:
                    effect = run.resume(self._do(effect, time.sleep, lines))

    def _run(
        self,
        flow: Flow[T],
        handle: Callable[[Message], BaseException | None] | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> T:
        """Return the result of a flow; `handle` returns what the handler of a message raised."""
        run = FlowRun(flow)
        effect = run.resume()
        while effect is not None:
            if isinstance(effect, Handle):
                assert handle is not None
                raised = handle(effect.message)
                run.check_process(raised)
                effect = run.resume(raised)
            else:
                effect = run.resume(self._do(effect, pause))
        return run.value

    def _do(
        self, effect: Effect, pause: Callable[[float], object], lines: Lines | None = None
    ) -> Outcome | bytes | None:
        if isinstance(effect, Send):
            return self._send(effect, lines)
        if isinstance(effect, ReadLine):
            assert lines is not None
            return lines.read()
        assert isinstance(effect, Pause), effect
        pause(effect.seconds)
        return None

    def _send(self, send: Send, lines: Lines | None) -> Outcome:
        """Return the outcome; the body of what `send.streams` and is a 200 is left to `lines`."""
        http = self._connections.get()
        request = transport.build_request(http, send, note_opened)
        try:
            response = http.send(request, stream=True)
            try:
                if transport.belongs_to_another(request, response):
                    return transport.mismatched(send)
                if send.streams and response.status_code == 200:
                    assert lines is not None
                    lines.open(send, response)
                    return transport.to_response(response, b"")
                return transport.to_response(response, b"".join(response.iter_raw()))
            finally:
                if lines is None or not lines.reads(response):
                    response.close()
        except httpx.TransportError as error:
            return transport.to_no_response(send, error)


class AsyncBaseClient(BaseClient):
    """The base of clients for asyncio. Several event loops may use it, each with connections of its own."""

    _connections: PerLoop[httpx.AsyncClient]

    def _open(self, settings: dict[str, Any]) -> None:
        self._connections = PerLoop(lambda: httpx.AsyncClient(**settings))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections of the running event loop, but not those of a parent or a child process."""
        http = self._connections.close()
        if http is not None:
            await http.aclose()

    def bind(self, make: Callable[P, Call[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return a function that makes a call as a method of this client, which executes the call."""

        @wraps(make)
        async def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self._run(self._exchange.call(make(*args, **kwargs)))

        return method

    async def _emitted(self, flow: Flow[None]) -> AsyncGenerator[Any, None]:
        """Yield the items that a flow emits."""
        run = FlowRun(flow)
        async with AsyncLines() as lines:
            effect = run.resume()
            while effect is not None:
                if isinstance(effect, Emit):
                    yield effect.item
                    run.check_process()
                    effect = run.resume()
                else:
                    effect = run.resume(await self._do(effect, lines))

    async def _run(
        self, flow: Flow[T], handle: Callable[[Message], Awaitable[BaseException | None]] | None = None
    ) -> T:
        """Return the result of a flow; `handle` returns what the handler of a message raised."""
        run = FlowRun(flow)
        effect = run.resume()
        while effect is not None:
            if isinstance(effect, Handle):
                assert handle is not None
                raised = await handle(effect.message)
                run.check_process(raised)
                effect = run.resume(raised)
            else:
                effect = run.resume(await self._do(effect))
        return run.value

    async def _do(self, effect: Effect, lines: AsyncLines | None = None) -> Outcome | bytes | None:
        if isinstance(effect, Send):
            return await self._send(effect, lines)
        if isinstance(effect, ReadLine):
            assert lines is not None
            return await lines.read()
        assert isinstance(effect, Pause), effect
        await asyncio.sleep(effect.seconds)
        return None

    async def _send(self, send: Send, lines: AsyncLines | None) -> Outcome:
        http = self._connections.get()
        request = transport.build_request(http, send, note_opened_async)
        try:
            response = await http.send(request, stream=True)
            try:
                if transport.belongs_to_another(request, response):
                    return transport.mismatched(send)
                if send.streams and response.status_code == 200:
                    assert lines is not None
                    await lines.open(send, response)
                    return transport.to_response(response, b"")
                return transport.to_response(response, b"".join([part async for part in response.aiter_raw()]))
            finally:
                if lines is None or not lines.reads(response):
                    await response.aclose()
        except httpx.TransportError as error:
            return transport.to_no_response(send, error)
