"""The operators' subcommands with a running cluster: their output, questions and exit codes."""

from __future__ import annotations

import json

import pytest

from fanmail import Client
from tests.client.commands import AtTerminal, Run, lines
from tests.client.proxy import FORBID, Proxy
from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster, wait_for


@pytest.fixture
def three(client: Client, topic: str) -> list[str]:
    """Create topics with 1, 3 and 2 messages, and 2, 1 and 1 subscriptions."""
    names = [f"{topic}/{stem}" for stem in "abc"]
    for name, count in zip(names, (1, 3, 2), strict=True):
        client.subscribe(name, "ann")
        client.publish_many(name, ["x"] * count)
    client.subscribe(names[0], "bob")
    return names


def test_topics_by_name_and_by_what_they_hold(run: Run, topic: str, three: list[str]) -> None:
    def listed(*options: str) -> list[object]:
        return [each["topic"] for each in lines(run("topics", f"{topic}/", "--json", *options))]

    a, b, c = three
    assert listed() == [a, b, c]
    assert listed("--limit", "2") == [a, b]
    assert listed("--sort", "messages") == [b, c, a]
    assert listed("--sort", "messages", "--limit", "1") == [b]
    assert listed("--sort", "subscriptions", "--limit", "1") == [a]
    assert listed("--sort", "oldest", "--limit", "1") == [a]
    table = run("topics", f"{topic}/").stdout.splitlines()
    assert table[0].split() == ["topic", "messages", "bytes", "subscriptions", "oldest_age"]
    assert table[2].split()[:2] == [b, "3"]
    run("topics", f"{topic}/none", code=3)
    run("topics", "--sort", "colour", code=2)


def test_topics_says_whose_are_missing(run: Run, start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1)
    url = f"http://127.0.0.1:{cluster.fronts[0].ops_port}"
    names = [cluster.topic(broker, "t") for broker in ("b0", "b1")]
    for name in names:
        cluster.fronts[0].web.subscribe(name, "ann")
    cluster.brokers["b1"].kill()
    down = wait_for(lambda: "down" in run("brokers", ops_url=url).stdout)
    result = run("topics", ops_url=url, code=6)
    assert down
    assert names[0] in result.stdout
    assert "b1 did not answer" in result.stderr
    assert names[0] in run("topics", "--sort", "messages", ops_url=url, code=6).stdout


def test_show_a_topic_and_who_holds_its_oldest_message(run: Run, three: list[str]) -> None:
    shown = run("status", three[0]).stdout
    assert [line.split()[0] for line in shown.splitlines()][:2] == ["topic", "messages"]
    assert "overflow=reject" in shown
    assert [line.split()[1:] for line in shown.splitlines() if line.startswith("oldest_held_by")] == [["ann"]]
    found = lines(run("status", three[0], "--json"))[0]
    assert (found["messages"], found["oldest_held_by"], found["subscriptions"]) == (1, ["ann"], 2)
    run("status", f"{three[0]}-none", code=4)


def test_peek_takes_nothing_and_tells_the_state(run: Run, client: Client, topic: str) -> None:
    run("peek", topic, "ann", code=4)
    client.subscribe(topic, "ann")
    run("peek", topic, "ann", code=3)
    bodies: list[bytes | str] = ["first", "\x1b[31mred\nline", b"\xff", "y" * 500]
    client.publish_many(topic, bodies, type="text/plain")
    lent = client.receive(topic, "ann", lease=30)
    assert lent is not None
    table = run("peek", topic, "ann").stdout
    assert "\x1b" not in table, "what strangers wrote must not steer the terminal"
    rows = table.splitlines()
    assert rows[1].split()[:3] == [lent.id, "leased", "1"]
    assert [each.split()[1] for each in rows[2:]] == ["waiting"] * 3
    assert rows[2].rstrip().endswith("\\x1b[31mred\\nline")
    assert [each["state"] for each in lines(run("peek", topic, "ann", "-n", "2", "--json"))] == ["leased", "waiting"]
    assert lines(run("peek", topic, "ann", "--json"))[3]["text"] == "y" * 500
    assert client.status(topic, "ann").pending == 3


