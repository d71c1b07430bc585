"""Listening on one address and on several."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from common.errors import StartError
from common.process.listeners import open_listeners, places
from tests.support.table import table


@contextmanager
def listening(*hosts: str, port: int = 0) -> Iterator[tuple[int, list[str]]]:
    """The port, and the addresses that were bound."""
    sockets = open_listeners(hosts, port, backlog=5)
    try:
        (port,) = {each.getsockname()[1] for each in sockets}
        yield port, [each.getsockname()[0] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def reached(port: int, *hosts: str) -> list[bool]:
    found = []
    for host in hosts:
        try:
            socket.create_connection((host, port), 5).close()
            found.append(True)
        except OSError:
            found.append(False)
    return found


@table(
    ("hosts", "bound", "answer"),
    [
        (["127.0.0.1"], ["127.0.0.1"], [True, False, False]),
        (["::1"], ["::1"], [False, False, True]),
        (["127.0.0.1", "::1", "127.0.0.2", "::1"], ["127.0.0.1", "::1", "127.0.0.2"], [True, True, True]),
        (["0.0.0.0", "127.0.0.1"], ["0.0.0.0"], [True, True, False]),
        (["0.0.0.0", "::1"], ["0.0.0.0", "::1"], [True, True, True]),
        (["::"], ["::"], [True, True, True]),
        (["127.0.0.1", "::", "0.0.0.0", "::1"], ["::"], [True, True, True]),
    ],
)
def test_every_address_is_listened_on_at_one_port(hosts: list[str], bound: list[str], answer: list[bool]) -> None:
    with listening(*hosts) as (port, addresses):
        assert addresses == bound
        assert reached(port, "127.0.0.1", "127.0.0.2", "::1") == answer


def test_a_name_is_all_its_addresses_that_this_host_has(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.2")]

    def resolve(host: str, port: int, **_: object) -> list[object]:
        return [(family, 0, 0, "", (address, port)) for family, address in there]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with listening("box") as (_, addresses):
        assert addresses == ["127.0.0.1", "127.0.0.2"]
    del there[1:]
    with pytest.raises(StartError, match=r"^port 0 on box cannot be used: "):
        open_listeners(["box"], 0)


def test_where_one_address_cannot_be_used_none_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"^port {port} on 127\.0\.0\.2 is in use$"):
            open_listeners(["127.0.0.1", "127.0.0.2"], port, backlog=5)
        assert reached(port, "127.0.0.1") == [False]
    for host in ("192.0.2.1", "no.such.host.invalid", "x" * 300):
        with pytest.raises(StartError, match=r"^port 1 on .* cannot be used: "):
            places([host], 1) and open_listeners([host], 1)


def test_a_free_port_is_one_that_is_free_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port that the first address gives is taken on the second one twice, then free."""
    real, binds = socket.socket.bind, []

    class Socket(socket.socket):
        def bind(self, address: tuple[object, ...]) -> None:  # type: ignore[override]
            binds.append(address[0])
            if len(binds) in (2, 4):
                raise OSError(98, "Address already in use")
            real(self, address)

    monkeypatch.setattr("common.process.listeners.socket.socket", Socket)
    with listening("127.0.0.1", "127.0.0.2") as (_, addresses):
        assert addresses == ["127.0.0.1", "127.0.0.2"]
    assert binds == ["127.0.0.1", "127.0.0.2"] * 3
