"""Paths, queries and headers of requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from fanmail.errors import BadRequest

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"(?:[!-~\x80-\xff]+(?:[ \t]+[!-~\x80-\xff]+)*)?")


def path(*names: str) -> str:
    """Names as segments of a path, each with its slash. Raises `BadRequest` for a name that no URL can carry."""
    return "".join([f"/{_segment(name)}" for name in names])


def _segment(name: str) -> str:
    try:
        if name not in ("", ".", ".."):
            return quote(name, safe="")
    except UnicodeEncodeError:
        pass  # a surrogate, as in an argument of a command that was not UTF-8
    raise BadRequest(f"{name!r} is not a legal name", "bad-name")


def query_of(parameters: Mapping[str, object]) -> str:
    """From the question mark on, without what is None."""
    given = [f"{name}={_value(value)}" for name, value in parameters.items() if value is not None]
    return "?" + "&".join(given) if given else ""


def _value(value: object) -> str:
    """Numbers in plain decimal notation, with microseconds: the server takes no exponents."""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return quote(str(value), safe="")


def header(name: str, value: str) -> tuple[str, str]:
    """A header, if HTTP can carry it. Raises ValueError, which does not show the value, where it cannot.

    >>> header("Meta-Colour", "red\\nSet-Cookie: x")
    Traceback (most recent call last):
    ValueError: the value of 'Meta-Colour' is none for a header: a control character, a blank at an end, or not Unicode
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a header")
    try:
        sound = _VALUE.fullmatch(encoded(value))
    except UnicodeEncodeError:
        sound = None
    if not sound:
        why = "a control character, a blank at an end, or not Unicode"
        raise ValueError(f"the value of {name!r} is none for a header: {why}")
    return name, value


def encoded(value: str) -> bytes:
    """A header's value as it goes out: UTF-8, and bytes of a command's argument that were none as they were."""
    return value.encode("utf-8", "surrogateescape")


def decoded(value: bytes) -> str:
    """A header's value as it came: UTF-8, or latin-1 where it is none, which every byte is.

    >>> decoded("grün".encode()), decoded("grün".encode("latin-1"))
    ('grün', 'grün')
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def shown(url: str) -> str:
    """A base URL for a text: without a name or password in it.

    >>> shown("https://ann:secret@example.org/fanmail")
    'https://***@example.org/fanmail'
    """
    return re.sub(r"(^|//)[^/]*@", r"\1***@", url)
