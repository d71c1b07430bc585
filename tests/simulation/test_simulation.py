"""Many seeds keep the promises, the same seed is the same run, and what is broken on purpose is found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.flaws import FLAWS
from tests.simulation.run import breaks_a_promise, simulate, some_slow

ROOT = Path(__file__).resolve().parents[2]
SEEDS, FEW, PORTIONS = 150, 60, 10
"""Seeds with `--all` and without it, in as many tests."""
FOUND_WITHIN = 40
"""Seeds in which a flaw must be found; most are in the first few."""


def again(seed: int) -> str:
    return f".venv/bin/python -m tests.simulation --seed {seed} --trace"


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_the_promises_are_kept(portion: int, everything: bool) -> None:
    seeds = SEEDS if everything else FEW
    for seed in range(1 + portion * seeds // PORTIONS, 1 + (portion + 1) * seeds // PORTIONS):
        run = simulate(seed)
        assert not run.found, "\n".join([*run.lines(60), f"seed {seed}:", *run.found, f"again: {again(seed)}"])


def trace(seed: int, hash_seed: int) -> bytes:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--trace"]
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 7])
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    first = trace(seed, hash_seed=1)
    assert first.count(b"\n") > 300
    assert trace(seed, hash_seed=2) == first


def test_another_seed_gives_another_trace() -> None:
    assert simulate(1).lines() != simulate(2).lines()


@pytest.mark.parametrize("name", some_slow(FLAWS, "skip a message"))
def test_negative_control(name: str) -> None:
    with FLAWS[name]():
        assert any(breaks_a_promise(simulate(seed)) for seed in range(1, 1 + FOUND_WITHIN))
