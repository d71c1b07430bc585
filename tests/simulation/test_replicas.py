"""Brokers with two candidates keep the promises, both copies are the same in the end, and what is broken is found."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.replica_flaws import FLAWS
from tests.simulation.run import breaks_a_promise, simulate, some_slow

SEEDS, FEW, PORTIONS = 64, 32, 4
"""Seeds with `--all` and without it, in as many tests."""
FOUND_WITHIN = 40
"""Seeds in which a flaw must be found."""


def again(seed: int) -> str:
    return f".venv/bin/python -m tests.simulation --replicated --seed {seed} --trace"


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_the_promises_are_kept(portion: int, everything: bool) -> None:
    seeds = SEEDS if everything else FEW
    happened: Counter[str] = Counter()
    for seed in range(1 + portion * seeds // PORTIONS, 1 + (portion + 1) * seeds // PORTIONS):
        run = simulate(seed, replicated=True)
        assert not run.found, "\n".join([*run.lines(60), f"seed {seed}:", *run.found, f"again: {again(seed)}"])
        happened.update(str(what[0]) for _, *what in run.trace)
    assert happened["owns"] > seeds / PORTIONS * 2, "owners are replaced"
    assert happened["store failed"], "owners are deposed"


def test_the_same_seed_gives_the_same_run() -> None:
    assert simulate(2, replicated=True).trace == simulate(2, replicated=True).trace


@pytest.mark.parametrize("name", some_slow(FLAWS, "follow without a message"))
def test_negative_control(name: str) -> None:
    with FLAWS[name]():
        assert any(breaks_a_promise(simulate(seed, replicated=True)) for seed in range(1, 1 + FOUND_WITHIN))
