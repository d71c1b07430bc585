"""Parsers of setting values. They raise `ValueError` with the allowed values."""

from __future__ import annotations

import re
from collections.abc import Callable

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_SIZE = re.compile(r"(\d+)\s*(?:([KMGT])i?)?B?", re.IGNORECASE)
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[?[0-9A-Fa-f:.]+\]?").fullmatch
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?").fullmatch
_FACTOR = {"k": KIB, "m": MIB, "g": GIB, "t": 1024**4}
_SERVER = re.compile(r"(nats|tls)://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})").fullmatch


def _bounded(value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"must be from {low} to {high}")


def count(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers in a range, both ends included."""

    def parse(text: str) -> int:
        value = int(text)
        _bounded(value, low, high)
        return value

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of durations in seconds, with fractions."""

    def parse(text: str) -> float:
        value = float(text)
        _bounded(value, low, high)
        return value

    return parse


def size(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of sizes in bytes. All units are powers of 1,024: `1048576`, `1024K`, `1MB`, `1Mi`, `1 MiB`."""

    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text.strip())
        if not match:
            raise ValueError("is not a size such as 65536, 64K, 512MiB or 2G")
        value = int(match[1]) * _FACTOR.get((match[2] or "").lower(), 1)
        if not low <= value <= high:
            raise ValueError(f"must be from {size_text(low)} to {size_text(high)}")
        return value

    return parse


def size_text(number: int) -> str:
    """Return a number of bytes in the largest unit of which it is a multiple: `1GiB`, `1000`."""
    for unit, factor in reversed(_FACTOR.items()):
        if number and number % factor == 0:
            return f"{number // factor}{unit.upper()}iB"
    return str(number)


class Choice:
    """A parser that accepts one of some words."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def __call__(self, text: str) -> str:
        if text not in self.words:
            raise ValueError(f"must be one of {', '.join(self.words)}")
        return text


def choice(*words: str) -> Choice:
    """Return a parser that accepts one of the words."""
    return Choice(words)


def switch(text: str) -> bool:
    """Parse on or off; a flag without a value means on."""
    if text.lower() not in ("on", "off", "true", "false"):
        raise ValueError("must be on or off")
    return text.lower() in ("on", "true")


def names(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of broker ids."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def addresses(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of addresses, or names of this host, to listen on; IPv6 with or without brackets."""
    found = tuple(name.removeprefix("[").removesuffix("]") for name in names(text))
    if not all(found) or not found:
        raise ValueError("must name an address, such as 127.0.0.1 or ::")
    return found


def servers(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of NATS servers: nats://host:port or tls://host:port, without credentials."""
    found = names(text)
    for name in found:
        match = _SERVER(name)
        if not match or not 1 <= int(match["port"]) <= 65535:
            raise ValueError("must be servers such as nats://h1:4222 or tls://h1:4222, without user and password")
    return found


def host_names(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of host names without ports; `*` means any."""
    found = names(text)
    for name in found:
        if name != "*" and not _HOST_NAME(name):
            raise ValueError("must be names such as mail.example, without scheme and port, or *")
    return found


def origins(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of origins of web pages as browsers send them: scheme, host, and a port if any."""
    found = tuple(name.lower() for name in names(text))
    for name in found:
        if not _ORIGIN(name):
            raise ValueError("must be origins such as https://app.example, without a path; * is not allowed")
    return found


LISTS = (names, addresses, servers, host_names, origins)
"""Parsers of settings that may be given several times, which adds to one list."""
