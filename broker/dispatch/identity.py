"""The identity of a broker process."""

from __future__ import annotations

from typing import NamedTuple


class Identity(NamedTuple):
    """Who this broker process is. `incarnation` is a random number above 0, new at every start."""

    cluster: str
    broker: str
    incarnation: int
    max_body: int = 0
    """Bytes of the largest body that it accepts, told to fronts."""
