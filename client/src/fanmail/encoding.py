"""Encoding of paths, queries and headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from fanmail.errors import BadRequest

MESSAGE_HEADERS = {"content-encoding", "content-language", "traceparent", "tracestate"}
MESSAGE_HEADER_PREFIXES = ("meta-", "ce-")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(rb"(?:[!-~\x80-\xff]+(?:[ \t]+[!-~\x80-\xff]+)*)?")


def encode_path(*names: str) -> str:
    """Return names as segments of a path, each with a leading slash.

    Raises `BadRequest` for a name that no URL can carry.
    """
    return "".join([f"/{_segment(name)}" for name in names])


def _segment(name: str) -> str:
    try:
        if name not in ("", ".", ".."):
            return quote(name, safe="")
    except UnicodeEncodeError:
        pass  # a surrogate, as in a command-line argument that is not UTF-8
    raise BadRequest(f"{name!r} is not a legal name", "bad-name")


def encode_query(parameters: Mapping[str, object]) -> str:
    """Return a query with its question mark, without parameters whose value is None; "" if there are none."""
    given = [f"{name}={_query_value(value)}" for name, value in parameters.items() if value is not None]
    return "?" + "&".join(given) if given else ""


def _query_value(value: object) -> str:
    """Return a value percent-encoded; floats in decimal notation, as the server accepts no exponents."""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return quote(str(value), safe="")


def checked_header(name: str, value: str) -> tuple[str, str]:
    r"""Return a header if HTTP can carry it.

    Otherwise raises ValueError, with a text that does not contain the value.

    >>> checked_header("Meta-Colour", "red\nSet-Cookie: x")
    Traceback (most recent call last):
    ValueError: the value of header 'Meta-Colour' has a control character, a blank at one end, or is not Unicode
    """
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name")
    try:
        is_valid = _HEADER_VALUE.fullmatch(encode_header(value)) is not None
    except UnicodeEncodeError:
        is_valid = False
    if not is_valid:
        raise ValueError(f"the value of header {name!r} has a control character, a blank at one end, or is not Unicode")
    return name, value


def is_message_header(name: str) -> bool:
    """Return whether a header, other than Content-Type, travels with a message."""
    return name.lower() in MESSAGE_HEADERS or name.lower().startswith(MESSAGE_HEADER_PREFIXES)


def message_headers(media_type: str | None, headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Return the headers of a message. Raises ValueError for one that the server would not keep."""
    unknown = [name for name in headers or {} if not is_message_header(name)]
    if unknown:
        raise ValueError(f"{unknown[0]} does not travel with a message: name it Meta-{unknown[0]}, or use type=")
    content_type = (checked_header("Content-Type", media_type),) if media_type else ()
    return (*content_type, *[checked_header(name, value) for name, value in (headers or {}).items()])


def encode_header(value: str) -> bytes:
    """Return a header's value as UTF-8. Bytes of a command-line argument that are not UTF-8 are kept as they are."""
    return value.encode("utf-8", "surrogateescape")


def decode_header(value: bytes) -> str:
    """Return a header's value decoded as UTF-8, or as latin-1 if it is not UTF-8.

    >>> decode_header("grün".encode()), decode_header("grün".encode("latin-1"))
    ('grün', 'grün')
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def redacted(url: str) -> str:
    """Return a base URL for use in texts, without the user name and password.

    >>> redacted("https://ann:secret@example.org/fanmail")
    'https://***@example.org/fanmail'
    """
    return re.sub(r"(^|//)[^/]*@", r"\1***@", url)
