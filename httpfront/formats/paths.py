"""Paths of requests, still encoded, and paths for answers. No I/O here."""

from __future__ import annotations

from urllib.parse import quote

from common.errors import FanmailError

OPTIONS, SERVER = "OPTIONS", "*"
"""`OPTIONS *` applies to the server as a whole (RFC 9110, section 9.3.7)."""


def raw_path(target: str) -> str:
    """Return the path of a request target in origin-form or absolute-form, still encoded, or `*`.

    RFC 9112, section 3.2. Raises `no-route`.
    """
    path = target.partition("?")[0]
    if path.startswith("/") or target == SERVER:
        return path
    scheme, separator, rest = path.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        return "/" + rest.partition("/")[2]
    raise FanmailError("no-route", "the request target is neither a path nor an http URL")


def path_to(topic: bytes, user: bytes, rest: str) -> str:
    """Return a path below a subscription; `rest` is encoded already."""
    return f"/{quote(topic, safe='')}/{quote(user, safe='')}/{rest}"
