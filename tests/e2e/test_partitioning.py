"""Any front serves any topic, each topic has one broker (G8), and the wrong broker says that it is not the owner."""

from __future__ import annotations

from common.errors import ERRORS
from common.protocol.ops import Op, Publish
from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster


def test_a_topic_is_the_same_through_every_front(cluster: Cluster) -> None:
    one, other = (front.web for front in cluster.fronts)
    for broker_id in cluster.brokers:
        for n in range(10):
            topic = cluster.topic(broker_id, f"shared{n}")
            assert one.subscribe(topic, "ann").headers["Subscription-Created"] == "true"
            assert other.subscribe(topic, "ann").headers["Subscription-Created"] == "false"
            published = [web.publish(topic, b"x") for web in (other, one)]
            assert [each.headers["Msg-Subscribers"] for each in published] == ["1", "1"]
            taken = [web.take(topic, "ann").headers["Msg-Id"] for web in (one, other)]
            assert taken == [each.headers["Msg-Id"] for each in published]
            assert other.unsubscribe(topic, "ann").status == 200
            assert one.take(topic, "ann").status == 404


def test_topics_are_spread_over_all_brokers(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=4, fronts=1)
    web = cluster.fronts[0].web
    topics = [f"spread-{n}" for n in range(200)]
    for topic in topics:
        web.subscribe(topic, "ann")
        web.publish(topic, topic.encode())
    for broker_id in cluster.brokers:
        mine = sum(cluster.map.owner(topic.encode()) == broker_id for topic in topics)
        stats = cluster.stats(broker_id)
        assert stats["topics"] == stats["messages"] == mine
        assert mine >= 20
    for topic in topics:
        assert web.drain(topic, "ann") == [topic.encode()]


def test_the_wrong_broker_refuses_a_topic(cluster: Cluster) -> None:
    topic = cluster.topic("b1", "wrong")
    cluster.fronts[0].web.subscribe(topic, "ann")
    with cluster.peer("b0") as wrong, cluster.peer("b1") as right:
        for op, user, args in (
            (Op.SUBSCRIBE, "eve", None),
            (Op.PUBLISH, "", Publish(b"", b"x")),
            (Op.TAKE, "ann", None),
            (Op.UNSUBSCRIBE, "ann", None),
        ):
            reply = wrong.ask(op, topic, user, args)
            assert reply.code == "not-owner"
            assert "b0" in reply.result
        assert ERRORS["not-owner"].status == 503
        assert right.ask(Op.PUBLISH, topic, "", Publish(b"", b"x")).result.subscribers == 1
    assert cluster.fronts[1].web.drain(topic, "ann") == [b"x"]


def test_a_request_for_an_earlier_incarnation_is_refused(cluster: Cluster) -> None:
    topic = cluster.topic("b0", "earlier")
    cluster.fronts[0].web.subscribe(topic, "ann")
    with cluster.peer("b0") as peer:
        peer.ping()
        for other in (0, peer.incarnation + 1, 2**62):
            reply = peer.ask(Op.PUBLISH, topic, "", Publish(b"", b"x"), incarnation=other)
            assert reply.code == "wrong-incarnation"
    assert cluster.fronts[0].web.drain(topic, "ann") == []
