"""The host names that a port accepts. No I/O here.

A web page can let its own name resolve to 127.0.0.1 (DNS rebinding) and then talk to a port on loopback as to its own
server. It cannot reach a port that does not accept that name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from functools import lru_cache

ANY = "*"
"""In the list of names: any name."""
_REMEMBERED = 64
"""Host headers whose result is cached."""


class HostNames:
    """`allows(host)` returns whether the port accepts this Host header."""

    def __init__(self, listens: Iterable[str], allowed: Collection[str], keys: bool) -> None:
        """Set the addresses that the port listens on, and the setting.

        Where `allowed` is empty, every name is accepted if `keys` are required or no address is on loopback.
        """
        anything = ANY in allowed if allowed else keys or not any(map(is_loopback, listens))
        listed = frozenset(map(name_of, allowed))

        @lru_cache(_REMEMBERED)
        def allows(host: str) -> bool:
            name = name_of(host)
            return anything or _is_local(name) or name in listed

        self.allows = allows


def name_of(host: str) -> str:
    """Return the name or address in a Host header: lower case, without port, brackets and trailing dot."""
    name = host.lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name.removesuffix(".")


def _is_local(name: str) -> bool:
    """Return whether it is a name in nobody's domain. A request without Host (HTTP/1.0) has none at all."""
    return not name or name == "localhost" or name.endswith(".localhost") or is_address(name)


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on is reached from this machine only."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(text: str) -> bool:
    """Return whether it is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
