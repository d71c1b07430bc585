"""One call with its retries: which server, how long, and what is raised at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

from fanmail.errors import FanmailError, NotFound, OutcomeUnknown, ServerFault, Unavailable, error_of
from fanmail.retry import Places, Retries
from fanmail.values import Call, Flow, Lost, Outcome, Pause, Response, Send, World

T = TypeVar("T")

LEAST_TIMEOUT = 0.05
"""Seconds; what is left of the total time may be less."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What all calls of one client have in common."""

    places: Places
    retries: Retries
    timeout: float
    """Seconds for one try, beside what a long poll waits."""
    world: World

    def call(self, call: Call[T]) -> Flow[T]:
        """Tries until there is an answer, or an error that another try does not help, or the time is up.

        Where any try may have been executed, what is raised at the end is `OutcomeUnknown`, whatever the last one said.
        """
        retries, world = self.retries, self.world
        call = self._with_key(call)
        ends = math.inf if retries.total is None else world.clock() + retries.total
        patience = call.patience
        failures, unknown, fresh = 0, False, len(self.places) - 1
        while True:
            place, began = self.places.current, world.clock()
            left = max(ends - began + patience, LEAST_TIMEOUT) if retries.total else math.inf
            outcome: Outcome = yield Send(place, call.request, min(self.timeout + call.patience, left))
            if isinstance(outcome, Response) and outcome.status < 300:
                return _read(call, outcome)
            error = error_of(outcome, call.request.method)
            if unknown and call.gone_is_done and isinstance(error, NotFound):
                return call.read(Response(200, {}))
            if retries.total == 0 or not retries.allows(error, call.repeatable):
                self._leave(place, error)
                raise error
            waited = min(world.clock() - began, patience)  # what was waited for on purpose is not the retries' time
            patience, ends = patience - waited, ends + waited
            unknown = unknown or isinstance(error, OutcomeUnknown)
            self._leave(place, error)
            if isinstance(outcome, Lost) and fresh and world.clock() < ends:
                fresh -= 1  # another server may answer at once
                continue
            failures, fresh = failures + 1, len(self.places) - 1
            seconds = retries.pause(failures, error.retry_after, world.chance())
            if world.clock() + seconds >= ends:
                raise _last(error, unknown)
            yield Pause(seconds)

    def _leave(self, place: str, error: FanmailError) -> None:
        """The next try, or the next call, is for another server, where it is this one that failed."""
        if isinstance(error, Unavailable | OutcomeUnknown):
            self.places.leave(place)

    def _with_key(self, call: Call[T]) -> Call[T]:
        if not call.wants_key:
            return call
        headers = (*call.request.headers, ("Idempotency-Key", self.world.new_key()))
        return replace(call, request=replace(call.request, headers=headers), repeatable=True, wants_key=False)


def _read(call: Call[T], response: Response) -> T:
    try:
        return call.read(response)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise ServerFault(f"the answer is none of Fanmail's: {error!r}", status=response.status) from error


def _last(error: FanmailError, unknown: bool) -> FanmailError:
    if not unknown or isinstance(error, OutcomeUnknown):
        return error
    detail = f"an earlier try may have been executed; the last one: {error}"
    return OutcomeUnknown(detail, error.code, error.status, error.retry_after, error.fields, error.request_id)