def test_purge_wants_a_yes(run: Run, client: Client, topic: str, ops_urls: list[str]) -> None:
    run("purge", topic, "ann", "--yes", code=4)
    client.subscribe(topic, "ann")
    client.publish_many(topic, ["x"] * 5)
    assert "--yes" in run("purge", topic, "ann", stdin="y\n", code=2).stderr
    for answer, code in (("n", 1), ("y", 0)):
        assert client.status(topic, "ann").pending == 5
        terminal = AtTerminal(ops_urls[0], "purge", topic, "ann")
        terminal.read_until("Delete 5 waiting")
        terminal.type(f"{answer}\n")
        assert terminal.end() == code
    assert terminal.seen.rstrip().endswith("5")
    client.publish(topic, "x")
    assert run("purge", topic, "ann", "--yes").stdout == "1\n"
    assert lines(run("purge", topic, "ann", "--yes", "--json")) == [{"topic": topic, "user": "ann", "purged": 0}]


def test_delayed_publishes_are_shown_and_cancelled(run: Run, client: Client, topic: str) -> None:
    for body in ("one", b"\xff", "three"):
        client.publish(topic, body, delay=3600)
    assert topic in [each["topic"] for each in lines(run("delayed", "--json"))]
    assert run("delayed").stdout.splitlines()[0].split() == ["topic", "publishes", "memory", "broker"]
    found = lines(run("delayed", topic, "--json"))
    assert [each["bytes"] for each in found] == [3, 1, 5]
    assert run("delayed", topic, "--limit", "1").stdout.splitlines()[1].split()[0] == found[0]["id"]
    shown = lines(run("delayed", topic, str(found[1]["id"]), "--json"))
    assert shown == [found[1] | {"first": [{"base64": "/w=="}]}]
    assert "three" in run("delayed", topic, str(found[2]["id"])).stdout
    run("cancel", topic, code=2)
    run("cancel", topic, str(found[0]["id"]), "--all", "--yes", code=2)
    assert "--yes" in run("cancel", topic, str(found[0]["id"]), code=2).stderr
    assert run("cancel", topic, str(found[0]["id"]), "--yes").stdout == "1\n"
    run("cancel", topic, str(found[0]["id"]), "--yes", code=4)
    run("delayed", topic, str(found[0]["id"]), code=4)
    assert lines(run("cancel", topic, "--all", "--yes", "--json")) == [{"topic": topic, "removed": 2}]
    run("delayed", topic, code=3)


def test_end_wants_a_yes_too(run: Run, three: list[str]) -> None:
    run("delete", three[0], code=2)
    assert run("delete", three[0], "--yes").stdout == "2\n"
    run("delete", three[0], "--yes", code=4)
    assert lines(run("delete", three[1], "--yes", "--json")) == [{"topic": three[1], "ended": 1}]


def test_brokers_are_shown_paused_and_resumed(run: Run, start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1)
    url = f"http://127.0.0.1:{cluster.fronts[0].ops_port}"

    def states() -> list[str]:
        return [line.split()[1] for line in run("brokers", ops_url=url).stdout.splitlines()[1:]]

    assert states() == ["up", "up"]
    run("pause", "b1", ops_url=url)
    assert states() == ["up", "paused"]
    assert [each["state"] for each in lines(run("brokers", "--json", ops_url=url))] == ["up", "paused"]
    run("resume", "b1", ops_url=url)
    assert states() == ["up", "up"]
    run("pause", "b9", ops_url=url, code=4)


@pytest.mark.parametrize(
    "arguments",
    [
        ("topics",),
        ("status", "t"),
        ("peek", "t", "u"),
        ("purge", "t", "u", "--yes"),
        ("delete", "t", "--yes"),
        ("brokers",),
        ("pause", "b0"),
        ("resume", "b0"),
        ("top", "-n", "1"),
    ],
    ids=" ".join,
)
def test_rights_are_5_and_nobody_there_is_6(run: Run, cluster: Cluster, arguments: tuple[str, ...]) -> None:
    with Proxy(cluster.fronts[0].ops_port, lambda *_: FORBID) as proxy:
        assert "forbidden" in run(*arguments, ops_url=proxy.url, code=5).stderr
    once = () if arguments[0] == "top" else ("--within", "0")
    result = run(*arguments, *once, ops_url="http://127.0.0.1:1", code=6)
    assert "refused" in result.stderr
    assert result.stdout == ""


def test_a_json_line_is_all_that_goes_to_standard_output(run: Run, three: list[str]) -> None:
    for line in run("topics", "--json", "--sort", "bytes").stdout.splitlines():
        assert isinstance(json.loads(line), dict)
