"""Listings of the operations port, all pages one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanmail import admin_calls
from fanmail.errors import Unavailable
from fanmail.exchange import Exchange
from fanmail.values import Call, Emit, Flow


def listing_topics(exchange: Exchange, prefix: str, page: int) -> Flow[None]:
    """Every topic; at the end `Unavailable` where brokers did not answer for a page, as theirs are missing from it."""
    yield from _listing(exchange, lambda cursor: admin_calls.topic_page(prefix, limit=page, cursor=cursor))


def listing_subscriptions(exchange: Exchange, topic: str, page: int) -> Flow[None]:
    """Every subscription of a topic."""
    yield from _listing(exchange, lambda cursor: admin_calls.subscription_page(topic, limit=page, cursor=cursor))


def listing_delayed_topics(exchange: Exchange, page: int) -> Flow[None]:
    """Every topic with delayed publishes; as `listing_topics`."""
    yield from _listing(exchange, lambda cursor: admin_calls.delayed_topic_page(limit=page, cursor=cursor))


def listing_delayed(exchange: Exchange, topic: str, page: int) -> Flow[None]:
    """Every delayed publish of a topic."""
    yield from _listing(exchange, lambda cursor: admin_calls.delayed_page(topic, limit=page, cursor=cursor))


def _listing(exchange: Exchange, page_behind: Callable[[str | None], Call[Any]]) -> Flow[None]:
    cursor: str | None = None
    missing: set[str] = set()
    while True:
        found = yield from exchange.call(page_behind(cursor))
        for each in found:
            yield Emit(each)
        missing.update(getattr(found, "missing", ()))
        cursor = found.cursor
        if cursor is None:
            break
    if missing:
        raise Unavailable(f"topics are missing: {', '.join(sorted(missing))} did not answer", "brokers-missing")
