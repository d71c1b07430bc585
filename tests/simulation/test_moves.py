"""Slots that move with deaths at every commit keep the promises, and what is broken on purpose is found."""

from __future__ import annotations

import pytest

from tests.simulation.move_flaws import FLAWS
from tests.simulation.moves import simulate_moves
from tests.simulation.run import some_slow

SEEDS, FEW, PORTIONS = 500, 50, 5
"""Seeds with `--all` and without it, in as many tests."""
FOUND_WITHIN = 400
"""Seeds in which a flaw must be found."""


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_the_promises_are_kept_while_slots_move(portion: int, everything: bool) -> None:
    seeds = SEEDS if everything else FEW
    moved = 0
    for seed in range(1 + portion * seeds // PORTIONS, 1 + (portion + 1) * seeds // PORTIONS):
        world = simulate_moves(seed)
        moved += world.moved
        assert not world.found, "\n".join([*world.lines, f"seed {seed}:", *world.found])
    assert moved > seeds // PORTIONS


@pytest.mark.parametrize("name", some_slow(FLAWS, "thaw without asking"))
def test_negative_control(name: str) -> None:
    with FLAWS[name]():
        assert any(simulate_moves(seed).found for seed in range(1, 1 + FOUND_WITHIN))
