"""Which NATS server is to lead which log."""

from __future__ import annotations

from collections import Counter
from random import Random

from broker.tools.replica_spread import Led, leaders_for

SERVERS = ("h1", "h2", "h3")


def led(leader: str, owner: str = "", ready: tuple[str, ...] = SERVERS) -> Led:
    return Led("b", leader, ready, owner)


def test_leaders_that_are_spread_stay() -> None:
    logs = [led("h2", "h1"), led("h3", "h2"), led("h1", "h2"), led("h1", "h3")]
    assert leaders_for(logs) == ["h2", "h3", "h1", "h1"]


def test_a_server_that_leads_more_than_the_others_gives_some_away() -> None:
    chosen = leaders_for([led("h1")] * 8)
    assert sorted(Counter(chosen).values()) == [2, 3, 3]


def test_no_log_is_led_on_the_host_of_its_owner() -> None:
    assert leaders_for([led("h1", "h1"), led("h2", "h3"), led("h3", "h1")]) == ["h2", "h1", "h3"]
    rng = Random(1)
    for _ in range(200):
        logs = [led(rng.choice(SERVERS), rng.choice(SERVERS)) for _ in range(rng.randrange(1, 12))]
        chosen = leaders_for(logs)
        assert all(leader != log.owner for leader, log in zip(chosen, logs, strict=True))


def test_only_servers_that_have_all_of_it_lead_a_log() -> None:
    assert leaders_for([led("h1", "h1", ("h1",)), led("", "", ()), led("h1", "", ("h1", "h2"))]) == ["h1", "", "h2"]
