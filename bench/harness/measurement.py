"""What every measurement takes and gives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Options:
    """How long to measure. `rounds` are interleaved: every contender has its turn in each."""

    seconds: int
    rounds: int
    quick: bool

    def amount(self, full: int) -> int:
        """How many operations where a measurement counts those and not seconds; an eighth with `--quick`."""
        return -(-full // 8) if self.quick else full


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    ours: str
    against: str
    """What it is compared with, and that one's figure."""
    ratio: float | None = None
    """Ours to the other's; the median over the rounds of the ratios of each round."""
    aim: str = ""
    met: bool | None = None
    remark: str = ""


@dataclass
class Section:
    """What one measurement came to: lines of the table, and figures for `results.json` and the plot."""

    title: str
    against: str
    """Head of the column with what it is compared with."""
    remarks: str = ""
    """Head of the column of remarks."""
    rows: list[Row] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


Measure = Callable[[Options], Section]


def say(text: str) -> None:
    """Progress, on standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


def turns(names: Iterable[str], round_number: int) -> list[str]:
    """The order of the contenders in a round: each round another one begins, so that drift favours nobody."""
    order = list(names)
    start = round_number % len(order)
    return order[start:] + order[:start]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios round by round: what slows a whole round cancels out."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def at_least(value: float, aim: float) -> tuple[str, bool]:
    """The aim as text, and whether it is met."""
    return f"≥ {aim:g}", value >= aim


def at_most(value: float, aim: float) -> tuple[str, bool]:
    """The aim as text, and whether it is met."""
    return f"≤ {aim:g}", value <= aim
