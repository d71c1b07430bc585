"""The operators' calls on the operations port of real fronts."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Answer, Client, Cluster, Front, wait_for


class Operator:
    """A client of a front's operations port."""

    def __init__(self, front: Front) -> None:
        self._client = Client(front.ops_port)

    def call(self, method: str, path: str) -> Answer:
        return self._client.call(method, "/-/v1" + path)

    def ask(self, path: str, method: str = "GET") -> Any:
        answer = self.call(method, path)
        assert answer.status == 200, answer
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        return json.loads(answer.body)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def small(start_cluster: StartCluster) -> Cluster:
    return start_cluster(brokers=2, fronts=1)


@pytest.fixture
def operator(small: Cluster) -> Operator:
    return Operator(small.fronts[0])


def test_topics_of_all_brokers_are_listed_by_name_and_page(small: Cluster, operator: Operator) -> None:
    web = small.fronts[0].web
    names = ["b", "a", "a/1", "é", "a b", *(f"t{n:02}" for n in range(30))]
    for name in names:
        web.subscribe(quote(name, safe=""), "u")
    web.publish("a", b"12345")
    found = operator.ask("/topics")
    assert [each["topic"] for each in found["topics"]] == sorted(names, key=str.encode)
    assert (found["cursor"], found["missing"]) == (None, [])
    assert {each["broker"] for each in found["topics"]} == {"b0", "b1"}
    (row,) = [each for each in found["topics"] if each["topic"] == "a"]
    assert (row["messages"], row["bytes"], row["subscriptions"]) == (1, 5, 1)
    assert 0 <= row["oldest_age"] < 60
    paged: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = operator.ask("/topics?limit=7" + (f"&cursor={cursor}" if cursor else ""))
        assert len(page["topics"]) <= 7
        paged += [each["topic"] for each in page["topics"]]
        cursor = page["cursor"]
    assert paged == sorted(names, key=str.encode)
    assert [each["topic"] for each in operator.ask("/topics?prefix=a")["topics"]] == ["a", "a b", "a/1"]
    assert [each["topic"] for each in operator.ask("/topics?prefix=" + quote("é"))["topics"]] == ["é"]
    owner = small.map.owner(b"a")
    worst = operator.ask(f"/topics?broker={owner}&oldest=5&limit=1000")
    assert [each["topic"] for each in worst["topics"]] == ["a"]
    assert operator.ask("/topics?limit=9999")["cursor"] is None, "cut to a thousand"
    for query in ("limit=0", "cursor=%20", "cursor=a", "nothing=1", "oldest=3", "broker=b9", "limit=1&limit=1"):
        assert operator.call("GET", f"/topics?{query}").code == "bad-parameter", query


def test_one_topic_its_holders_and_its_end(small: Cluster, operator: Operator) -> None:
    web = small.fronts[0].web
    topic = "rooms%2Fblue"
    for number in range(12):
        web.subscribe(topic, f"u{number:02}")
    web.publish(topic, b"x")
    web.take(topic, "u00")
    found = operator.ask(f"/topics/{topic}")
    assert (found["topic"], found["messages"], found["subscriptions"]) == ("rooms/blue", 1, 12)
    assert found["oldest_held_by"] == [f"u{number:02}" for number in range(1, 11)]
    assert found["oldest_held_by_more"] is True
    for number in range(1, 10):
        web.take(topic, f"u{number:02}")
    found = operator.ask(f"/topics/{topic}")
    assert (found["oldest_held_by"], found["oldest_held_by_more"]) == (["u10", "u11"], False)
    assert found["own_settings"] == {}
    assert found["settings"]["overflow"] == "reject"

    users = operator.ask(f"/topics/{topic}/subscriptions?limit=5")
    assert [each["user"] for each in users["subscriptions"]] == [f"u{number:02}" for number in range(5)]
    rest = operator.ask(f"/topics/{topic}/subscriptions?cursor={users['cursor']}")
    assert [each["user"] for each in rest["subscriptions"]] == [f"u{number:02}" for number in range(5, 12)]
    assert rest["cursor"] is None

    assert operator.ask(f"/topics/{topic}", "DELETE") == {"topic": "rooms/blue", "ended": 12}
    assert web.take(topic, "u11").code == "no-subscription"
    for method, path in (
        ("GET", f"/topics/{topic}"),
        ("PATCH", f"/topics/{topic}?max_age=1"),
        ("DELETE", f"/topics/{topic}"),
        ("GET", f"/topics/{topic}/subscriptions"),
    ):
        answer = operator.call(method, path)
        assert (answer.status, answer.code) == (404, "no-topic")
    assert operator.call("GET", f"/topics/{topic}/subscriptions/u").code == "no-subscription"
    assert operator.call("GET", "/topics/%FF").code == "bad-name"
    assert operator.call("PUT", "/topics/t").headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


