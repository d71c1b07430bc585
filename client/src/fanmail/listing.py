"""Listings of the operations port, all pages one after the other."""

from __future__ import annotations

from fanmail import admin_calls
from fanmail.errors import Unavailable
from fanmail.exchange import Exchange
from fanmail.values import Emit, Flow


def listing_topics(exchange: Exchange, prefix: str, page: int) -> Flow[None]:
    """Every topic; at the end `Unavailable` where brokers did not answer for a page, as theirs are missing from it."""
    cursor: str | None = None
    missing: set[str] = set()
    while True:
        found = yield from exchange.call(admin_calls.topic_page(prefix, limit=page, cursor=cursor))
        for each in found:
            yield Emit(each)
        missing.update(found.missing)
        cursor = found.cursor
        if cursor is None:
            break
    if missing:
        raise Unavailable(f"topics are missing: {', '.join(sorted(missing))} did not answer", "brokers-missing")


def listing_subscriptions(exchange: Exchange, topic: str, page: int) -> Flow[None]:
    """Every subscription of a topic."""
    cursor: str | None = None
    while True:
        found = yield from exchange.call(admin_calls.subscription_page(topic, limit=page, cursor=cursor))
        for each in found:
            yield Emit(each)
        cursor = found.cursor
        if cursor is None:
            return
