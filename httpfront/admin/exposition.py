"""Metrics in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def exposition(*parts: Iterable[Metric]) -> bytes:
    """Return the families of all parts, in order, as text."""
    return generate_latest(_Families(family for part in parts for family in part))


def cumulative(bounds: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Return the buckets of a histogram in the form of Prometheus: each counts the values up to its bound.

    `counts` has one number more than there are bounds, that of the values above all bounds.
    """
    labels = [*(repr(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(labels, map(float, accumulate(counts)), strict=True))
