"""Names in the answer to STATS that both sides have to spell alike."""

from __future__ import annotations

TIME_BOUNDS = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000)
"""Upper bounds of the buckets of commits and syncs, microseconds; each counts what is not in the one before."""


def bucket(kind: str, bound: int) -> str:
    """The counter of a bucket; `kind` is commit or sync. Beside them are `<kind>s`, their number, and `<kind>_us`."""
    return f"{kind}_le_us.{bound}"
