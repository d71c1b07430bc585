"""The API key of a client and its sources. No text that this package produces contains the key."""

from __future__ import annotations

import os
from pathlib import Path

KEY_VARIABLE, KEY_FILE_VARIABLE = "FANMAIL_API_KEY", "FANMAIL_API_KEY_FILE"
MAX_KEY_BYTES = 4096
"""A longer line shows that the file is not a key file."""


def find_api_key(given: str | None = None) -> str:
    """Return the given key, else that of `FANMAIL_API_KEY`, else that of the file in `FANMAIL_API_KEY_FILE`, else "".

    Raises ValueError if the key is malformed or the file cannot be read.
    """
    if given is not None:
        return checked(given, "the API key") if given else ""
    if os.environ.get(KEY_VARIABLE):
        return checked(os.environ[KEY_VARIABLE], KEY_VARIABLE)
    path = os.environ.get(KEY_FILE_VARIABLE)
    return read_api_key(path, KEY_FILE_VARIABLE) if path else ""


def read_api_key(path: str, source: str) -> str:
    """Return the first line of a file, stripped. Raises ValueError with a text that names the `source` of the path."""
    try:
        with Path(path).open("rb") as file:
            line = file.readline(MAX_KEY_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: {path!r}: {getattr(error, 'strerror', None) or 'not a path'}") from None
    return checked(line.decode("latin-1").strip(), f"{source}: the first line of {path!r}")


def checked(key: str, source: str) -> str:
    """Return the key if a header can carry it. Raises ValueError with a text that names the `source`, not the key."""
    if not key:
        raise ValueError(f"{source} is empty")
    if len(key) > MAX_KEY_BYTES:
        raise ValueError(f"{source} is too long for an API key")
    if not all("!" <= character <= "~" for character in key):
        raise ValueError(f"{source} is not an API key: it has a blank, a control character or a non-ASCII character")
    return key
