"""What the sync and asyncio clients have in common: a method for every function of `calls` and of `admin_calls`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, overload

from fanmail import admin_calls, calls
from fanmail.driving import AsyncDriver, Driver, SyncDriver
from fanmail.retry import Retries
from fanmail.transport import DEFAULT_OPS_URL, OPS_URL, Urls, base_urls
from fanmail.values import Call

P = ParamSpec("P")
T = TypeVar("T")

_DEFAULT = Retries()


class Method(Generic[P, T]):
    """A function that makes a `Call`, as a method that makes the call: awaited where the client is for asyncio."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...
    @overload
    def __get__(self, client: SyncDriver, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncDriver, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: SyncDriver | AsyncDriver | None, owner: type) -> Callable[P, Any]:
        return self._make if client is None else client.caller(self._make)


class Methods(Driver):
    """A client of one cluster: see `Client`."""

    def __init__(
        self,
        urls: Urls = None,
        api_key: str | None = None,
        *,
        retries: Retries = _DEFAULT,
        timeout: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._start(base_urls(urls), api_key, retries, timeout, headers)

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


class AdminMethods(Driver):
    """A client of a cluster's operations ports: see `Admin`."""

    def __init__(
        self,
        ops_urls: Urls = None,
        api_key: str | None = None,
        *,
        retries: Retries = _DEFAULT,
        timeout: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._start(base_urls(ops_urls, OPS_URL, DEFAULT_OPS_URL), api_key, retries, timeout, headers)

    topic_page = Method(admin_calls.topic_page)
    topic = Method(admin_calls.topic)
    change_topic = Method(admin_calls.change_topic)
    end_topic = Method(admin_calls.end_topic)
    subscription_page = Method(admin_calls.subscription_page)
    subscription = Method(admin_calls.subscription)
    peek = Method(admin_calls.peek)
    purge = Method(admin_calls.purge)
    delayed_topic_page = Method(admin_calls.delayed_topic_page)
    delayed_page = Method(admin_calls.delayed_page)
    one_delayed = Method(admin_calls.one_delayed)
    remove_delayed = Method(admin_calls.remove_delayed)
    remove_all_delayed = Method(admin_calls.remove_all_delayed)
    brokers = Method(admin_calls.brokers)
    drain = Method(admin_calls.drain)
    undrain = Method(admin_calls.undrain)
    config = Method(admin_calls.config)
