"""What a front's server tells of each answer, to those who count and log."""

from __future__ import annotations

from typing import NamedTuple


class Answered(NamedTuple):
    """One request that has its answer. What was not known of it yet when it was refused is empty."""

    method: str
    route: str
    """The template, never a name."""
    status: int
    duration: float
    """Seconds from the whole request's arrival to the answer's handing over."""
    request_id: str
    sent: int
    """Bytes of head and body."""
    key: str = ""
    """The id of the key with which it was made, "" for none."""
    trace_id: str = ""
    """Of the trace that the client's `traceparent` names."""
