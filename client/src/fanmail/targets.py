"""Paths and queries of requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from fanmail.errors import BadRequest


def path(*names: str) -> str:
    """Names as segments of a path, each with its slash. Raises `BadRequest` for a name that no URL can carry."""
    return "".join([f"/{_segment(name)}" for name in names])


def _segment(name: str) -> str:
    if name in ("", ".", ".."):
        raise BadRequest(f"{name!r} is not a legal name", "bad-name")
    return quote(name, safe="")


def query_of(parameters: Mapping[str, object]) -> str:
    """From the question mark on, without what is None."""
    given = [f"{name}={_value(value)}" for name, value in parameters.items() if value is not None]
    return "?" + "&".join(given) if given else ""


def _value(value: object) -> str:
    """Numbers in plain decimal notation, with microseconds: the server takes no exponents."""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return quote(str(value), safe="")


def shown(url: str) -> str:
    """A base URL for a text: without a name or password in it.

    >>> shown("https://ann:secret@example.org/fanmail")
    'https://***@example.org/fanmail'
    """
    return re.sub(r"(^|//)[^/]*@", r"\1***@", url)
