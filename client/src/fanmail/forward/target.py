"""A target: the mailbox that is read, the URL that its messages are sent to, and how."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fanmail.encoding import encode_path, redacted
from fanmail.errors import BadRequest
from fanmail.forward.secret_file import read_secrets

MAX_CONCURRENCY = 1000
"""As many messages as a front leases to one user by default."""
MAX_LEASE_S = 43_200.0
"""The server's limit for a lease, and for the delay of a message that is given back."""


@dataclass(frozen=True, slots=True)
class Target:
    """One mailbox and one URL. Times are seconds."""

    topic: str
    user: str
    url: str
    secrets_file: str = ""
    """The path of a file of secrets; ""; requests are not signed."""
    concurrency: int = 1
    """Requests under way at once, at most."""
    ordered: bool = False
    """Whether a message is sent only when all earlier ones are done."""
    batch: int = 0
    """Messages in one request, at most, as NDJSON; 0: one message per request, as it is."""
    timeout: float = 15.0
    """Limit for one request, from the connection to the end of the answer."""
    lease: float = 30.0
    """A lease is extended while a request is under way, so it need only cover a crash."""
    delay: float = 1.0
    """Until a message that failed is sent again, at most; doubled with each further attempt."""
    max_delay: float = 3600.0
    """Limit of the doubled delay."""
    unsubscribe_on_gone: bool = False
    """Whether 410 ends the subscription."""
    secrets: tuple[bytes, ...] = ()
    """The content of `secrets_file`, newest first."""

    @property
    def name(self) -> str:
        """The mailbox, as logs and metrics have it."""
        return f"{self.topic}/{self.user}"

    @property
    def host(self) -> str:
        """The host of the URL: paths and queries of webhooks are often secret, and are not logged."""
        return urlsplit(self.url).netloc


class _Rule(NamedTuple):
    kind: type
    least: float = 0.0
    most: float = math.inf


_RULES: dict[str, _Rule] = {
    "topic": _Rule(str),
    "user": _Rule(str),
    "url": _Rule(str),
    "secrets_file": _Rule(str),
    "concurrency": _Rule(int, 1, MAX_CONCURRENCY),
    "ordered": _Rule(bool),
    "batch": _Rule(int, 0, MAX_CONCURRENCY),
    "timeout": _Rule(float, 0.1, 3600),
    "lease": _Rule(float, 1, MAX_LEASE_S),
    "delay": _Rule(float, 0.001, MAX_LEASE_S),
    "max_delay": _Rule(float, 0.001, MAX_LEASE_S),
    "unsubscribe_on_gone": _Rule(bool),
}
OPTIONS = tuple(name for name in _RULES if name not in ("topic", "user", "url"))
"""Those that have a default."""
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
assert set(_RULES) == {each.name for each in fields(Target)} - {"secrets"}


def make_target(given: Mapping[str, Any]) -> Target:
    """Return a target with its secrets read. Raises ValueError with the name of what is wrong."""
    for name, value in given.items():
        _check(name, value)
    for name in ("topic", "user", "url"):
        if not given.get(name):
            raise ValueError(f"{name} is missing")
    try:
        encode_path(given["topic"], given["user"])
    except BadRequest as error:
        raise ValueError(str(error)) from None
    _check_url(given["url"])
    if given.get("ordered") and given.get("concurrency", 1) != 1:
        raise ValueError("ordered: there is one request at a time, so concurrency cannot be above 1")
    path = given.get("secrets_file")
    return Target(**given, secrets=read_secrets(path) if path else ())


def _check(name: str, value: object) -> None:
    rule = _RULES.get(name)
    if rule is None:
        raise ValueError(f"{name!r} is not an option; the options are {', '.join(_RULES)}")
    is_kind = isinstance(value, rule.kind) or (rule.kind is float and isinstance(value, int))
    if not is_kind or (isinstance(value, bool) and rule.kind is not bool):
        raise ValueError(f"{name}: {value!r} is not {_NAMES[rule.kind]}")
    if rule.kind in (int, float) and not rule.least <= value <= rule.most:  # type: ignore[operator]
        raise ValueError(f"{name}: {value} is not from {rule.least:g} to {rule.most:g}")


def _check_url(url: str) -> None:
    """Raise ValueError for what is not an absolute URL of HTTP, and for one with credentials."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"url: {redacted(url)!r} is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.fragment:
        raise ValueError(f"url: {redacted(url)!r} is not a URL that begins with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("url: a user name or password cannot be in it: the receiver checks the signature")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"url: {url!r} has characters that must be percent-encoded")
