"""How long commits take, counted in buckets under the names that `common/stats.py` gives them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from common.stats import COMMIT_BOUNDS, commit_bucket

_NAMES = (*map(commit_bucket, COMMIT_BOUNDS), "")


def count_commit(counters: Counter[str], micros: int) -> None:
    """One commit that took so many microseconds, with the sync that it ends with."""
    counters["commits"] += 1
    counters["commit_us"] += micros
    name = _NAMES[bisect_left(COMMIT_BOUNDS, micros)]
    if name:
        counters[name] += 1
