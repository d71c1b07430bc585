"""Query parameters. Nothing is taken by mistake: what is unknown, repeated or malformed is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import falcon

from common.errors import FanmailError

_SECONDS = re.compile(r"[0-9]{1,18}(\.[0-9]{1,6})?").fullmatch
_NUMBER = re.compile(r"[1-9][0-9]{0,17}").fullmatch
_CURSOR = re.compile(r"([0-9a-f]{1,64})-([1-9][0-9]{0,17})").fullmatch
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


def one_of(*words: str) -> Callable[[str], str]:
    """One of the words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return text

    return parse


def number(most: int) -> Callable[[str], int]:
    """A whole number from 1; above `most` it is cut to it."""

    def parse(text: str) -> int:
        if not _NUMBER(text):
            raise ValueError("must be a whole number from 1")
        return min(int(text), most)

    return parse


def duration(most: float) -> Callable[[str], float]:
    """Seconds from 0, fractions allowed; above `most` they are cut to it."""

    def parse(text: str) -> float:
        if not _SECONDS(text):
            raise ValueError("must be a number of seconds, such as 20 or 0.5")
        return min(float(text), most)

    return parse


def cursor(text: str) -> tuple[str, int]:
    """`0`, or a message id: epoch ("" for 0) and sequence number."""
    if text == "0":
        return "", 0
    found = _CURSOR(text)
    if not found:
        raise ValueError("must be 0 or a Msg-Id")
    return found[1], int(found[2])


def _decode(raw: str, name: str) -> str:
    try:
        return unquote_to_bytes(raw.replace("+", " ").encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        raise _refused(name, "is not valid UTF-8") from None


def _refused(name: str, reason: str) -> FanmailError:
    shown = ascii(name[:_SHOWN])[1:-1]
    return FanmailError("bad-parameter", f"parameter '{shown}' {reason}", parameter=shown)
