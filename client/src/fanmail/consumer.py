"""The loop of `messages`: reading with a cursor, and the pace of its polls."""

from __future__ import annotations

import math
from typing import TypedDict

from fanmail import calls
from fanmail.errors import NoSubscription
from fanmail.exchange import Exchange
from fanmail.flow import Emit, Flow, Pause
from fanmail.message import Fetched

DEFAULT_WAIT_S = 20.0
SHORT_POLL_S = 0.5
"""A long poll that ends empty sooner than this was cut short; the next one is delayed."""


class ReadOptions(TypedDict, total=False):
    """Options of `messages`."""

    after: str
    """The cursor. "0", the default, continues where the user stands."""
    wait: float
    """Seconds of a long poll, by default 20; with `until_empty` 0."""
    batch: int
    """Messages per fetch, by default 1."""
    until_empty: bool
    """Whether to stop when no message waits."""


class PollBackoff:
    """Delays polls after one that ended empty too soon, as the server is overloaded or stopping, or `wait` is 0."""

    def __init__(self, exchange: Exchange, wait: float) -> None:
        self._exchange = exchange
        self._short_s = SHORT_POLL_S if wait > SHORT_POLL_S else math.inf
        self._empty_polls = 0
        self._began = 0.0

    def begin(self) -> None:
        """Note the start of a poll."""
        self._began = self._exchange.environment.clock()

    def after(self, fetched: Fetched) -> Flow[None]:
        """Pause if the poll came back empty too soon."""
        environment = self._exchange.environment
        is_early = not fetched.messages and (
            bool(fetched.retry_after) or environment.clock() - self._began <= self._short_s
        )
        self._empty_polls = self._empty_polls + 1 if is_early else 0
        if is_early:
            pause_s = self._exchange.retries.pause(self._empty_polls, fetched.retry_after, environment.random())
            yield Pause(pause_s)


def read_messages(exchange: Exchange, topic: str, user: str, options: ReadOptions) -> Flow[None]:
    """Emit the messages after a cursor, endlessly or until none waits.

    What was emitted is acknowledged by the request that follows the last message of its fetch.
    """
    after, limit, until_empty = options.get("after", "0"), options.get("batch", 1), options.get("until_empty", False)
    wait = options.get("wait", 0.0 if until_empty else DEFAULT_WAIT_S)
    backoff = PollBackoff(exchange, wait)
    try:
        while True:
            backoff.begin()
            fetched = yield from exchange.call(calls.fetch(topic, user, limit, after=after, wait=wait))
            for message in fetched:
                yield Emit(message)
                after = message.id
            if until_empty and not fetched.messages:
                return
            yield from backoff.after(fetched)
    except NoSubscription as error:
        raise explained(error, topic, user, after) from None


def explained(error: NoSubscription, topic: str, user: str, after: str = "0") -> NoSubscription:
    """Return a loop's 404 with an explanation of its possible causes."""
    detail = (
        f"{user!r} is not subscribed to {topic!r}"
        + (f" any more (the cursor was {after})" if after != "0" else "")
        + ": the subscription was removed or expired, or its broker keeps messages in memory only and was restarted, "
        "which loses the waiting messages. Subscribe again, and continue with after='0'"
    )
    return NoSubscription(detail, error.code, error.status, error.retry_after, error.fields, error.request_id)