def test_peek_and_purge(small: Cluster, operator: Operator) -> None:
    web = small.fronts[0].web
    web.subscribe("t", "u")
    for number in range(12):
        web.publish(
            "t", b"%d" % number, {"Content-Type": "text/plain", "Meta-N": f"ä{number}".encode().decode("latin-1")}
        )
    web.publish("t", b"\xff")
    web.call("GET", "/t/u?lease=60")
    path = "/topics/t/subscriptions/u"
    first = operator.ask(f"{path}/messages")["messages"]
    assert len(first) == 10
    assert first == operator.ask(f"{path}/messages")["messages"], "it never takes"
    assert {name: first[0][name] for name in ("state", "attempt", "type", "text", "meta", "bytes")} == {
        "state": "leased",
        "attempt": 1,
        "type": "text/plain",
        "text": "0",
        "meta": {"meta-n": "ä0"},
        "bytes": 1,
    }
    assert [each["state"] for each in first[1:]] == ["waiting"] * 9
    assert operator.ask(f"{path}/messages?peek=100")["messages"][-1]["base64"] == "/w=="
    row = operator.ask(path)
    assert {name: row[name] for name in ("user", "pending", "leased", "dead", "next_seq")} == {
        "user": "u",
        "pending": 12,
        "leased": 1,
        "dead": 0,
        "next_seq": 1,
    }
    assert operator.ask(f"{path}/messages", "DELETE") == {"topic": "t", "user": "u", "purged": 13}
    assert web.take("t", "u").status == 204
    assert operator.ask(f"{path}/messages", "DELETE")["purged"] == 0
    assert operator.call("DELETE", "/topics/t/subscriptions/v/messages").code == "no-subscription"


def test_delayed_publishes_are_listed_and_removed(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1, broker_settings={"max_delayed": 40})
    operator, web = Operator(cluster.fronts[0]), cluster.fronts[0].web
    greedy = [cluster.topic(broker, "nobody") for broker in ("b0", "b1")]
    good = cluster.topic("b0", "good")
    headers = {"Content-Type": "text/plain", "Meta-A": "b", "Idempotency-Key": "k"}
    due = web.publish(f"{greedy[0]}?delay=31536000&ttl=1.5", b"first", headers).headers["Msg-Due"]
    web.call("POST", f"/{greedy[0]}?delay=31536000&batch=lines", b"a\n\xff\n")
    for topic in greedy:
        while (answer := web.publish(f"{topic}?delay=31536000", b"x")).status == 200:
            pass
        assert (answer.status, answer.code) == (429, "too-many-delayed")
    assert web.publish(f"{good}?delay=60", b"x").status == 200, "others have their share"

    found = operator.ask("/delayed")
    owned = {good: ("b0", 1), greedy[0]: ("b0", 10), greedy[1]: ("b1", 10)}
    assert (found["cursor"], found["missing"]) == (None, [])
    assert [each["topic"] for each in found["topics"]] == sorted(owned)
    assert {each["topic"]: (each["broker"], each["publishes"]) for each in found["topics"]} == owned
    assert operator.call("GET", f"/topics/{greedy[0]}").code == "no-topic"
    paged: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = operator.ask("/delayed?limit=2" + (f"&cursor={cursor}" if cursor else ""))
        paged, cursor = paged + [each["topic"] for each in page["topics"]], page["cursor"]
    assert paged == sorted(owned)

    path = f"/topics/{greedy[0]}/delayed"
    first, second = operator.ask(f"{path}?limit=2")["delayed"]
    about = {"due": due, "messages": 1, "ttl": 1.5, "type": "text/plain", "meta": {"meta-a": "b"}}
    assert {name: first[name] for name in about} == about
    assert operator.ask(f"{path}/{first['id']}")["first"] == [{"bytes": 5, "text": "first"}]
    assert operator.ask(f"{path}/{second['id']}")["first"] == [
        {"bytes": 1, "text": "a"},
        {"bytes": 1, "base64": "/w=="},
    ]
    page = operator.ask(f"{path}?limit=9")
    rest = operator.ask(f"{path}?cursor={page['cursor']}")
    assert (len(page["delayed"]), len(rest["delayed"]), rest["cursor"]) == (9, 1, None)

    assert operator.ask(f"{path}/{first['id']}", "DELETE") == {"topic": greedy[0], "removed": 1}
    for method in ("GET", "DELETE"):
        for wrong in (first["id"], "1", "0-0", "x", "99999999999999999999-1"):
            answer = operator.call(method, f"{path}/{wrong}")
            assert (answer.status, answer.code) == (404, "no-delayed"), (method, wrong)
    again = web.publish(f"{greedy[0]}?delay=31536000&ttl=1.5", b"first", headers)
    assert again.headers["Idempotency-Replayed"] == "true", "a repeat does not bring it back"
    assert web.publish(f"{greedy[0]}?delay=60", b"x").status == 429, "others have more than before"
    operator.ask(f"{path}/{second['id']}", "DELETE")
    assert web.publish(f"{greedy[0]}?delay=60", b"x").status == 200
    assert operator.ask(path, "DELETE") == {"topic": greedy[0], "removed": 9}
    assert operator.ask(path, "DELETE")["removed"] == 0
    assert operator.ask(path) == {"delayed": [], "cursor": None}
    for query in ("cursor=YQ", "cursor=a", "limit=0", "nothing=1"):
        assert operator.call("GET", f"{path}?{query}").code == "bad-parameter", query
    operator.close()


