"""The written forms of a setting: flag, environment variable and value."""

from __future__ import annotations


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
