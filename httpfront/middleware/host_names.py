"""The names by which a port may be called. No I/O here.

A web page can let its own name mean 127.0.0.1 (DNS rebinding) and then speak to a port on loopback as to its own
server. A port that answers to no such name is out of its reach.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from functools import lru_cache

ANY = "*"
"""In the list of names: whatever is asked for."""
_REMEMBERED = 64
"""Host headers whose answer is remembered."""


class HostNames:
    """`allows(host)`: may the port be called as this Host header says?"""

    def __init__(self, listens: Iterable[str], allowed: Collection[str], keys: bool) -> None:
        """`listens`: the addresses of the port. `allowed`: the setting; where it is empty, any name will do if `keys`
        are asked for or no address is on loopback.
        """
        anything = ANY in allowed if allowed else keys or not any(map(is_loopback, listens))
        listed = frozenset(map(name_of, allowed))

        @lru_cache(_REMEMBERED)
        def allows(host: str) -> bool:
            name = name_of(host)
            return anything or _is_local(name) or name in listed

        self.allows = allows


def name_of(host: str) -> str:
    """The name or address in a Host header: lower case, without port, brackets and the dot of the root."""
    name = host.lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name.removesuffix(".")


def _is_local(name: str) -> bool:
    """Is it the name of nobody's domain? A request without Host (HTTP/1.0) has none at all."""
    return not name or name == "localhost" or name.endswith(".localhost") or is_address(name)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(text: str) -> bool:
    """IPv4 or IPv6."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
