"""Publishing once, later, and for a limited time; limits of topics by name. Over real HTTP."""

from __future__ import annotations

from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster, Front
from tests.support.table import table


def test_a_publish_repeated_through_another_front_is_stored_once(cluster: Cluster) -> None:
    here, there = cluster.fronts
    here.web.subscribe("once", "ann")
    key = {"Idempotency-Key": '"order-7"'}
    first = here.web.publish("once", b"pay", key)
    again = there.web.publish("once", b"pay", {"Idempotency-Key": "order-7"})
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.headers["Msg-Id"] == first.headers["Msg-Id"]
    assert again.headers["Msg-Subscribers"] == first.headers["Msg-Subscribers"]
    assert "Idempotency-Replayed" not in first.headers
    other = there.web.publish("once", b"pay twice", key)
    assert (other.status, other.code) == (422, "key-reused")
    assert there.web.publish("once", b"pay", key | {"Meta-A": "1"}).code == "key-reused"
    assert here.web.drain("once", "ann") == [b"pay"]


def test_a_batch_is_published_once_too(front: Front) -> None:
    web = front.web
    web.subscribe("once-batch", "ann")
    key = {"Idempotency-Key": "b1"}
    answers = [web.call("POST", "/once-batch?batch=lines", b"a\nb\n", key).headers for _ in range(2)]
    assert [each["Msg-Count"] for each in answers] == ["2", "2"]
    assert answers[0]["Msg-Id"] == answers[1]["Msg-Id"]
    assert web.call("POST", "/once-batch?batch=lines", b"a\nb\nc\n", key).code == "key-reused"
    assert web.publish("once-batch", b"a\nb\n", key).code == "key-reused", "the same bytes, but not as a batch"
    assert web.drain("once-batch", "ann") == [b"a", b"b"]


@table("key", ["", '""', "a b", "x" * 256, "caf\u00e9"])
def test_a_malformed_key_stores_nothing(front: Front, key: str) -> None:
    web = front.web
    web.subscribe("bad-key", "ann")
    answer = web.publish("bad-key", b"x", {"Idempotency-Key": key})
    assert (answer.status, answer.code) == (400, "bad-parameter")
    assert b"Idempotency-Key" in answer.body
    assert web.take("bad-key", "ann").status == 204


def test_a_delayed_publish_arrives_when_it_is_due_and_not_before(front: Front) -> None:
    web = front.web
    web.subscribe("later", "ann")
    delayed = web.call("POST", "/later?delay=1", b"late")
    assert delayed.headers["Msg-Due"].endswith("Z")
    assert "Msg-Id" not in delayed.headers
    now = web.publish("later", b"now")
    assert web.take("later", "ann").body == b"now"
    found = web.call("GET", "/later/ann?wait=20")
    assert found.body == b"late"
    assert int(found.headers["Msg-Id"].rpartition("-")[2]) == int(now.headers["Msg-Id"].rpartition("-")[2]) + 1
    assert found.headers["Msg-Time"] >= delayed.headers["Msg-Due"]


def test_a_message_that_lives_for_a_while_is_gone_afterwards(front: Front) -> None:
    web = front.web
    web.subscribe("brief", "ann")
    web.call("POST", "/brief?ttl=0.001", b"gone")
    web.call("POST", "/brief?ttl=3600", b"there")
    found = web.call("GET", "/brief/ann")
    if found.body == b"gone":  # the millisecond may not be over yet
        found = web.call("GET", "/brief/ann")
    assert found.body == b"there"


@table("query", ["ttl=0", "ttl=-1", "ttl=31536001", "delay=-1", "delay=31536001", "delay=x", "ttl=1&ttl=1", "tll=1"])
def test_parameters_of_publishing_are_checked_before_anything_is_stored(front: Front, query: str) -> None:
    web = front.web
    web.subscribe("params", "ann")
    answer = web.call("POST", f"/params?{query}", b"x")
    assert (answer.status, answer.code) == (400, "bad-parameter")
    assert query.partition("=")[0].encode() in answer.body
    assert web.take("params", "ann").status == 204


def test_ceilings_of_topics_go_by_their_names(start_cluster: StartCluster, tmp_path) -> None:  # type: ignore[no-untyped-def]
    rules = tmp_path / "topics.toml"
    rules.write_text(
        '[[topics]]\npattern = "log.*"\nmax_messages = 3\noverflow = "drop-oldest"\n'
        '[[topics]]\npattern = "*"\nmax_messages = 2\n'
    )
    web = start_cluster(brokers=1, fronts=1, broker_settings={"topics": rules}).fronts[0].web
    for topic in ("log.web", "orders"):
        web.subscribe(topic, "ann")
    statuses = {topic: [web.publish(topic, b"%d" % n).status for n in range(5)] for topic in ("log.web", "orders")}
    assert statuses == {"log.web": [200] * 5, "orders": [200, 200, 429, 429, 429]}
    refused = web.publish("orders", b"x")
    assert (refused.code, refused.headers["Retry-After"]) == ("topic-full", "1")
    assert web.drain("log.web", "ann") == [b"2", b"3", b"4"]
    assert web.drain("orders", "ann") == [b"0", b"1"]


def test_settings_of_a_subscription_end_it_when_nobody_calls(front: Front) -> None:
    web = front.web
    assert web.call("PATCH", "/idle/ann?expires_after=1").status == 404
    assert web.call("POST", "/idle/ann?expires_after=1").headers["Subscription-Created"] == "true"
    assert web.call("PATCH", "/idle/ann").code == "bad-parameter"
    assert web.call("PATCH", "/idle/ann?max_deliveries=3").status == 200
    waited = web.call("GET", "/idle/ann?wait=2")
    assert waited.status == 204, "the clock stands still while it waits"
    while web.call("HEAD", "/idle/ann").status == 200:
        pass
    assert web.take("idle", "ann").status == 404
