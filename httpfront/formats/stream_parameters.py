"""Who asks for a stream, and how: `Accept`, `?stream=`, `?confirm=` and `?data=`. No I/O here."""

from __future__ import annotations

from typing import Any, NamedTuple

from httpfront.formats.batch import accepted_weights
from httpfront.formats.params import duration, one_of, refused
from httpfront.formats.sse import EVENT_STREAM

BY_CLIENT = "client"
DEFAULT_CONFIRM_S = 30.0
MAX_CONFIRM_S = 3600.0
SSE, LINES = "sse", "ndjson"


class StreamRequest(NamedTuple):
    """What the parameters of a stream mean."""

    form: str
    """`sse` or `ndjson`."""
    by_accept: bool
    """It was asked for by `Accept` alone, as a browser does."""
    confirm_s: float | None
    """Seconds after which what was written is done; None: only what the client confirms."""
    text: bool
    """Bodies alone in place of JSON."""


def read_stream_request(values: dict[str, Any], env: dict[str, Any]) -> StreamRequest | None:
    """Return what is asked for by the parsed parameters and `Accept`, None where that is no stream.

    `?stream=` outranks Accept. Raises `bad-parameter` for parameters that do not go together.
    """
    form = values.get("stream") or (SSE if accepts_events(env.get("HTTP_ACCEPT", "")) else "")
    for name in ("lease", "max", "wait") if form else ("confirm", "data"):
        if name in values:
            raise refused(name, "cannot be combined with a stream" if form else "is allowed with a stream only")
    if not form:
        return None
    if form == LINES and "data" in values:
        raise refused("data", "is allowed with server-sent events only")
    confirm_s = values.get("confirm", DEFAULT_CONFIRM_S)
    return StreamRequest(form, "stream" not in values, confirm_s, values.get("data") == "text")


def accepts_events(accept: str) -> bool:
    """Return whether an Accept header names server-sent events, and no other named type above them.

    A range such as `*/*` names nothing: a client that sends it may expect a message.
    """
    if EVENT_STREAM not in accept.lower():
        return False
    weights = accepted_weights(accept)
    mine = weights.get(EVENT_STREAM, 0.0)
    return mine > 0 and all(mine >= weight for kind, weight in weights.items() if not kind.endswith("/*"))


def parse_confirm(text: str) -> float | None:
    """Parse when messages are done: `client` (None), or seconds after they were written."""
    return None if text == BY_CLIENT else _parse_seconds(text)


def _parse_seconds(text: str) -> float:
    try:
        seconds = duration(2 * MAX_CONFIRM_S)(text)
    except ValueError:
        seconds = 2 * MAX_CONFIRM_S
    if seconds > MAX_CONFIRM_S:
        raise ValueError(f"must be {BY_CLIENT}, or a number of seconds from 0 to {MAX_CONFIRM_S:g}")
    return seconds


STREAM_PARAMETERS = {"stream": one_of(SSE, LINES), "confirm": parse_confirm, "data": one_of("json", "text")}
"""The parsers."""
