"""What can be said of PostgreSQL without a server: its address, and its settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.replica.postgres.access import Access, check_access
from broker.replica.postgres.health import ServerSettings, State, copies_of, info_of
from broker.store_settings import uses_postgres
from common.config import BrokerSettings
from common.errors import StartError

SOUND = ServerSettings("on", "ANY 1 (a, b)", "on", "on", "10.0.0.1")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://fanmail@127.0.0.1:5433/fanmail?passfile=/etc/fanmail/pgpass",
        "postgresql:///fanmail?host=/run/postgresql",
        "postgresql://fanmail@h1,h2/fanmail?sslmode=verify-full",
    ],
)
def test_an_address_that_is_private_is_taken(url: str) -> None:
    check_access(Access(url))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://fanmail:secret@localhost/fanmail", "must not have a password"),
        ("postgresql://localhost/fanmail?password=secret", "must not have a password"),
        ("host=localhost password=secret", "must not have a password"),
        ("postgresql://localhost/fanmail?secret=1", "is not a URL"),
        ("postgresql://h1/fanmail", "h1: PostgreSQL on another host needs"),
        ("postgresql://localhost,h2/fanmail?sslmode=require", "h2: PostgreSQL on another host needs"),
    ],
)
def test_an_address_that_shows_or_sends_a_secret_is_refused(url: str, reason: str) -> None:
    with pytest.raises(StartError, match=reason) as refused:
        check_access(Access(url))
    assert "secret" not in str(refused.value)


def test_another_host_without_tls_needs_insecure() -> None:
    check_access(Access("postgresql://h1/fanmail"), insecure=True)


def test_a_log_is_in_nats_or_in_postgresql() -> None:
    settings = BrokerSettings(postgres="postgresql:///fanmail")
    assert uses_postgres(settings)
    assert not uses_postgres(BrokerSettings())
    with pytest.raises(StartError, match="both"):
        uses_postgres(replace(settings, nats=("nats://h1:4222",)))


@pytest.mark.parametrize(
    ("names", "copies"),
    [("", 1), ("a", 2), ("a, b", 2), ("*", 2), ("FIRST 2 (a, b, c)", 3), ("any 1 (a,b)", 2), ("2 (a, b)", 3)],
)
def test_copies_are_counted(names: str, copies: int) -> None:
    assert copies_of(names) == copies


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"standby_names": ""}, "one copy of what is acknowledged, and 2 are needed"),
        ({"synchronous_commit": "local"}, "synchronous_commit is local"),
        ({"fsync": "off"}, "fsync is off"),
        ({"full_page_writes": "off"}, "full_page_writes is off"),
    ],
)
def test_settings_with_which_something_is_lost_are_found(wrong: dict[str, str], text: str) -> None:
    state = State(1, 5, 100, 2**30)
    assert info_of(state, SOUND, 3).problems == ()
    (problem,) = info_of(state, SOUND._replace(**wrong), 3).problems
    assert problem.startswith(text)


def test_one_copy_is_enough_where_only_one_is_asked_for() -> None:
    assert info_of(State(1, 0, 0, 1), SOUND._replace(standby_names=""), 1).problems == ()
