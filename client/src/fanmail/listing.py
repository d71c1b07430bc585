"""Listings of the operations port that go through all pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanmail import admin_calls
from fanmail.errors import Unavailable
from fanmail.exchange import Exchange
from fanmail.flow import Emit, Flow
from fanmail.http_call import Call


def list_topics(exchange: Exchange, prefix: str, page: int) -> Flow[None]:
    """Emit every topic. Raises `Unavailable` at the end if brokers did not answer, as their topics are missing."""
    yield from _list(exchange, lambda cursor: admin_calls.topic_page(prefix, limit=page, cursor=cursor))


def list_subscriptions(exchange: Exchange, topic: str, page: int) -> Flow[None]:
    """Emit every subscription of a topic."""
    yield from _list(exchange, lambda cursor: admin_calls.subscription_page(topic, limit=page, cursor=cursor))


def list_delayed_topics(exchange: Exchange, page: int) -> Flow[None]:
    """Emit every topic that has delayed publishes. Raises as `list_topics`."""
    yield from _list(exchange, lambda cursor: admin_calls.delayed_topic_page(limit=page, cursor=cursor))


def list_delayed(exchange: Exchange, topic: str, page: int) -> Flow[None]:
    """Emit every delayed publish of a topic."""
    yield from _list(exchange, lambda cursor: admin_calls.delayed_page(topic, limit=page, cursor=cursor))


def _list(exchange: Exchange, page_after: Callable[[str | None], Call[Any]]) -> Flow[None]:
    cursor: str | None = None
    missing: set[str] = set()
    while True:
        page = yield from exchange.call(page_after(cursor))
        for item in page:
            yield Emit(item)
        missing.update(getattr(page, "missing", ()))
        cursor = page.cursor
        if cursor is None:
            break
    if missing:
        raise Unavailable(f"topics are missing: {', '.join(sorted(missing))} did not answer", "brokers-missing")
