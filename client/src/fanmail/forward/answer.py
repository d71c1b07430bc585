"""What a target answered, and what that means for the messages of the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum

from fanmail.forward.target import MAX_LEASE_S


class Outcome(StrEnum):
    """How an attempt ended. The values are those of a label of metrics."""

    DONE = "done"
    """2xx: acknowledged."""
    GONE = "gone"
    """410: the target wants nothing more."""
    BUSY = "busy"
    """429 or 503: later."""
    REFUSED = "refused"
    """Any other status, redirects among them."""
    TIMEOUT = "timeout"
    """There was no complete answer in time."""
    UNREACHABLE = "unreachable"
    """There was no connection, or it ended before the answer was complete."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one attempt."""

    outcome: Outcome
    status: int = 0
    """0: there was none."""
    retry_after_s: float = 0.0
    """How long the target wants to be left alone, at most the server's limit for a delay."""
    reason: str = ""
    """For logs, where there is no status."""


def answer_of(status: int, headers: Mapping[str, str], now: float) -> Answer:
    """Return what a complete response means; `now` is the time since 1970."""
    if 200 <= status < 300:
        return Answer(Outcome.DONE, status)
    if status == 410:
        return Answer(Outcome.GONE, status)
    if status in (429, 503):
        return Answer(Outcome.BUSY, status, _retry_after_s(headers.get("retry-after", ""), now))
    return Answer(Outcome.REFUSED, status)


def _retry_after_s(text: str, now: float) -> float:
    """Return `Retry-After`, a number of seconds or a date; 0 for anything else."""
    try:
        seconds = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_LEASE_S)
