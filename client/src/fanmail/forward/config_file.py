"""`forwards.toml`: many targets in one file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanmail.forward.target import OPTIONS, Target, make_target

MAX_TARGETS = 10_000


def read_targets(path: str, defaults: Mapping[str, Any]) -> list[Target]:
    """Return the targets of a file; `defaults` are options that neither a target nor its table `[forward]` has.

    Raises ValueError with one line that names the file and what is wrong in it.
    """
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        return parse_targets(found, defaults)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_targets(found: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Target]:
    """Return the targets of a file that has been parsed. Raises ValueError."""
    shared, tables = found.get("forward", {}), found.get("targets", [])
    if unknown := set(found) - {"forward", "targets"}:
        raise ValueError(f"{min(unknown)!r} is not a table of this file: it has [forward] and [[targets]]")
    if not isinstance(shared, dict) or not isinstance(tables, list):
        raise ValueError("it has [forward], once, and [[targets]]")
    if unknown := set(shared) - set(OPTIONS):
        raise ValueError(f"[forward]: {min(unknown)!r} is not an option; the options are {', '.join(OPTIONS)}")
    if not 1 <= len(tables) <= MAX_TARGETS:
        raise ValueError(f"it has {len(tables)} [[targets]], not 1 to {MAX_TARGETS:,}")
    targets: dict[str, Target] = {}
    for number, table in enumerate(tables, 1):
        where = f"[[targets]] {number}"
        try:
            target = make_target({**defaults, **shared, **table})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from None
        if target.name in targets:
            raise ValueError(f"{where}: there is another target for {target.user!r} of {target.topic!r}")
        targets[target.name] = target
    return list(targets.values())
