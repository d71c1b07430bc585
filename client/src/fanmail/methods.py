"""The methods that the sync and asyncio clients share: one for every function of `calls` and of `admin_calls`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Generic, ParamSpec, TypeVar, overload

from fanmail import admin_calls, calls, slot_calls
from fanmail.base_client import AsyncBaseClient, BaseClient, SyncBaseClient
from fanmail.http_call import Call
from fanmail.retry import Retries
from fanmail.transport import DEFAULT_OPS_URL, OPS_URL, Urls, base_urls

P = ParamSpec("P")
T = TypeVar("T")

_DEFAULT = Retries()


class Method(Generic[P, T]):
    """A method that executes the `Call` that a function returns. It is a coroutine function in a client for asyncio."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...
    @overload
    def __get__(self, client: SyncBaseClient, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncBaseClient, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: SyncBaseClient | AsyncBaseClient | None, owner: type) -> Callable[P, Any]:
        return self._make if client is None else client.bind(self._make)


class Methods(BaseClient):
    """The constructor and the calls of `Client` and `AsyncClient`."""

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

    publish: Final = Method(calls.publish)
    publish_many: Final = Method(calls.publish_many)
    subscribe: Final = Method(calls.subscribe)
    configure: Final = Method(calls.configure)
    unsubscribe: Final = Method(calls.unsubscribe)
    status: Final = Method(calls.status)
    stand: Final = Method(calls.stand)
    head: Final = Method(calls.head)
    receive: Final = Method(calls.receive)
    fetch: Final = Method(calls.fetch)
    fetch_frames: Final = Method(calls.fetch_frames)
    advance: Final = Method(calls.advance)
    acknowledge: Final = Method(calls.acknowledge)
    acknowledge_many: Final = Method(calls.acknowledge_many)
    extend: Final = Method(calls.extend)
    give_back: Final = Method(calls.give_back)
    dead: Final = Method(calls.dead)
    put_back_dead: Final = Method(calls.put_back_dead)
    drop_dead: Final = Method(calls.drop_dead)


class AdminMethods(BaseClient):
    """The constructor and the calls of `Admin` and `AsyncAdmin`."""

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

    topic_page: Final = Method(admin_calls.topic_page)
    topic: Final = Method(admin_calls.topic)
    change_topic: Final = Method(admin_calls.change_topic)
    end_topic: Final = Method(admin_calls.end_topic)
    subscription_page: Final = Method(admin_calls.subscription_page)
    subscription: Final = Method(admin_calls.subscription)
    peek: Final = Method(admin_calls.peek)
    purge: Final = Method(admin_calls.purge)
    delayed_topic_page: Final = Method(admin_calls.delayed_topic_page)
    delayed_page: Final = Method(admin_calls.delayed_page)
    one_delayed: Final = Method(admin_calls.one_delayed)
    remove_delayed: Final = Method(admin_calls.remove_delayed)
    remove_all_delayed: Final = Method(admin_calls.remove_all_delayed)
    brokers: Final = Method(admin_calls.brokers)
    pause: Final = Method(admin_calls.pause)
    resume: Final = Method(admin_calls.resume)
    drain: Final = Method(admin_calls.drain)
    undrain: Final = Method(admin_calls.undrain)
    config: Final = Method(admin_calls.config)
    slots: Final = Method(slot_calls.slots)
    slot_plan: Final = Method(slot_calls.slot_plan)
    slot_state: Final = Method(slot_calls.slot_state)
    move_slot: Final = Method(slot_calls.move_slot)
    abort_move: Final = Method(slot_calls.abort_move)
    pause_moves: Final = Method(slot_calls.pause_moves)
    resume_moves: Final = Method(slot_calls.resume_moves)