def test_settings_of_a_topic_outlive_a_restart(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    front = cluster.fronts[0]
    operator = Operator(front)
    front.web.subscribe("t", "u")
    found = operator.ask("/topics/t?max_messages=2&max_age=3600.5&max_bytes=1000", "PATCH")
    assert found["own_settings"] == {"max_messages": 2, "max_bytes": 1000, "max_age": 3600.5}
    assert [front.web.publish("t", b"x").status for _ in range(3)] == [200, 200, 429]
    assert operator.ask("/topics/t?overflow=drop-oldest&max_bytes=default", "PATCH")["own_settings"] == {
        "max_messages": 2,
        "max_age": 3600.5,
        "overflow": "drop-oldest",
    }
    cluster.kill_broker("b0")
    wait_for(front.ready, "the broker to be back")
    found = operator.ask("/topics/t")
    assert found["own_settings"] == {"max_messages": 2, "max_age": 3600.5, "overflow": "drop-oldest"}
    assert found["messages"] == 2
    assert front.web.publish("t", b"y").status == 200
    assert front.web.drain("t", "u") == [b"x", b"y"]
    operator.ask("/topics/t?overflow=default&max_messages=default&max_age=default", "PATCH")
    assert operator.ask("/topics/t")["own_settings"] == {}
    for query in ("max_messages=0", "max_age=-1", "overflow=maybe", "max_bytes=1MiB", "colour=red"):
        assert operator.call("PATCH", f"/topics/t?{query}").code == "bad-parameter", query


def test_brokers_and_a_pause_that_a_restart_ends(small: Cluster, operator: Operator) -> None:
    front = small.fronts[0]
    web = front.web
    topic, other = small.topic("b0", "paused"), small.topic("b1", "open")
    web.subscribe(topic, "u")
    web.publish(topic, b"x")
    assert operator.ask("/brokers/b0/pause", "PUT") == {"id": "b0", "paused": True, "draining": True}
    b0, b1 = operator.ask("/brokers")["brokers"]
    assert (b0["id"], b0["up"], b0["paused"], b0["slots"] + b1["slots"]) == ("b0", True, True, 1024)
    assert (b1["paused"], b0["stats"]["messages"]) == (False, 1)
    assert b0["round_trip"] > 0
    for answer in (web.publish(topic, b"y"), web.subscribe(topic, "new")):
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "paused", "1")
        assert json.loads(answer.body)["title"] == "The operator has paused the broker"
    assert web.subscribe(topic, "u").status == 200
    assert web.take(topic, "u").body == b"x"
    assert web.publish(other, b"y").status == 200
    assert front.ready()
    operator.ask("/brokers/b0/drain", "DELETE")
    assert web.publish(topic, b"y").status == 200
    operator.ask("/brokers/b0/drain", "PUT")
    small.kill_broker("b0")
    wait_for(front.ready, "the broker to be back")
    assert web.subscribe(topic, "u").status == 200
    assert operator.call("PUT", "/brokers/b9/pause").code == "no-broker"
    assert operator.call("GET", "/brokers/b0/pause").status == 405
    small.brokers["b1"].kill()
    wait_for(lambda: not front.ready())
    assert operator.call("PUT", "/brokers/b1/pause").code == "broker-down"
    assert operator.ask("/topics")["missing"] == ["b1"]
    assert [each["up"] for each in operator.ask("/brokers")["brokers"]] == [True, False]


def test_the_configuration_is_shown(small: Cluster, operator: Operator) -> None:
    found = operator.ask("/config")
    assert found["settings"]["ops_port"] == 0
    assert found["settings"]["run_dir"] == str(small.run_dir)
    assert found["version"]
