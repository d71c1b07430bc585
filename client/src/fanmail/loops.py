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
DEFAULT_DELAY = 1.0
MOST_DELAY = 60.0
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
    """Seconds before a message whose handler failed goes out again, by default 1, and doubled with every further
    attempt, so that the others have their turn. 0: at once, before all others."""
    most_delay: float
    """Up to so many seconds, by default 60; the same as `delay`: it does not grow."""
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
    done = failed = lost = lost_in_a_row = 0
    lease, until_empty = options.get("lease", DEFAULT_LEASE), options.get("until_empty", False)
    wait = options.get("wait", 0.0 if until_empty else DEFAULT_WAIT)
    most, stopped = options.get("most"), options.get("stopped", _never)
    pace = Pace(exchange, wait)
    while not stopped() and (most is None or done + failed + lost < most):
        if lost_in_a_row:  # what was lost comes first again, perhaps to this worker, and perhaps for ever
            yield Pause(exchange.retries.pause(lost_in_a_row, 0.0, exchange.world.chance()))
        pace.begin()
        fetched = yield from _lease(exchange, topic, user, lease, wait)
        for message in fetched:
            raised: BaseException | None = yield Handle(message)
            if raised is not None and not isinstance(raised, Exception):
                yield from _give_back_at_last(exchange, message)
                raise raised  # an interruption, or the end of a task
            kept = yield from _settle(exchange, options, message, raised)
            lost_in_a_row = 0 if kept else lost_in_a_row + 1
            if not kept:
                lost += 1
            elif raised is None:
                done += 1
            else:
                failed += 1
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


def _settle(exchange: Exchange, options: WorkOptions, message: Message, raised: Exception | None) -> Flow[bool]:
    """Acknowledges a message, or gives it back; whether its lease was still this worker's."""
    try:
        if raised is None:
            yield from exchange.call(calls.acknowledge(message))
        else:
            yield from _give_back(exchange, options, message, raised)
    except LeaseLost:
        log.warning("the lease of %s was lost: it goes to another worker too", message.id)
        return False
    return True


def _give_back(exchange: Exchange, options: WorkOptions, message: Message, raised: Exception) -> Flow[None]:
    """Behind a delay, also where the callback that may choose it fails."""
    log.warning("the handler of %s failed: %r", message.id, raised)
    delay, failed = _delay(options, message.attempt), options.get("failed")
    try:
        wanted = failed(message, raised) if failed else None
    except BaseException:
        yield from _give_back_at_last(exchange, message, delay)
        raise
    yield from exchange.call(calls.give_back(message, delay if wanted is None else wanted))


def _delay(options: WorkOptions, attempt: int) -> float:
    """Seconds; the first attempt is 1."""
    first = options.get("delay", DEFAULT_DELAY)
    return min(first * 2.0 ** min(attempt - 1, 60), max(first, options.get("most_delay", MOST_DELAY)))


def _give_back_at_last(exchange: Exchange, message: Message, delay: float = 0.0) -> Flow[None]:
    """Before something is raised that counts more than an error of this, which leaves the message to its lease."""
    try:
        yield from exchange.call(calls.give_back(message, delay))
    except FanmailError as error:
        log.warning("%s could not be given back: %s", message.id, error)


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
