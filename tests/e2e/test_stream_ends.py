"""When streams end and when they go on: keys, drains, brokers that die, clients that read nothing."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster, Front, wait_for
from tests.e2e.keys import bearer, write_keys
from tests.e2e.streams import Stream

READER = """allow = [
  {rights = ["publish"], topic = "*"}, {rights = ["subscribe", "consume"], topic = "*", user = "*"}]"""
NO_READER = """allow = [{rights = ["publish"], topic = "*"}, {rights = ["subscribe"], topic = "*", user = "*"}]"""
MIB = 2**20


def rss(front: Front) -> int:
    status = Path(f"/proc/{front.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def reload(cluster: Cluster) -> None:
    front = cluster.fronts[0].process
    before = len([each for each in front.events() if each["event"] == "API keys read again"])
    front.signal(signal.SIGHUP)
    wait_for(lambda: len([each for each in front.events() if each["event"] == "API keys read again"]) > before)


def test_a_stream_ends_before_a_delivery_that_its_key_may_not_have(start_cluster: StartCluster, folder: Path) -> None:
    path = write_keys(folder / "keys.toml", {"ann": READER, "bob": READER})
    cluster = start_cluster(brokers=1, fronts=1, front_settings={"api_keys_file": str(path)})
    web, key = cluster.fronts[0].web, bearer("bob")
    assert web.call("POST", "/t/ann", headers=key).status == 200
    with Stream(cluster.fronts[0], "/t/ann") as refused:
        assert refused.status == 401
    for members, code in ((NO_READER, "forbidden"), (None, "unauthorized")):
        write_keys(path, {"ann": READER, "bob": READER})
        reload(cluster)
        with Stream(cluster.fronts[0], "/t/ann", "&confirm=client", **bearer("ann")) as stream:
            web.call("POST", "/t", b"1", key)
            assert stream.next()["text"] == "1"
            write_keys(path, {"bob": READER} | ({"ann": members} if members else {}))
            reload(cluster)
            web.call("POST", "/t", b"secret", key)
            (end,) = stream
            assert (end["event"], end["code"]) == ("end", code)
            assert web.call("PATCH", "/t/ann?after=0", headers=bearer("ann")).status == (403 if members else 401)
        assert web.call("GET", "/t/ann?max=100&after=0", headers=key).headers["Msg-Count"] == "2"
        web.call("DELETE", "/t/ann", headers=key)
        web.call("POST", "/t/ann", headers=key)


def test_a_front_that_stops_ends_its_streams_and_others_go_on(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=2, front_settings={"drain_timeout": 2})
    here, there = cluster.fronts
    there.web.subscribe("t", "ann")
    streams = [Stream(here, "/t/ann", "&confirm=client") for _ in range(10)]
    ids = [there.web.publish("t", b"%d" % n).headers["Msg-Id"] for n in range(3)]
    seen = [[each.next()["id"] for _ in ids] for each in streams]
    assert seen == [ids] * 10
    here.process.signal(signal.SIGTERM)
    for stream in streams:
        (end,) = stream
        assert (end["event"], end["code"]) == ("error", "draining")
        stream.close()
    wait_for(lambda: not here.process.running, "the front to end")
    with Stream(there, "/t/ann", "&confirm=client", Last_Event_ID=ids[0]) as stream:
        assert [stream.next()["id"] for _ in range(2)] == ids[1:]


def test_a_stream_goes_on_when_its_broker_comes_back(start_cluster: StartCluster, folder: Path) -> None:
    settings = {"store": "sqlite", "data": str(folder)}
    cluster = start_cluster(brokers=1, fronts=1, broker_settings=settings)
    web = cluster.fronts[0].web
    web.subscribe("t", "ann")
    with Stream(cluster.fronts[0], "/t/ann", "&confirm=client") as stream:
        web.publish("t", b"1")
        assert stream.texts(1) == ["1"]
        cluster.kill_broker("b0")
        cluster.start_broker("b0", **settings)
        cluster.await_ready()
        web.publish("t", b"2")
        assert stream.texts(1) == ["2"]
        assert web.call("HEAD", "/t/ann").headers["Msg-Pending"] == "2"


def test_a_broker_that_has_forgotten_ends_the_stream(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    cluster.fronts[0].web.subscribe("t", "ann")
    with Stream(cluster.fronts[0], "/t/ann") as stream:
        cluster.kill_broker("b0")
        cluster.start_broker("b0")
        (end,) = stream
        assert (end["event"], end["code"]) == ("end", "no-subscription")


@pytest.mark.slow
def test_readers_that_read_nothing_cost_a_bounded_memory_and_end(start_cluster: StartCluster) -> None:
    """Others are not slowed down; the memory is what the budget allows, and one rendered answer."""
    limits = {"max_body": 8 * MIB}
    fronts = limits | {"buffer_memory": 64 * MIB, "write_timeout": 2}
    cluster = start_cluster(brokers=1, fronts=1, front_settings=fronts, broker_settings=limits)
    front = cluster.fronts[0]
    users = [f"u{n}" for n in range(40)]
    for user in (*users, "fast"):
        front.web.subscribe("t", user)
    for _ in range(3):
        assert front.web.publish("t", b"x" * (8 * MIB - 1)).status == 200
    before, slow = rss(front), []
    for user in users:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", front.port))
        sock.sendall(f"GET /t/{user}?stream=ndjson HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        slow.append(sock)
    most = [0]
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.02):
            most[0] = max(most[0], rss(front))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with Stream(front, "/t/fast", "&confirm=client") as stream:
            assert [len(stream.next()["text"]) for _ in range(3)] == [8 * MIB - 1] * 3
        wait_for(lambda: cluster.waiters() == 0 and slow_ended(front) == len(users), "the slow ones to end")
    finally:
        watching.set()
        thread.join()
        for sock in slow:
            sock.close()
    assert most[0] - before < 400 * MIB


def slow_ended(front: Front) -> int:
    events = [each for each in front.process.events() if each.get("stream_ended") == "slow"]
    return len(events)
