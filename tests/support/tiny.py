"""Thresholds of 3, which a few messages cross."""

from __future__ import annotations

from broker.store.sqlite.thresholds import StoreThresholds
from broker.thresholds import DEFAULT, Thresholds

TINY = Thresholds(*[3] * len(Thresholds._fields))._replace(scan=DEFAULT.scan)
"""Listings return less if fewer entries may be examined, so this threshold has tests of its own."""
TINY_STORE = StoreThresholds(*[3] * len(StoreThresholds._fields))
