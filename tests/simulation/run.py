"""One run of one seed."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from tests.e2e.history import Outcome
from tests.simulation.cluster import Cluster
from tests.simulation.faults import Faults
from tests.simulation.fronts import virtual_time
from tests.simulation.world import World

LIMIT = 40.0
"""Virtual seconds within which all must be read."""


@dataclass
class Run:
    """What came of it."""

    seed: int
    found: list[str]
    """What contradicts the promises; empty when all is well."""
    trace: list[tuple[object, ...]]
    figures: Counter[str]

    def lines(self, last: int | None = None) -> list[str]:
        """The trace, or the end of it, to be read."""
        shown = self.trace if last is None else self.trace[-last:]
        return [f"{time:11.6f}  {' '.join(map(_plain, what))}" for time, *what in shown]


class Found(Protocol):
    """A run of any simulation."""

    @property
    def found(self) -> list[str]: ...


def breaks_a_promise(run: Found) -> bool:
    """Whether a run found what a negative control is for; a control that only crashes shows nothing."""
    crashed = [each for each in run.found if re.search(r"\b(Type|Attribute|Name|Import)Error\b", each)]
    assert not crashed, "\n".join(crashed)
    return bool(run.found)


def some_slow(names: Iterable[str], quick: str) -> list[Any]:
    """Parameters of a test that only `quick` has in the ordinary run."""
    assert quick in names
    return [each if each == quick else pytest.param(each, marks=pytest.mark.slow) for each in names]


def simulate(seed: int, replicated: bool = False, moves: bool = False) -> Run:
    """The same seed gives the same run, to the last byte of its trace."""
    world = World(seed)
    with virtual_time(), failures_of(world):
        cluster = Cluster(world, replicated, moves)
        Faults(cluster)
        try:
            if not world.run(lambda: cluster.at_work == 0 or bool(world.found), LIMIT):
                hanging = [each.name for each in (*cluster.publishers, *cluster.readers) if not each.task.ended]
                world.fail(f"these do not come to an end: {hanging}")
            if not world.run(lambda: cluster.in_step() or bool(world.found), LIMIT + 20):
                world.fail("the candidates of a broker do not come into step, or slots not to rest")
            if not world.found:
                cluster.judge()
        finally:
            cluster.close()
    return Run(seed, world.found, world.trace, _figures(cluster))


def _figures(cluster: Cluster) -> Counter[str]:
    history = cluster.history
    calls = Counter(what[1] for _, *what in cluster.world.trace if len(what) > 1 and what[0] in ("asks",))
    return Counter(
        {
            "calls": calls.total(),
            "messages acknowledged": sum(len(each.bodies) for each in history.publishes if each.outcome is Outcome.OK),
            "messages delivered": sum(each.body is not None for each in history.takes),
            "broker ends": sum(len(each.deaths) for each in cluster.brokers),
            "slots that arrived": cluster.slots.arrived if cluster.slots is not None else 0,
            f"runs on {cluster.kind}": 1,
            "runs": 1,
        }
    )


def _plain(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@contextmanager
def failures_of(world: World) -> Iterator[None]:
    """What the product logs as an error is one: an exception that its loops have caught."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            formatter = logging.Formatter()
            world.fail(formatter.format(record))

    log = logging.getLogger("fanmail")
    handler = Handler(logging.ERROR)
    before, propagated = log.level, log.propagate
    log.setLevel(logging.ERROR)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        log.propagate = propagated
