"""What a front's server reports of each answered request, to metrics and the access log."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class RequestSummary(Struct, gc=False):
    """One answered request. Fields that were not known when it was refused are empty."""

    method: str
    route: str
    """The template, never a name."""
    status: int
    duration: float
    """Seconds from the arrival of the whole request until the answer is handed over."""
    request_id: str
    sent: int
    """Bytes of head and body."""
    key: str = ""
    """Id of the API key; "" for none."""
    trace_id: str = ""
    """Id of the trace that the client's `traceparent` names."""
    ended: str = ""
    """Why a stream has ended; "" for what is none. The duration is then that of the whole stream."""


OnRequest = Callable[[RequestSummary], None]
