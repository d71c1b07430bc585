"""The API key of a client, and where it comes from. It stands in no text that this package makes."""

from __future__ import annotations

import os
from pathlib import Path

KEY, KEY_FILE = "FANMAIL_API_KEY", "FANMAIL_API_KEY_FILE"
MOST = 4096
"""Bytes of a key; a longer line is some other file."""


def find_api_key(given: str | None = None) -> str:
    """The key that was given, or of `FANMAIL_API_KEY`, or of the file that `FANMAIL_API_KEY_FILE` names; "" for none.

    Raises ValueError for what is no key, and for a file that gives none.
    """
    if given is not None:
        return checked(given, "the API key") if given else ""
    if os.environ.get(KEY):
        return checked(os.environ[KEY], KEY)
    path = os.environ.get(KEY_FILE)
    return read_api_key(path, KEY_FILE) if path else ""


def read_api_key(path: str, source: str) -> str:
    """The first line of a file, without blanks around it. Raises ValueError with the `source` of the path."""
    try:
        with Path(path).open("rb") as file:
            line = file.readline(MOST + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: {path!r}: {getattr(error, 'strerror', None) or 'is no path'}") from None
    return checked(line.decode("latin-1").strip(), f"{source}: the first line of {path!r}")


def checked(key: str, source: str) -> str:
    """The key, if a header can carry it. Raises ValueError that names the `source`, and does not show the key."""
    if not key:
        raise ValueError(f"{source} is empty")
    if len(key) > MOST:
        raise ValueError(f"{source} is too long for an API key")
    if not all("!" <= each <= "~" for each in key):
        raise ValueError(f"{source} is no API key: it has a blank, a control character or one that is not ASCII")
    return key
