"""Virtual environments with packages that are installed here, so that no network is needed."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pinned(file: str) -> list[str]:
    """Return the names of the packages that a requirements file pins."""
    lines = (ROOT / file).read_text().splitlines()
    return [line.partition("==")[0] for line in lines if line and not line.startswith(("#", "-r"))]


def make_venv(folder: Path, names: list[str]) -> None:
    """Make an environment without pip, with copies of the packages of these names and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    (packages,) = folder.glob("lib/*/site-packages")
    for name in names:
        files = importlib.metadata.distribution(name).files or []
        for top in {each.parts[0] for each in files} - {"..", "__pycache__"}:
            source = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if not (packages / top).exists():
                copy(source, packages / top)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder without compiled files."""
    target.parent.mkdir(exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
