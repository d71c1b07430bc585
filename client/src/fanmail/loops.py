"""The loops that are made of calls: reading by `after`, working with leases, extending a lease."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TypedDict

from fanmail import calls
from fanmail.errors import FanmailError, LeaseLost, NoSubscription, Refused
from fanmail.exchange import Exchange
from fanmail.message import Fetched, Message, Worked
from fanmail.values import Emit, Flow, Handle, Pause

DEFAULT_LEASE = 30.0
DEFAULT_WAIT = 20.0
SHORT_POLL = 0.5
"""Seconds; a long poll that ends empty sooner than this was cut short, and the next one is held back."""

log = logging.getLogger("fanmail")


class ReadOptions(TypedDict, total=False):
    """How `messages` reads."""

    after: str
    """The cursor; "0", the default: where the user stands."""
    wait: float
    """Seconds of a long poll, by default 20, with `until_empty` 0."""
    batch: int
    """Messages of one fetch, by default 1."""
    until_empty: bool
    """Ends when none waits."""


Failed = Callable[[Message, Exception], float | None]
"""Told of a message whose handler has failed; returns seconds until it goes out again, or None: `delay`."""


class WorkOptions(TypedDict, total=False):
    """How `work` works."""

    lease: float
    """Seconds, by default 30; extended while the handler runs, so it need only cover a crash."""
    wait: float
    """Seconds of a long poll, by default 20, with `until_empty` 0."""
    delay: float
    """Seconds before a message whose handler failed goes out again, by default 0."""
    most: int | None
    """Ends after so many messages."""
    until_empty: bool
    """Ends when none waits."""
    failed: Failed | None
    stopped: Callable[[], bool]
    """Asked between messages."""


class Pace:
    """Holds back polls that come back empty too soon: the server is full of waiters, drains, or `wait` is 0."""

    def __init__(self, exchange: Exchange, wait: float) -> None:
        self._exchange = exchange
        self._short = SHORT_POLL if wait > SHORT_POLL else math.inf
        self._empty = 0
        self._began = 0.0

    def begin(self) -> None:
        self._began = self._exchange.world.clock()

    def after(self, fetched: Fetched) -> Flow[None]:
        """Pauses where the answer was empty too soon."""
        world = self._exchange.world
        early = not fetched.messages and (fetched.retry_after or world.clock() - self._began <= self._short)
        self._empty = self._empty + 1 if early else 0
        if early:
            yield Pause(self._exchange.retries.pause(self._empty, fetched.retry_after, world.chance()))


def reading(exchange: Exchange, topic: str, user: str, options: ReadOptions) -> Flow[None]:
    """The messages behind a cursor, for ever or until none waits. What was emitted is done with the next request that
    follows the last of its fetch.
    """
    after, most, until_empty = options.get("after", "0"), options.get("batch", 1), options.get("until_empty", False)
    wait = options.get("wait", 0.0 if until_empty else DEFAULT_WAIT)
    pace = Pace(exchange, wait)
    try:
        while True:
            pace.begin()
            fetched = yield from exchange.call(calls.fetch(topic, user, most, after=after, wait=wait))
            for message in fetched:
                yield Emit(message)
                after = message.id
            if until_empty and not fetched.messages:
                return
            yield from pace.after(fetched)
    except NoSubscription as error:
        raise _gone(error, topic, user, after) from None


def _gone(error: NoSubscription, topic: str, user: str, after: str) -> NoSubscription:
    """The 404 of a loop, with what it may mean."""
    detail = (
        f"{user!r} is not subscribed to {topic!r}"
        + (f" any more (the cursor was {after})" if after != "0" else "")
        + ": it was unsubscribed, it expired, or its broker keeps messages in memory only and was restarted, and then "
        "the messages that waited are gone. Subscribe again, and read on with after='0'"
    )
    return NoSubscription(detail, error.code, error.status, error.retry_after, error.fields, error.request_id)


def working(exchange: Exchange, topic: str, user: str, options: WorkOptions) -> Flow[Worked]:
    """Leases messages one by one, has each handled, acknowledges what went well and gives back what failed."""
    done = failed = lost = 0
    lease, until_empty = options.get("lease", DEFAULT_LEASE), options.get("until_empty", False)
    wait = options.get("wait", 0.0 if until_empty else DEFAULT_WAIT)
    most, stopped = options.get("most"), options.get("stopped", _never)
    pace = Pace(exchange, wait)
    while not stopped() and (most is None or done + failed + lost < most):
        pace.begin()
        fetched = yield from _lease(exchange, topic, user, lease, wait)
        for message in fetched:
            raised: BaseException | None = yield Handle(message)
            try:
                if raised is None:
                    yield from exchange.call(calls.acknowledge(message))
                    done += 1
                else:
                    yield from _give_back(exchange, options, message, raised)
                    failed += 1
            except LeaseLost:
                log.warning("the lease of %s was lost: it goes to another worker too", message.id)
                lost += 1
            if raised is not None and not isinstance(raised, Exception):
                raise raised  # an interruption, or the end of a task: the message is given back
        if until_empty and not fetched.messages and not fetched.retry_after:
            break
        yield from pace.after(fetched)
    return Worked(done, failed, lost)


def _never() -> bool:
    return False


def _lease(exchange: Exchange, topic: str, user: str, lease: float, wait: float) -> Flow[Fetched]:
    """One message, or none; none too where other workers hold all that may be lent."""
    try:
        return (yield from exchange.call(calls.fetch(topic, user, 1, lease=lease, wait=wait)))
    except Refused as error:
        return Fetched(retry_after=error.retry_after or 1.0)
    except NoSubscription as error:
        raise _gone(error, topic, user, "0") from None


def _give_back(exchange: Exchange, options: WorkOptions, message: Message, raised: BaseException) -> Flow[None]:
    delay = 0.0
    if isinstance(raised, Exception):
        log.warning("the handler of %s failed: %r", message.id, raised)
        failed = options.get("failed")
        wanted = failed(message, raised) if failed else None
        delay = options.get("delay", 0.0) if wanted is None else wanted
    yield from exchange.call(calls.give_back(message, delay))


def extending(exchange: Exchange, message: Message, lease: float) -> Flow[None]:
    """Extends a lease every third of it, until it is lost or this flow is stopped."""
    while True:
        yield Pause(lease / 3)
        try:
            yield from exchange.call(calls.extend(message, lease))
        except LeaseLost:
            return
        except FanmailError as error:  # the next turn may have more luck, and the handler goes on anyway
            log.warning("the lease of %s could not be extended: %s", message.id, error)
