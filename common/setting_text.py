"""How a setting is written: as a flag, as a variable, and its value."""

from __future__ import annotations


def flag(name: str) -> str:
    """`max_body` -> `--max-body`."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """`max_body` -> `FANMAIL_MAX_BODY`."""
    return "FANMAIL_" + name.upper()


def as_text(value: object) -> str:
    """As it would be written after a flag."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)
