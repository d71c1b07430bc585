"""Header fields of a request, read by llhttp (package `httptools`) into a WSGI environment.

llhttp is strict by default: no folded lines, no bare CR or LF, no white space around names, no control characters,
one Content-Length that is a number and stands alone. Its lenient flags stay off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from httpfront.environ import KEPT

MAX_NAME = 128
"""Bytes of a name that is remembered."""
BAD_CODING = "Request has invalid `Transfer-Encoding`"
"""What llhttp says, once it has read all fields, of codings that do not end with `chunked`: 501, not 400."""

_UNPREFIXED = {"HTTP_CONTENT_LENGTH": "CONTENT_LENGTH", "HTTP_CONTENT_TYPE": "CONTENT_TYPE"}
_ONLY_ONE = frozenset(("HTTP_HOST", "CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "CONTENT_TYPE", "HTTP_AUTHORIZATION"))
_REQUEST_LINE = b"GET / HTTP/1.1\r\n"
"""In the place of the request's own, which `head.py` judges: llhttp knows a fixed list of methods."""


Key = tuple[str, str | None]
"""What a field is in the environment ("" where it is left out), and as what it is kept with a message."""


class FieldReader:
    """Reads header fields. A name that was seen before costs one look-up."""

    def __init__(self, kept: Callable[[str], str | None] = lambda key: None, remembered: int = 1024) -> None:
        """Prepare for fields of which some are kept with a message.

        `kept` gives the name under which a field is kept, by its key, None where it is not. `remembered` is the maximum
        number of remembered names; with one more all are forgotten.
        """
        self._kept = kept
        self._remembered = remembered
        self.known: dict[bytes, Key] = {}

    def read(self, block: bytes) -> dict[str, Any] | str:
        """Return the part of the environment that whole fields make, with the empty line behind them; or what is wrong.

        A repeated field is joined with commas (RFC 9110, section 5.3), where it may be repeated.
        """
        heard = _Listener()
        try:
            HttpRequestParser(heard).feed_data(_REQUEST_LINE + block)
        except HttpParserUpgrade:
            pass  # asked for and not granted (RFC 9110, section 7.8)
        except HttpParserError as error:
            if str(error) != BAD_CODING:
                return str(error) or "invalid header"
        if not heard.complete:
            return "invalid header"
        environ: dict[str, Any] = {}
        kept: dict[str, str] = {}
        for name, value in heard.fields:
            key, kept_as = self.known.get(name) or self._learn(name)
            text = value.decode("latin-1").rstrip(" \t")
            if key not in environ:
                environ[key] = text
            elif key in _ONLY_ONE:
                return f"repeated header field {key.removeprefix('HTTP_').replace('_', '-').lower()}"
            else:
                environ[key] += ", " + text
            if kept_as is not None:
                kept[key] = kept_as
        environ.pop("", None)
        if kept:
            environ[KEPT] = tuple([(name, environ[key]) for key, name in kept.items()])
        return environ

    def _learn(self, name: bytes) -> Key:
        """Return the key of a name, and remember it."""
        key = ""
        if b"_" not in name:  # `a_b` and `a-b` would be one key, and a proxy may watch over one of them only
            key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
            key = _UNPREFIXED.get(key, key)
        found = (key, self._kept(key) if key else None)
        if len(name) <= MAX_NAME and self._remembered:
            if len(self.known) >= self._remembered:
                self.known.clear()
            self.known[name] = found
        return found


class _Listener:
    """What llhttp calls. Raises nothing."""

    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        """Name and value, in order."""
        self.complete = False
        """Whether llhttp has seen the end of the fields."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field."""
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Note that nothing is left of the fields."""
        self.complete = True
