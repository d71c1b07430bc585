"""Names by which a port may be called."""

from __future__ import annotations

from httpfront.middleware.host_names import HostNames, is_loopback
from tests.support.table import table

LOOPBACK, BEYOND = ("127.0.0.1",), ("10.0.0.7",)
LOCAL = (
    *("", "localhost", "LocalHost:9100", "localhost.:80", "a.localhost", "A.b.LOCALHOST:1"),
    *("127.0.0.1:9100", "10.0.0.7", "[::1]:9100", "[::1]"),
)
FOREIGN = (
    *("evil.example", "evil.example:9100", "localhost.evil.example", "notlocalhost", "127.0.0.1.nip.io"),
    *("[evil]", "1", "a b", "evil.example.", "evil.example:localhost"),
)


@table("host", LOCAL)
def test_localhost_and_addresses_are_nobodys_names(host: str) -> None:
    assert HostNames(LOOPBACK, (), keys=False).allows(host)
    assert HostNames(BEYOND, ("mail.example",), keys=True).allows(host)


@table("host", FOREIGN)
def test_any_other_name_may_be_that_of_a_web_page(host: str) -> None:
    for names in (
        HostNames(LOOPBACK, (), keys=False),
        HostNames((*BEYOND, "localhost"), (), keys=False),
        HostNames(LOOPBACK, ("mail.example",), keys=True),
        HostNames(BEYOND, ("mail.example",), keys=True),
    ):
        assert not names.allows(host)


@table("host", FOREIGN)
def test_where_any_name_will_do(host: str) -> None:
    for names in (
        HostNames(LOOPBACK, (), keys=True),
        HostNames(BEYOND, (), keys=False),
        HostNames(LOOPBACK, ("mail.example", "*"), keys=False),
    ):
        assert names.allows(host)


def test_names_are_compared_without_port_case_and_the_dot_of_the_root() -> None:
    names = HostNames(LOOPBACK, ("Mail.Example", "other."), keys=False)
    assert all(map(names.allows, ("mail.example", "MAIL.example:8443", "mail.example.", "other")))
    assert not any(map(names.allows, ("www.mail.example", "mail.example.evil", "mail")))


def test_what_is_reached_from_this_machine_only() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "ops.example")] == [False] * 4
