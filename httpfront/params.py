"""Query parameters. Nothing is taken by mistake: what is unknown, repeated or malformed is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import falcon

from common.errors import FanmailError

_SHOWN = 40
"""Characters of a client's own text that are repeated in an error."""


def read_parameters(req: falcon.Request, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The parameters of a call, each parsed by its function in `known`.

    Raises `bad-parameter` that names the first one which is unknown, repeated or refused by its function
    (`ValueError`, whose text says what is allowed).
    """
    values: dict[str, Any] = {}
    if not req.query_string:
        return values
    for part in req.query_string.split("&"):
        raw_name, _, raw_value = part.partition("=")
        name = _decode(raw_name, raw_name)
        value = _decode(raw_value, name)
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise _refused(name, f"is not known here (known: {listed})")
        if name in values:
            raise _refused(name, "is given twice")
        try:
            values[name] = known[name](value)
        except ValueError as error:
            raise _refused(name, str(error)) from None
    return values


def flag(text: str) -> bool:
    """`1` or `0`."""
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def _decode(raw: str, name: str) -> str:
    try:
        return unquote_to_bytes(raw.replace("+", " ").encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        raise _refused(name, "is not valid UTF-8") from None


def _refused(name: str, reason: str) -> FanmailError:
    shown = ascii(name[:_SHOWN])[1:-1]
    return FanmailError("bad-parameter", f"parameter '{shown}' {reason}", parameter=shown)
