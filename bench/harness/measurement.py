"""Options and results shared by all measurements."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Options:
    """How long to measure. `rounds` are interleaved: every contender runs once per round."""

    seconds: int
    rounds: int
    quick: bool

    def amount(self, full: int) -> int:
        """Return the number of operations of a measurement of fixed size: `full`, or an eighth with `--quick`."""
        return -(-full // 8) if self.quick else full


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    ours: str
    against: str
    """What it is compared with, and its figure."""
    ratio: float | None = None
    """Ours divided by the other; the median of the per-round ratios."""
    aim: str = ""
    met: bool | None = None
    remark: str = ""


@dataclass
class Section:
    """The result of one measurement: lines of the table, and raw figures for `results.json` and the plot."""

    title: str
    against: str
    """Heading of the comparison column."""
    remarks: str = ""
    """Heading of the remarks column."""
    rows: list[Row] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


Measure = Callable[[Options], Section]


def progress(text: str) -> None:
    """Print a progress message to standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


def round_order(names: Iterable[str], round_number: int) -> list[str]:
    """Return the contenders in the order of a round; each round starts with another, so that drift favours none."""
    order = list(names)
    start = round_number % len(order)
    return order[start:] + order[:start]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the per-round ratios: what slows down a whole round cancels out."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def at_least(value: float, aim: float) -> tuple[str, bool]:
    """Return the aim as text, and whether it is met."""
    return f"≥ {aim:g}", value >= aim


def at_most(value: float, aim: float) -> tuple[str, bool]:
    """Return the aim as text, and whether it is met."""
    return f"≤ {aim:g}", value <= aim
