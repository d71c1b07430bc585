"""Candidates of one log keep its promises over many seeds, and what is broken on purpose is found."""

from __future__ import annotations

import pytest

from tests.simulation.candidate_faults import simulate_candidates
from tests.simulation.candidate_flaws import FLAWS
from tests.simulation.run import breaks_a_promise

SEEDS, PORTIONS = 600, 10
"""Seeds, in as many tests."""
FOUND_WITHIN = 300
"""Seeds in which a flaw must be found."""


def again(seed: int) -> str:
    return f".venv/bin/python -m tests.simulation --candidates --seed {seed} --trace"


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_candidates_keep_the_promises_of_the_log(portion: int) -> None:
    for seed in range(1 + portion * SEEDS // PORTIONS, 1 + (portion + 1) * SEEDS // PORTIONS):
        run = simulate_candidates(seed)
        assert not run.found, "\n".join([*run.lines(60), f"seed {seed}:", *run.found, f"again: {again(seed)}"])


def test_the_same_seed_gives_the_same_run() -> None:
    assert simulate_candidates(5).trace == simulate_candidates(5).trace
    assert simulate_candidates(5).trace != simulate_candidates(6).trace


def test_owners_are_deposed_and_released_and_stragglers_land() -> None:
    """What the seeds are to show does happen in them."""
    told = "\n".join(str(each) for seed in range(1, 60) for each in simulate_candidates(seed).trace)
    for what in ("owns the log since", "released", "the log is away", "the log is full", "'owner', 3"):
        assert told.count(what) >= 3, what


@pytest.mark.parametrize("name", FLAWS)
def test_negative_control(name: str) -> None:
    with FLAWS[name]():
        assert any(breaks_a_promise(simulate_candidates(seed)) for seed in range(1, 1 + FOUND_WITHIN))
