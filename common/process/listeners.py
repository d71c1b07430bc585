"""Listening sockets: one port on one or several addresses."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from common.errors import StartError

ALL_IPV6, ALL_IPV4 = "::", "0.0.0.0"
PICKS = 20
"""How many free ports are tried until one is free on all addresses."""
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Place(NamedTuple):
    """Where to listen: an entry of the setting, and an address that it resolves to."""

    host: str
    family: socket.AddressFamily
    address: tuple[Any, ...]
    """Of bind(2)."""


def open_listeners(hosts: Sequence[str], port: int, backlog: int = 0) -> list[socket.socket]:
    """Return non-blocking sockets for all of `hosts`, addresses or names of this host, on the same port; 0: a free one.

    `::` includes IPv4. A name with several addresses listens on each that this host has. With `backlog` 0 the sockets
    are only bound. Raises `StartError` with host and port; then none is open.
    """
    picks = PICKS if port == 0 else 1
    while True:
        picks -= 1
        try:
            return _open(hosts, port, backlog)
        except _InUseError as error:
            if not picks or not error.picked:
                raise StartError(f"port {error.port} on {error.host} is in use") from None


class _InUseError(Exception):
    def __init__(self, host: str, port: int, picked: bool) -> None:
        super().__init__(host, port)
        self.host, self.port = host, port
        self.picked = picked
        """It was free on the previous addresses."""


def _open(hosts: Sequence[str], port: int, backlog: int) -> list[socket.socket]:
    opened: list[socket.socket] = []
    absent: dict[str, str] = {}
    with ExitStack() as undo:
        for place in places(hosts, port):
            at = opened[0].getsockname()[1] if opened else port
            try:
                opened.append(undo.enter_context(_listener(place, at, backlog)))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise _InUseError(place.host, at, at != port) from None
                if error.errno not in _NOT_HERE:
                    raise _unusable(place.host, port, error) from None
                absent.setdefault(place.host, str(_unusable(place.host, port, error)))
            else:
                absent[place.host] = ""
        missing = next(filter(None, absent.values()), None)
        if missing:
            raise StartError(missing)
        undo.pop_all()
    return opened


def _listener(place: Place, port: int, backlog: int) -> socket.socket:
    sock = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if place.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, place.address[0] != ALL_IPV6)
        sock.bind((place.address[0], port, *place.address[2:]))
        if backlog:
            sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def places(hosts: Sequence[str], port: int) -> list[Place]:
    """Return each address once, without those that another one includes. Raises `StartError`."""
    found: dict[tuple[Any, ...], Place] = {}
    for host in hosts:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (OSError, UnicodeError) as error:
            raise _unusable(host, port, error) from None
        for family, _, _, _, address in infos:
            found.setdefault(address, Place(host, family, address))
    listed = {each.address[0] for each in found.values()}
    if ALL_IPV6 in listed:
        return [each for each in found.values() if each.address[0] == ALL_IPV6]
    covered = socket.AF_INET if ALL_IPV4 in listed else None
    return [each for each in found.values() if each.family != covered or each.address[0] == ALL_IPV4]


def _unusable(host: str, port: int, error: Exception) -> StartError:
    return StartError(f"port {port} on {host} cannot be used: {getattr(error, 'strerror', None) or error}")
