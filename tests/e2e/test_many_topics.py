"""The operator lists a very large number of topics of one broker while others publish.

60,000 of them; a million with `MANY_TOPICS=1000000 bin/test tests/e2e/test_many_topics.py`, which takes 20 to 90 s.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from common.protocol import ops, wire
from common.protocol.ops import Op
from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Cluster, wait_for

pytestmark = pytest.mark.slow

TOPICS = int(os.environ.get("MANY_TOPICS", "60000"))
MOST_LOOKS = 1000
"""Entries that a broker examines per iteration of its loop, as documented."""
AHEAD = 32
"""Messages that are sent before the first reply."""


def names() -> list[str]:
    """Return names in no order, as they arrive in practice."""
    return [f"topic-{number * 7919 % TOPICS:07}" for number in range(TOPICS)]


def fill(cluster: Cluster, broker_id: str, topics: list[str]) -> None:
    """Subscribe once to each topic, 64 in a message. The replies are not read but counted."""
    pack, subscribe, nothing = wire.pack_request, Op.SUBSCRIBE, ops.Nothing()
    with cluster.peer(broker_id) as peer:
        peer.ping()
        under_way = 0
        for start in range(0, len(topics), wire.MAX_REQUESTS):
            some = topics[start : start + wire.MAX_REQUESTS]
            packed = [pack(9, subscribe, topic.encode(), b"u", 2**62, nothing) for topic in some]
            peer.socket.send(wire.pack_requests(peer.incarnation, 1, packed))
            under_way += 1
            if under_way == AHEAD:
                peer.socket.recv()
                under_way -= 1
        for _ in range(under_way):
            peer.socket.recv()
        stats = peer.stats()
        assert stats["topics"] == len(topics)
        assert not [name for name in stats if name.startswith("errors.")]


class Row(msgspec.Struct):
    """A row of a listing."""

    topic: str


class Page(msgspec.Struct):
    """A page of a listing."""

    topics: list[Row]
    cursor: str | None


class Publisher(threading.Thread):
    """Publishes to a topic, one message after another, until it is told to stop."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._client = Client(port)
        self._over = threading.Event()
        self.answered = 0
        self.failed: list[object] = []

    def run(self) -> None:
        while not self._over.is_set() and not self.failed:
            answer = self._client.publish("topic-0000005", b"x")
            if answer.status != 200 or answer.headers["Msg-Subscribers"] != "1":
                self.failed.append(answer)
            self.answered += 1

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._client.close()


@contextmanager
def publishing(port: int) -> Iterator[Publisher]:
    publisher = Publisher(port)
    publisher.start()
    yield publisher
    publisher.stop()


@pytest.mark.timeout(300)
def test_very_many_topics_are_listed_page_by_page_and_publishing_goes_on(start_cluster: StartCluster) -> None:
    cluster = start_cluster(
        brokers=1, fronts=1, broker_settings={"max_topics": 2 * TOPICS, "max_messages": 10**9, "memory": "8GiB"}
    )
    front = cluster.fronts[0]
    fill(cluster, "b0", names())
    with cluster.peer("b0") as peer:
        peer.ping()
        peer.send([(Op.TOPICS, "", "", ops.ListTopics(b"", b"", 1000))] * 8)
        assert sum(len(reply.result.rows) for reply in peer.receive()) == MOST_LOOKS, "of one turn, whoever asks"
    operator = Client(front.ops_port)
    listed: list[str] = []
    pages = 0
    with publishing(front.port) as publisher:
        cursor: str | None = ""
        while cursor is not None:
            seen = publisher.answered
            answer = operator.call("GET", "/-/v1/topics?limit=1000" + (f"&cursor={cursor}" if cursor else ""))
            page = msgspec.json.decode(answer.body, type=Page)
            listed += [each.topic for each in page.topics]
            cursor, pages = page.cursor, pages + 1
            wait_for(lambda seen=seen: publisher.answered > seen, "a publish between two pages")
        assert not publisher.failed
    operator.close()
    assert listed == sorted(names()), "every topic once, in order"
    assert TOPICS // 1000 <= pages <= TOPICS // 1000 + 1
    stats = cluster.stats("b0")
    assert stats["topics"] == TOPICS
    assert stats["published"] == publisher.answered >= pages
    assert stats["most_looks"] == MOST_LOOKS
