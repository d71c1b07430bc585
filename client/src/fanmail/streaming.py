"""The loop of `stream`: messages as they come over one open response, and their confirmation beside it.

The server ends a stream when it stops, and proxies end connections. The loop opens another stream after the last
message that was handled, so nothing is lost.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from fanmail import calls
from fanmail.consumer import explained
from fanmail.encoding import encode_path, encode_query
from fanmail.errors import FanmailError, NoSubscription, OutcomeUnknown, ServerFault, Unavailable, error_of
from fanmail.exchange import Exchange
from fanmail.flow import Emit, Flow, Pause, ReadLine
from fanmail.http_call import Call, NoResponse, Request, Response
from fanmail.message import Message
from fanmail.responses import parse_streamed

CONFIRM_EVERY_S = 1.0
PROBLEM = "application/problem+json"
SILENCE_S = 30.0
"""How much longer than any other response a stream may be silent; the server sends something every 15 s."""

_log = logging.getLogger("fanmail")


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that a stream does not deliver, as they were acknowledged elsewhere or dropped before."""

    first: str
    """The id of the first one."""
    position: str
    """The id with which the stream continues."""


class StreamOptions(TypedDict, total=False):
    """Options of `stream`."""

    after: str
    """The cursor. "0", the default, continues at the position of the user."""
    on_gap: Callable[[Gap], object]
    """Called for a gap; by default it is logged as a warning."""


@dataclass(slots=True)
class Progress:
    """How far a stream is handled, and how far that is confirmed. Shared with whatever confirms."""

    handled: str = "0"
    confirmed: str = "0"


def stream_messages(
    exchange: Exchange, topic: str, user: str, options: StreamOptions, progress: Progress
) -> Flow[None]:
    """Emit messages as they come, endlessly; each is handled when the flow is resumed after it."""
    on_gap = options.get("on_gap", log_gap)
    progress.handled = progress.confirmed = options.get("after", "0")
    fruitless = 0
    try:
        while True:
            yield from exchange.call(_open_stream(topic, user, progress.handled))
            progress.confirmed = progress.handled
            before = progress.handled
            error = yield from _read_stream(topic, user, on_gap, progress)
            fruitless = fruitless + 1 if progress.handled == before else 1
            pause_s = exchange.retries.pause(fruitless, error.retry_after, exchange.environment.random())
            yield Pause(pause_s)
    except NoSubscription as error:
        raise explained(error, topic, user, progress.handled) from None


def _open_stream(topic: str, user: str, after: str) -> Call[None]:
    query = {"stream": "ndjson", "confirm": "client", "after": after}
    request = Request("GET", encode_path(topic, user) + encode_query(query))
    return Call(request, _check_stream, extra_timeout_s=SILENCE_S, streams=True)


def _check_stream(response: Response) -> None:
    if response.status != 200:
        raise ValueError(f"a stream was answered with {response.status}")


def _read_stream(topic: str, user: str, on_gap: Callable[[Gap], object], progress: Progress) -> Flow[FanmailError]:
    """Emit the messages of one stream. Return why it ended if another one may be opened."""
    while True:
        line: bytes | NoResponse = yield ReadLine()
        if isinstance(line, NoResponse):
            return OutcomeUnknown(line.reason)
        if not line:
            continue  # sent after a silence, to keep the connection open
        try:
            found = _parse_line(json.loads(line), topic, user)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise ServerFault(f"a line of the stream is not from Fanmail: {error!r}") from error
        if isinstance(found, Message):
            yield Emit(found)
            progress.handled = found.id
        elif isinstance(found, Gap):
            on_gap(found)
        elif isinstance(found, Unavailable | OutcomeUnknown):
            return found
        elif found is not None:
            raise found


def _parse_line(members: dict[str, Any], topic: str, user: str) -> Message | Gap | FanmailError | None:
    """Return a message or what an event says: the error that ends the stream, None for what later servers may add."""
    kind = members.get("event")
    if kind is None:
        return parse_streamed(members, topic, user)
    if kind == "gap":
        return Gap(members["from"], members["position"])
    if kind not in ("end", "error"):
        return None
    return problem_of(members)


def problem_of(members: dict[str, Any]) -> FanmailError:
    """Return the exception for the members of a problem document that came in a stream or a session."""
    headers = {"content-type": PROBLEM, "retry-after": str(members.get("retry_after", ""))}
    return error_of(Response(int(members["status"]), headers, json.dumps(members).encode()))


def log_gap(gap: Gap) -> None:
    """Tell of a gap in the log, as a warning."""
    _log.warning("messages from %s on were acknowledged elsewhere or dropped; going on at %s", gap.first, gap.position)


def confirm_regularly(exchange: Exchange, topic: str, user: str, progress: Progress) -> Flow[None]:
    """Confirm what is handled, once per second, until the flow is closed."""
    while True:
        yield Pause(CONFIRM_EVERY_S)
        yield from confirm_handled(exchange, topic, user, progress)


def confirm_handled(exchange: Exchange, topic: str, user: str, progress: Progress) -> Flow[None]:
    """Confirm what is handled, unless it is confirmed. What fails is confirmed with the next one, or repeated."""
    handled = progress.handled
    if handled == progress.confirmed:
        return
    try:
        yield from exchange.call(calls.advance(topic, user, handled))
    except FanmailError as error:
        _log.warning("could not acknowledge %s: %s", handled, error)
    else:
        progress.confirmed = handled
