"""Listed origins of web pages: what their answers carry so that browsers give them to the page (WHATWG Fetch). No I/O.

Falcon's middleware has no exact list together with plain text answers, and answers a preflight only after the check of
keys, which a preflight cannot pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Fields = tuple[tuple[str, str], ...]

_VARIES = ("Vary", "Origin")
_METHODS = "GET, HEAD, POST, PATCH, DELETE"
_HEADERS = "Authorization, *"
"""The wildcard covers everything but Authorization."""
_REMEMBERED_S = "600"


class Origins:
    """The listed origins of a port. Credentials (cookies) are never allowed; a key is sent as Authorization."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        """Set the origins, in lower case; without any, answers carry nothing."""
        self._fields: dict[str, Fields] = {
            origin: (("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", "*"), _VARIES)
            for origin in listed
        }
        self._others: Fields = (_VARIES,) if self._fields else ()

    def __bool__(self) -> bool:
        return bool(self._fields)

    def allows(self, env: Mapping[str, Any]) -> bool:
        """Return whether a page of a listed origin sent this request."""
        return env.get("HTTP_ORIGIN", "") in self._fields

    def fields(self, env: Mapping[str, Any]) -> Fields:
        """Return what every answer to this request carries."""
        return self._fields.get(env.get("HTTP_ORIGIN", ""), self._others)

    def preflight(self, env: Mapping[str, Any]) -> Fields:
        """Return what the answer to a preflight carries besides; nothing where this is none of a listed origin."""
        if env.get("REQUEST_METHOD") != "OPTIONS" or "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in env:
            return ()
        if not self.allows(env):
            return ()
        return (
            ("Access-Control-Allow-Methods", _METHODS),
            ("Access-Control-Allow-Headers", _HEADERS),
            ("Access-Control-Max-Age", _REMEMBERED_S),
        )
