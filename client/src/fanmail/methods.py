"""What `Client` and `AsyncClient` have in common: a method for every function of `fanmail.calls`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from fanmail import calls, transport
from fanmail.retry import Retries
from fanmail.transport import Urls
from fanmail.values import Call

if TYPE_CHECKING:
    from fanmail.aio import AsyncClient
    from fanmail.client import Client

P = ParamSpec("P")
T = TypeVar("T")

_DEFAULT = Retries()


class Method(Generic[P, T]):
    """A function of `fanmail.calls` as a method that makes the call: awaited where the client is for asyncio."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...
    @overload
    def __get__(self, client: Client, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Client | AsyncClient | None, owner: type) -> Callable[P, Any]:
        return self._make if client is None else client.caller(self._make)


class Methods:
    """A client of one cluster: see `Client`."""

    def __init__(
        self,
        urls: Urls = None,
        *,
        retries: Retries = _DEFAULT,
        timeout: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._exchange = transport.new_exchange(urls, retries, timeout)
        self._open(transport.settings(headers))

    def _open(self, settings: dict[str, Any]) -> None:
        """Sets up the connections, with these arguments of httpx's clients."""
        raise NotImplementedError

    publish = Method(calls.publish)
    publish_many = Method(calls.publish_many)
    subscribe = Method(calls.subscribe)
    configure = Method(calls.configure)
    unsubscribe = Method(calls.unsubscribe)
    stand = Method(calls.stand)
    head = Method(calls.head)
    receive = Method(calls.receive)
    fetch = Method(calls.fetch)
    fetch_frames = Method(calls.fetch_frames)
    advance = Method(calls.advance)
    acknowledge = Method(calls.acknowledge)
    acknowledge_many = Method(calls.acknowledge_many)
    extend = Method(calls.extend)
    give_back = Method(calls.give_back)
    dead = Method(calls.dead)
    put_back_dead = Method(calls.put_back_dead)
    drop_dead = Method(calls.drop_dead)
