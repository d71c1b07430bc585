"""Whole clusters, of single brokers and of candidates, keep the promises while slots move, and flaws are found."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.move_flaws import forget_refused_moves
from tests.simulation.run import breaks_a_promise, simulate

SEEDS, FEW, PORTIONS = 100, 20, 2
"""Seeds with `--all` and without it, in as many tests."""
FIRST, FOUND_WITHIN = 12, 40
"""Seeds in which a flaw must be found; the first one is close to where it is, to save time."""


def again(seed: int, replicated: bool) -> str:
    return f".venv/bin/python -m tests.simulation {'--replicated ' * replicated}--moves --seed {seed} --trace"


@pytest.mark.parametrize("replicated", [False, True])
@pytest.mark.parametrize("portion", range(PORTIONS))
def test_the_promises_are_kept_while_slots_move(portion: int, *, replicated: bool, everything: bool) -> None:
    seeds = SEEDS if everything else FEW
    figures: Counter[str] = Counter()
    for seed in range(1 + portion * seeds // PORTIONS, 1 + (portion + 1) * seeds // PORTIONS):
        run = simulate(seed, replicated, moves=True)
        assert not run.found, "\n".join([*run.lines(60), f"seed {seed}:", *run.found, again(seed, replicated)])
        figures += run.figures
    assert figures["slots that arrived"] > seeds / PORTIONS
    assert figures["broker ends"] > seeds / PORTIONS


def test_the_same_seed_gives_the_same_run() -> None:
    assert simulate(2, replicated=True, moves=True).trace == simulate(2, replicated=True, moves=True).trace


@pytest.mark.slow
def test_negative_control() -> None:
    with forget_refused_moves():
        assert any(
            breaks_a_promise(simulate(seed, replicated=True, moves=True)) for seed in range(FIRST, FIRST + FOUND_WITHIN)
        )
