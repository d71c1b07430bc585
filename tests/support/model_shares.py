"""How the model shares limits among topics, from docs/operations.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


def share(ceiling: int, total: int, own: int, percent: int, unit: int = 1) -> int:
    """Return how much more fits: `percent` of what others leave, or one if there is room and this one has none."""
    others = total - own
    most = max(0, (ceiling - others) * percent // 100 - own) // unit
    return most or int(own == 0 and total + unit <= ceiling)


def weights_of(each: Iterable[tuple[bytes, int]]) -> Counter[bytes]:
    weights: Counter[bytes] = Counter()
    for name, weight in each:
        weights[name] += weight
    return weights


def heaviest(weights: Mapping[bytes, int]) -> bytes:
    """Return the heaviest one, and of several the first by name."""
    return min(weights, key=lambda name: (-weights[name], name))
