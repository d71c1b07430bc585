"""The names of the programs, as their users call them: in a checkout, and in the package `fanmail-server`."""

from __future__ import annotations

from pathlib import Path

PACKAGE = "fanmail-server"
_FOLDER = Path(__file__).resolve().parents[1]
INSTALLED = (_FOLDER.parent.name, _FOLDER.name) == ("fanmail_server", "app")
"""Whether this runs from the package (`fanmail_server/__main__.py`), not from a checkout."""
_MODULES = {"broker": "broker", "front": "httpfront"}
"""Programs without a launcher in `bin/`."""


def program(name: str, installed: bool = INSTALLED) -> str:
    """Return the name that begins a line of an error: `start-fronts`, or `fanmail-server fronts`."""
    return f"{PACKAGE} {name.removeprefix('start-')}" if installed else name


def launcher(name: str, installed: bool = INSTALLED) -> str:
    """Return what the user types: `bin/start-fronts`, `python -m broker`, or `fanmail-server fronts`."""
    if installed:
        return program(name, installed)
    return f"python -m {_MODULES[name]}" if name in _MODULES else f"bin/{name}"
