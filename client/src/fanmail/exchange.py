"""One call with its retries: which server is asked, for how long, and which error is raised at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

from fanmail.errors import FanmailError, NotFound, OutcomeUnknown, ServerFault, Unavailable, error_of
from fanmail.flow import Environment, Flow, Pause, Send
from fanmail.http_call import Call, NoResponse, Outcome, Response
from fanmail.retry import BaseUrls, Retries

T = TypeVar("T")

MIN_TIMEOUT_S = 0.05
"""The remaining part of the total time may be shorter than this."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What all calls of a client share."""

    base_urls: BaseUrls
    retries: Retries
    timeout_s: float
    """Limit for one try, not counting the wait of a long poll."""
    environment: Environment

    def call(self, call: Call[T]) -> Flow[T]:
        """Try until there is a response, an error that a retry cannot cure, or no time left.

        If any try may have been executed, the error raised at the end is `OutcomeUnknown`, whatever the last try said.
        """
        retries, environment = self.retries, self.environment
        call = self._with_key(call)
        ends = math.inf if retries.total is None else environment.clock() + retries.total
        extra_s = call.extra_timeout_s
        failures, unknown, untried = 0, False, len(self.base_urls) - 1
        while True:
            base, began = self.base_urls.current, environment.clock()
            left = max(ends - began + extra_s, MIN_TIMEOUT_S) if retries.total else math.inf
            timeout_s = min(self.timeout_s + call.extra_timeout_s, left)
            outcome: Outcome = yield Send(base, call.request, timeout_s, call.streams)
            if isinstance(outcome, Response) and outcome.status < 300:
                return _parsed(call, outcome)
            error = error_of(outcome, call.request.method)
            if unknown and call.gone_is_done and isinstance(error, NotFound):
                return call.parse(Response(200, {}))
            if retries.total == 0 or not retries.allows(error, call.repeatable):
                self._switch(base, error)
                raise error
            waited = min(environment.clock() - began, extra_s)  # the wait of a long poll does not use up `total`
            extra_s, ends = extra_s - waited, ends + waited
            unknown = unknown or isinstance(error, OutcomeUnknown)
            self._switch(base, error)
            if isinstance(outcome, NoResponse) and untried and environment.clock() < ends:
                untried -= 1  # another server may answer at once
                continue
            failures, untried = failures + 1, len(self.base_urls) - 1
            pause_s = retries.pause(failures, error.retry_after, environment.random())
            if environment.clock() + pause_s >= ends:
                raise final_error(error, unknown)
            if retries.on_retry:
                retries.on_retry(error)
            yield Pause(pause_s)

    def _switch(self, base: str, error: FanmailError) -> None:
        """Use another server for the next try or call if it was this server that failed."""
        if isinstance(error, Unavailable | OutcomeUnknown):
            self.base_urls.switch_from(base)

    def _with_key(self, call: Call[T]) -> Call[T]:
        if not call.wants_key:
            return call
        headers = (*call.request.headers, ("Idempotency-Key", self.environment.new_key()))
        return replace(call, request=replace(call.request, headers=headers), repeatable=True, wants_key=False)


def _parsed(call: Call[T], response: Response) -> T:
    try:
        return call.parse(response)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise ServerFault(f"the response is not from Fanmail: {error!r}", status=response.status) from error


def final_error(error: FanmailError, unknown: bool) -> FanmailError:
    """Return the error of a call whose last try ended with `error`; `unknown` says whether any may be executed."""
    if not unknown or isinstance(error, OutcomeUnknown):
        return error
    detail = f"an earlier try may have been executed; the last try failed with: {error}"
    return OutcomeUnknown(detail, error.code, error.status, error.retry_after, error.fields, error.request_id)
