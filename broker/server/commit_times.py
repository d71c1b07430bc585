"""The durations of commits and syncs, counted in the buckets of `common/protocol/stats.py`."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from common.protocol.log_stats import APPENDS
from common.protocol.stats import COMMITS, SYNCS, TIME_BOUNDS_US, StatHistogram

_BUCKETS = {each: [*map(each.bucket, TIME_BOUNDS_US), ""] for each in (COMMITS, SYNCS, APPENDS)}


def count_commit(counters: Counter[str], took_us: int, synced_us: int | None, appended: bool = False) -> None:
    """Count one commit, of which `synced_us` were spent waiting for the disk; None where it did not wait for one.

    `appended`: it was an append to a replicated log.
    """
    _count(counters, COMMITS, took_us)
    if appended:
        _count(counters, APPENDS, took_us)
    if synced_us is not None:
        _count(counters, SYNCS, synced_us)


def _count(counters: Counter[str], histogram: StatHistogram, took_us: int) -> None:
    counters[histogram.number] += 1
    counters[histogram.total_us] += took_us
    bucket = _BUCKETS[histogram][bisect_left(TIME_BOUNDS_US, took_us)]
    if bucket:
        counters[bucket] += 1
