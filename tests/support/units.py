"""Unit files of systemd, parsed as far as tests need it."""

from __future__ import annotations

import shlex
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def read_unit(text: str) -> dict[str, list[str]]:
    """Return the values of each key in order, over all sections. An empty value discards those before it."""
    keys: dict[str, list[str]] = defaultdict(list)
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals or line.startswith(("#", ";", "[")):
            continue
        if value.strip():
            keys[key.strip()].append(value.strip())
        else:
            keys[key.strip()].clear()
    return dict(keys)


def environment(unit: dict[str, list[str]], files: Iterable[Path]) -> dict[str, str]:
    """Return what `Environment=` and the files of `EnvironmentFile=` set; the files take precedence."""
    words = [word for value in unit.get("Environment", []) for word in shlex.split(value)]
    for path in files:
        words += [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(word.split("=", 1) for word in words)


def system_calls(systemd_analyze: str, unit: dict[str, list[str]]) -> set[str]:
    """Return the system calls that `SystemCallFilter=` allows."""
    allowed: set[str] = set()
    for value in unit["SystemCallFilter"]:
        names = {call for word in value.removeprefix("~").split() for call in _expand(systemd_analyze, word)}
        allowed = allowed - names if value.startswith("~") else allowed | names
    return allowed


def _expand(systemd_analyze: str, name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    argv = [systemd_analyze, "--no-pager", "syscall-filter", name]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    words = [line.strip() for line in listed if line.strip() and not line.strip().startswith("#")]
    return {call for word in words for call in _expand(systemd_analyze, word)}
