"""`bin/soak` itself, for a short time: it finds nothing, and when something is found it says so and exits with 1."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.e2e.checker import violations
from tests.e2e.cluster import ROOT, clean_environ
from tests.e2e.history import History
from tests.e2e.load import SPARING
from tests.soak import __main__ as soak
from tests.soak import rounds

pytestmark = pytest.mark.slow

DEV_TOOLS = ROOT / ".venv" / ".stamp-requirements-dev.txt"
"""Marks that the packages for `bin/soak` and the gate are installed."""


@pytest.mark.timeout(240)
def test_a_short_soak_finds_nothing_and_prints_its_figures() -> None:
    flags = ["--durable", "--round", "5", "--seed", "1", f"--pause={SPARING}"]
    if not os.environ.get("CI") and not DEV_TOOLS.exists():
        pytest.skip("bin/soak would install packages: bin/_setup --dev")
    done = subprocess.run(
        [ROOT / "bin" / "soak", "15", *flags],
        cwd=ROOT,
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("no violations\n")
    for figure in ("messages acknowledged", "broker kill -9", "clients that vanished", "all stores, MiB"):
        assert figure in done.stdout
    assert "s/s" in done.stderr or "15/15" in done.stderr, "there is a progress line"


def test_what_is_found_is_printed_and_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Negative control: one message of one user is removed from the history."""

    def spoilt(history: History, topics: list[str]) -> list[str]:
        stolen = next(each for each in history.takes if each.user == "cat" and each.body is not None)
        history.takes[:] = [each for each in history.takes if (each.user, each.body) != ("cat", stolen.body)]
        return violations(history, topics)

    monkeypatch.setattr(rounds, "checked", spoilt)
    monkeypatch.setattr(sys, "argv", ["soak", "1", "--round", "1", "--seed", "1"])
    assert soak.main() == 1
    said = capsys.readouterr().out
    assert "VIOLATIONS" in said
    assert "messages acknowledged" in said
