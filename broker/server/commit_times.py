"""How long commits and syncs take, counted in buckets under the names that `common/protocol/stats.py` gives them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from common.protocol.stats import TIME_BOUNDS, bucket

_NAMES = {kind: [*(bucket(kind, bound) for bound in TIME_BOUNDS), ""] for kind in ("commit", "sync")}


def count_commit(counters: Counter[str], micros: int, synced: int | None) -> None:
    """One commit that took so many microseconds; so many of them it waited for the disk, None where there is none."""
    _count(counters, "commit", micros)
    if synced is not None:
        _count(counters, "sync", synced)


def _count(counters: Counter[str], kind: str, micros: int) -> None:
    counters[f"{kind}s"] += 1
    counters[f"{kind}_us"] += micros
    name = _NAMES[kind][bisect_left(TIME_BOUNDS, micros)]
    if name:
        counters[name] += 1
