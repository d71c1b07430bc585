"""TOML files of the operator: configuration, cluster description, API keys."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from common.errors import StartError

MAX_DEPTH = 32
"""Maximum nesting of tables and lists."""


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the tables of a file. Raises `StartError` if it cannot be read or is not TOML."""
    try:
        return parse_toml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # includes bytes that are not UTF-8
        raise StartError(f"{path}: not TOML: {error}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a text.

    Raises `ValueError`, also for values that an error message could not show: integers of over 64 bits, which Python
    may refuse to print, and nesting deeper than `MAX_DEPTH`.
    """
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise _too_deep() from None
    level: list[Any] = [tables]
    for _ in range(MAX_DEPTH):
        if any(isinstance(each, int) and abs(each) >= 2**63 for each in level):
            raise ValueError("an integer has over 64 bits")
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [each for members in inner for each in members]
    if level:
        raise _too_deep()
    return tables


def _too_deep() -> ValueError:
    return ValueError(f"tables and lists are nested more than {MAX_DEPTH} levels deep")
