"""`bin/_setup` installs again what has changed, and only that."""

from __future__ import annotations

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


def installed(checkout: Path) -> int:
    """Runs the script; how often it has installed anything so far."""
    subprocess.run([str(checkout / "bin" / "_setup")], check=True, capture_output=True, timeout=30)
    return len((checkout / ".venv" / "installed").read_text().splitlines())


def test_with_everything_in_place_it_does_nothing(checkout: Path) -> None:
    assert [installed(checkout), installed(checkout)] == [1, 1]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-server.txt"])
def test_a_change_is_installed_in_a_file_that_is_included_too(checkout: Path, name: str) -> None:
    assert installed(checkout) == 1
    with (checkout / name).open("a") as file:
        file.write("another==1.0\n")
    assert installed(checkout) == 2
