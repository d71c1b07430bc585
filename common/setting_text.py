"""The written forms of a setting: flag, environment variable and value."""

from __future__ import annotations

from dataclasses import Field
from typing import Any

from common.units import Choice, size_text, switch


def flag(name: str) -> str:
    """Return `--max-body` for `max_body`."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return `FANMAIL_MAX_BODY` for `max_body`."""
    return "FANMAIL_" + name.upper()


def as_text(value: object) -> str:
    """Return the value as it is written after a flag."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def shown(item: Field[Any], value: object) -> str:
    """Return the value of a setting as it is shown to a reader: sizes with their unit, whole seconds as such."""
    if isinstance(value, float):
        return f"{value:g}"
    if item.metadata["unit"].startswith("bytes") and isinstance(value, int):
        return size_text(value)
    return as_text(value)


def placeholder(item: Field[Any]) -> str:
    """Return what stands for the value in help: the words to choose from, or the unit."""
    parse, unit = item.metadata["parse"], item.metadata["unit"]
    if isinstance(parse, Choice):
        return "|".join(parse.words)
    if parse is switch:
        return "on|off"
    if unit.startswith("bytes"):
        return "SIZE"
    return (unit or item.name).upper()
