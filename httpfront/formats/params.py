"""Query parameters. What is unknown, repeated or malformed is refused by name: nothing is taken by mistake."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import falcon

from common.errors import FanmailError

MAX_DIGITS = 18
"""Digits of a whole number, before a decimal point."""
MESSAGE_ID = r"([0-9a-f]{1,64})-([1-9][0-9]{0,17})"
"""Pattern: epoch and sequence number."""
_SECONDS = re.compile(r"[0-9]{1,18}(\.[0-9]{1,6})?").fullmatch
_NUMBER = re.compile(r"[1-9][0-9]{0,17}").fullmatch
_COUNT = re.compile(r"0|[1-9][0-9]{0,17}").fullmatch
CURSOR = r"([0-9a-f]{1,64})-(0|[1-9][0-9]{0,17})"
"""A message id, or the place before the first message of a life of the topic."""
_cursor = re.compile(CURSOR).fullmatch
YEAR_S = 365 * 86_400
"""Seconds."""
MICROSECOND, MILLISECOND = 1, 1000
"""Units of a `span`, in microseconds."""
_SHOWN = 40
"""Characters of the client's text that are repeated in an error."""


def read_parameters(req: falcon.Request, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Return the parameters of a call, each parsed by its function in `known`.

    Raises `bad-parameter` that names the first one which is unknown, repeated or refused by its function (`ValueError`,
    whose text says what is allowed).
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
            raise refused(name, f"is unknown here (known: {listed})")
        if name in values:
            raise refused(name, "is given twice")
        try:
            values[name] = known[name](value)
        except ValueError as error:
            raise refused(name, str(error)) from None
    return values


def names_parameter(query: str, name: str) -> bool:
    """Return whether a query string has a parameter of this name."""
    wanted = name.encode()
    return any(unquote_to_bytes(each.partition("=")[0]) == wanted for each in query.split("&"))


def flag(text: str) -> bool:
    """Parse `1` or `0`."""
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser of one of the words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return text

    return parse


def number(most: int) -> Callable[[str], int]:
    """Return a parser of a whole number from 1, cut to `most`."""

    def parse(text: str) -> int:
        if not _NUMBER(text):
            raise ValueError("must be a whole number from 1")
        return min(int(text), most)

    return parse


def duration(most: float) -> Callable[[str], float]:
    """Return a parser of seconds from 0, with fractions, cut to `most`."""

    def parse(text: str) -> float:
        if not _SECONDS(text):
            raise ValueError("must be a number of seconds, such as 20 or 0.5")
        return min(float(text), most)

    return parse


def count(most: int) -> Callable[[str], int]:
    """Return a parser of a whole number from 0 to `most`."""

    def parse(text: str) -> int:
        if not _COUNT(text) or int(text) > most:
            raise ValueError(f"must be a whole number from 0 to {most}")
        return int(text)

    return parse


def span(least: int, most: int, unit: int, *, zero: bool = False) -> Callable[[str], int]:
    """Return a parser of seconds from `least` (0: above it) to `most`, with fractions; with `zero` 0 as well.

    Gives whole units of `unit` microseconds, rounded up, so that only 0 becomes 0.
    """
    bounds = f"from {least} to {most}" if least or zero else f"above 0 and at most {most}"
    allowed = f"must be {'0 or ' if least and zero else ''}a number of seconds {bounds}, such as 20 or 2.5"

    def parse(text: str) -> int:
        if not _SECONDS(text):
            raise ValueError(allowed)
        whole, _, fraction = text.partition(".")
        value = int(whole) * 10**6 + int(fraction.ljust(6, "0"))
        if not (zero if value == 0 else least * 10**6 <= value <= most * 10**6):
            raise ValueError(allowed)
        return -(-value // unit)

    return parse


def cursor(text: str) -> tuple[str, int]:
    """Parse `0`, `<epoch>-0` or a message id into epoch ("" for 0) and sequence number."""
    if text == "0":
        return "", 0
    found = _cursor(text)
    if not found:
        raise ValueError("must be 0 or a Msg-Id")
    return found[1], int(found[2])


def _decode(raw: str, name: str) -> str:
    try:
        return unquote_to_bytes(raw.replace("+", " ").encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        raise refused(name, "is not valid UTF-8") from None


def refused(name: str, reason: str) -> FanmailError:
    """Return `bad-parameter` that names a parameter; `reason` follows its name."""
    shown = ascii(name[:_SHOWN])[1:-1]
    return FanmailError("bad-parameter", f"parameter '{shown}' {reason}", parameter=shown)
