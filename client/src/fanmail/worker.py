"""The loop of `work`: leasing messages, handling them, and extending their leases."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypedDict

from fanmail import calls
from fanmail.consumer import DEFAULT_WAIT_S, PollBackoff, explained
from fanmail.errors import FanmailError, LeaseLost, NoSubscription, Refused
from fanmail.exchange import Exchange
from fanmail.flow import Flow, Handle, Pause
from fanmail.message import Fetched, Message, Worked

DEFAULT_LEASE_S = 30.0
DEFAULT_DELAY_S = 1.0
DEFAULT_MAX_DELAY_S = 60.0

log: logging.Logger = logging.getLogger("fanmail")

Failed = Callable[[Message, Exception], float | None]
"""Called with a message whose handler failed. Returns seconds until redelivery, or None for the usual `delay`."""


class WorkOptions(TypedDict, total=False):
    """Options of `work`."""

    lease: float
    """Seconds, by default 30. The lease is extended while the handler runs, so it need only cover a crash."""
    wait: float
    """Seconds of a long poll, by default 20; with `until_empty` 0."""
    delay: float
    """Seconds until a message whose handler failed is redelivered, by default 1; doubled with each further attempt.
    0 redelivers it at once, before all other messages."""
    max_delay: float
    """Upper limit of the doubled delay in seconds, by default 60. If it equals `delay`, the delay does not grow."""
    limit: int | None
    """Stop after this many messages."""
    until_empty: bool
    """Whether to stop when no message waits."""
    failed: Failed | None
    """Called after each failure of the handler; may choose the delay."""
    stopped: Callable[[], bool]
    """Called between messages; the loop stops when it returns true."""


def run_worker(exchange: Exchange, topic: str, user: str, options: WorkOptions) -> Flow[Worked]:
    """Lease messages one by one, have each handled, acknowledge the successful ones and give back the failed ones."""
    done = failed = lost = lost_in_a_row = 0
    lease, until_empty = options.get("lease", DEFAULT_LEASE_S), options.get("until_empty", False)
    wait = options.get("wait", 0.0 if until_empty else DEFAULT_WAIT_S)
    limit, stopped = options.get("limit"), options.get("stopped", _never)
    backoff = PollBackoff(exchange, wait)
    while not stopped() and (limit is None or done + failed + lost < limit):
        if lost_in_a_row:  # a lost message is redelivered first, possibly to this worker and possibly without end
            yield Pause(exchange.retries.pause(lost_in_a_row, 0.0, exchange.environment.random()))
        backoff.begin()
        fetched = yield from _lease(exchange, topic, user, lease, wait)
        for message in fetched:
            raised: BaseException | None = yield Handle(message)
            if raised is not None and not isinstance(raised, Exception):
                yield from _try_give_back(exchange, message)
                raise raised  # an interruption, or the cancellation of a task
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
        yield from backoff.after(fetched)
    return Worked(done, failed, lost)


def _never() -> bool:
    return False


def _lease(exchange: Exchange, topic: str, user: str, lease: float, wait: float) -> Flow[Fetched]:
    """Lease one message, if any is available; none is while other workers hold the greatest allowed number."""
    try:
        return (yield from exchange.call(calls.fetch(topic, user, 1, lease=lease, wait=wait)))
    except Refused as error:
        return Fetched(retry_after=error.retry_after or 1.0)
    except NoSubscription as error:
        raise explained(error, topic, user) from None


def _settle(exchange: Exchange, options: WorkOptions, message: Message, raised: Exception | None) -> Flow[bool]:
    """Acknowledge a message or give it back. Return whether this worker still held its lease."""
    try:
        if raised is None:
            yield from exchange.call(calls.acknowledge(message))
        else:
            yield from _give_back(exchange, options, message, raised)
    except LeaseLost:
        log.warning("lost the lease of %s: another worker gets it too", message.id)
        return False
    return True


def _give_back(exchange: Exchange, options: WorkOptions, message: Message, raised: Exception) -> Flow[None]:
    """Give a message back with a delay, also if the callback that may choose the delay fails."""
    log.warning("the handler of %s failed: %r", message.id, raised)
    delay, failed = _delay_s(options, message.attempt), options.get("failed")
    try:
        chosen = failed(message, raised) if failed else None
    except BaseException:
        yield from _try_give_back(exchange, message, delay)
        raise
    yield from exchange.call(calls.give_back(message, delay if chosen is None else chosen))


def _delay_s(options: WorkOptions, attempt: int) -> float:
    """Return the delay after a failed attempt, the first of which is 1."""
    first = options.get("delay", DEFAULT_DELAY_S)
    return min(first * 2.0 ** min(attempt - 1, 60), max(first, options.get("max_delay", DEFAULT_MAX_DELAY_S)))


def _try_give_back(exchange: Exchange, message: Message, delay: float = 0.0) -> Flow[None]:
    """Give a message back before raising another error, which hides a failure of this; the lease then runs out."""
    try:
        yield from exchange.call(calls.give_back(message, delay))
    except FanmailError as error:
        log.warning("could not give back %s: %s", message.id, error)


def extend_lease(exchange: Exchange, message: Message, lease: float) -> Flow[None]:
    """Extend a lease after each third of it, until the lease is lost or the flow is closed."""
    while True:
        yield Pause(lease / 3)
        try:
            yield from exchange.call(calls.extend(message, lease))
        except LeaseLost:
            return
        except FanmailError as error:  # the handler continues anyway, and the next extension may succeed
            log.warning("could not extend the lease of %s: %s", message.id, error)
