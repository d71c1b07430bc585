"""Names by which a port on loopback may be called."""

from __future__ import annotations

import pytest
from httpfront.host_check import is_local_name, is_loopback


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *(
            (name, True)
            for name in ("", "localhost", "LocalHost:9100", "127.0.0.1:9100", "10.0.0.7", "[::1]:9100", "[::1]")
        ),
        *(
            (name, False)
            for name in ("evil.example", "evil.example:9100", "localhost.evil.example", "127.0.0.1.nip.io")
        ),
        *((name, False) for name in ("[evil]", "1", "a b")),
    ],
)
def test_only_localhost_and_addresses_are_nobodys_names(host: str, local: bool) -> None:
    assert is_local_name(host) is local


def test_what_is_reached_from_this_machine_only() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "ops.example")] == [False] * 4
