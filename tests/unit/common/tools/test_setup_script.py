"""`bin/_setup` installs again what has changed, and only that."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
PYTHON = """#!/bin/sh
case "$*" in *"pip install"*) echo "$*" >>"$(dirname "$0")/../installed" ;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """With an environment whose python installs nothing, but notes what it was to install."""
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "bin" / "_setup", tmp_path / "bin")
    for path in ROOT.glob("requirements*.txt"):
        shutil.copy(path, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def setup(checkout: Path, *arguments: str) -> list[str]:
    """Run the script. Return the requirements files that it has installed so far."""
    subprocess.run([str(checkout / "bin" / "_setup"), *arguments], check=True, capture_output=True, timeout=30)
    return [Path(line.split()[-1]).name for line in (checkout / ".venv" / "installed").read_text().splitlines()]


SERVER, TESTS, LINTERS = "requirements-server.txt", "requirements.txt", "requirements-dev.txt"
NATS = "requirements-nats.txt"


def test_the_server_gets_what_it_needs_and_the_rest_comes_when_it_is_asked_for(checkout: Path) -> None:
    assert setup(checkout) == setup(checkout) == [SERVER]
    assert setup(checkout, "--nats") == setup(checkout) == [SERVER, NATS]
    assert setup(checkout, "--test") == setup(checkout) == [SERVER, NATS, TESTS]
    assert setup(checkout, "--dev") == setup(checkout, "--test") == [SERVER, NATS, TESTS, LINTERS]


def test_a_change_is_installed_in_a_file_that_is_included_too(checkout: Path) -> None:
    assert setup(checkout, "--test") == [SERVER, TESTS]
    for name, installed in ((TESTS, [TESTS]), (SERVER, [SERVER, TESTS])):
        before = setup(checkout, "--test")
        with (checkout / name).open("a") as file:
            file.write("another==1.0\n")
        assert setup(checkout, "--test") == before + installed


def test_a_checkout_that_may_not_be_changed_says_whose_it_is(checkout: Path) -> None:
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    for folder, told in ((checkout / ".venv", "is not complete and cannot be changed"), (checkout, "cannot be made")):
        folder.chmod(0o555)
        try:
            argv = [*without, str(checkout / "bin" / "_setup")]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        finally:
            folder.chmod(0o755)
        expected = f"{checkout / '.venv'} {told}. This checkout belongs to {checkout.owner()}: have "
        assert (done.returncode, done.stderr[: len(expected)], len(done.stderr.splitlines())) == (2, expected, 1)
        shutil.rmtree(checkout / ".venv", ignore_errors=True)
