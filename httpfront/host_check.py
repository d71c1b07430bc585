"""Who may call the operations port by which name: a web page must not reach it through a name of its own.

A page can let its own name mean 127.0.0.1 (DNS rebinding) and then speak to a port on loopback as to its own server. So
such a port answers to `localhost` and to addresses only.
"""

from __future__ import annotations

import ipaddress

import falcon

from common.errors import FanmailError


class HostCheck:
    """Falcon middleware."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Raises `wrong-host` (421)."""
        if not is_local_name(req.env.get("HTTP_HOST", "")):
            raise FanmailError("wrong-host", "this port answers to localhost and to addresses only")


def is_local_name(host: str) -> bool:
    """Whether a Host header names no domain of somebody: an address or `localhost`, with or without a port."""
    name = host.lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return not name or name == "localhost" or is_address(name)


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
