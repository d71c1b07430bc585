"""Streams over real HTTP."""

from __future__ import annotations

import http.client
import json
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Cluster, Front, wait_for
from tests.e2e.keys import bearer, write_keys
from tests.e2e.streams import Stream
from tests.support.table import table


def pending(client: Client, topic: str) -> int:
    return int(client.call("HEAD", f"/{topic}/ann").headers["Msg-Pending"])


def test_a_stream_has_what_is_there_and_what_comes(cluster: Cluster) -> None:
    here, there = cluster.fronts[0], cluster.fronts[1].web
    there.subscribe("flow", "ann")
    there.publish("flow", b"1")
    with Stream(here, "/flow/ann", "&confirm=client") as stream:
        assert stream.answer.headers["Content-Type"] == "application/x-ndjson"
        assert stream.texts(1) == ["1"]
        there.publish("flow", b"2")
        assert there.call("POST", "/flow?batch=lines", b"3\n4").status == 200
        assert stream.texts(3) == ["2", "3", "4"]
        assert pending(there, "flow") == 4, "nothing is done"


def test_what_the_client_confirms_is_done_and_the_rest_comes_again(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    web.subscribe("sure", "ann")
    for body in (b"1", b"2", b"3", b"4"):
        web.publish("sure", body)
    with Stream(cluster.fronts[0], "/sure/ann", "&confirm=client") as stream:
        seen = [stream.next() for _ in range(4)]
    assert web.call("PATCH", f"/sure/ann?after={seen[1]['id']}").status == 200
    with Stream(cluster.fronts[1], "/sure/ann", "&confirm=client") as stream:
        assert stream.texts(2) == ["3", "4"]
    with Stream(cluster.fronts[1], "/sure/ann", "&confirm=client", Last_Event_ID=seen[2]["id"]) as stream:
        assert stream.texts(1) == ["4"]


def test_a_cursor_is_confirmed_without_reading(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    web.subscribe("patched", "ann")
    web.publish("patched", b"1")
    last = web.publish("patched", b"2").headers["Msg-Id"]
    epoch = last.partition("-")[0]
    assert web.call("PATCH", "/patched/ann?after=0").status == 200
    assert pending(web, "patched") == 2
    answer = web.call("PATCH", f"/patched/ann?after={epoch}-3")
    assert (answer.status, answer.code) == (410, "cursor-lost")
    assert web.call("PATCH", f"/patched/ann?after={last}&expires_after=5").status == 400
    assert web.call("PATCH", f"/patched/bob?after={last}").status == 404
    assert web.call("GET", "/patched/ann?lease=30").status == 200
    assert web.call("PATCH", f"/patched/ann?after={last}").code == "leases-out"


def test_two_streams_of_one_mailbox_have_everything(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    web.subscribe("both", "ann")
    with Stream(cluster.fronts[0], "/both/ann") as one, Stream(cluster.fronts[1], "/both/ann") as other:
        web.publish("both", b"1")
        web.publish("both", b"2")
        assert one.texts(2) == other.texts(2) == ["1", "2"]


def test_a_message_is_done_when_it_was_delivered_long_enough_ago(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    for topic, confirm in (("timed", "1"), ("at-once", "0")):
        web.subscribe(topic, "ann")
        web.publish(topic, b"1")
        with Stream(cluster.fronts[0], f"/{topic}/ann", f"&confirm={confirm}") as stream:
            assert stream.texts(1) == ["1"]
            wait_for(lambda topic=topic: pending(web, topic) == 0)


def test_a_loss_is_announced(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    web.subscribe("gaps", "ann")
    ids = [web.publish("gaps", b"%d" % n).headers["Msg-Id"] for n in range(5)]
    assert web.call("PATCH", f"/gaps/ann?after={ids[3]}").status == 200
    with Stream(cluster.fronts[0], "/gaps/ann", Last_Event_ID=ids[0]) as stream:
        assert stream.next() == {"event": "gap", "from": ids[1], "position": ids[4]}
        assert stream.texts(1) == ["4"]


def test_an_id_of_another_life_is_reset_in_a_header_and_lost_in_a_parameter(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    web.subscribe("lives", "ann")
    first = web.publish("lives", b"1").headers["Msg-Id"]
    with Stream(cluster.fronts[0], "/lives/ann", Last_Event_ID="beef-9") as stream:
        assert stream.next() == {"event": "reset", "code": "cursor-lost", "oldest": first}
        assert stream.texts(1) == ["1"]
    with Stream(cluster.fronts[0], "/lives/ann", "&after=beef-9") as stream:
        assert stream.status == 410


def test_a_stream_ends_with_its_subscription_and_by_a_lease(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    web.subscribe("ends", "ann")
    with Stream(cluster.fronts[0], "/ends/ann") as stream:
        web.unsubscribe("ends", "ann")
        (end,) = stream
        assert (end["event"], end["code"]) == ("end", "no-subscription")
    web.subscribe("ends", "ann")
    web.publish("ends", b"1")
    with Stream(cluster.fronts[0], "/ends/ann") as stream:
        assert stream.texts(1) == ["1"]
        assert web.call("GET", "/ends/ann?lease=30").status == 200
        (end,) = stream
        assert (end["event"], end["code"]) == ("error", "leases-out")
    with Stream(cluster.fronts[0], "/ends/ann") as stream:
        assert stream.status == 409


def test_a_topic_that_ends_and_begins_again_is_another_one(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    web.subscribe("again", "ann")
    first = web.publish("again", b"1").headers["Msg-Id"]
    with Stream(cluster.fronts[1], "/again/ann", "&confirm=client") as stream:
        assert stream.texts(1) == ["1"]
        web.unsubscribe("again", "ann")
        web.subscribe("again", "ann")
        second = web.publish("again", b"2").headers["Msg-Id"]
        (end,) = stream
        assert (end["event"], end["code"]) == ("end", "no-subscription")
    assert first.split("-")[0] != second.split("-")[0]
    for last in (first, first[:-1] + "0"):
        with Stream(cluster.fronts[1], "/again/ann", "&confirm=client", Last_Event_ID=last) as stream:
            assert stream.next() == {"event": "reset", "code": "cursor-lost", "oldest": second}
            assert stream.texts(1) == ["2"]


def test_a_key_that_is_removed_ends_its_stream_before_the_next_message(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    pair = '{rights = ["publish"], topic = "*"}, {rights = ["subscribe", "consume"], topic = "*", user = "*"}'
    rule = f"allow = [{pair}]"
    keys = write_keys(tmp_path / "keys.toml", {"stays": rule, "goes": rule})
    cluster = start_cluster(brokers=1, fronts=1, front_settings={"api_keys_file": keys})
    front, web = cluster.fronts[0], cluster.fronts[0].web
    assert web.call("POST", "/t/ann", headers=bearer("stays")).status == 200
    with Stream(front, "/t/ann", **bearer("goes")) as ended, Stream(front, "/t/ann", **bearer("stays")) as other:
        write_keys(keys, {"stays": rule})
        front.process.signal(signal.SIGHUP)
        wait_for(lambda: web.call("GET", "/", headers=bearer("goes")).status == 401, "the key to be gone")
        assert web.publish("t", b"1", bearer("stays")).status == 200
        assert [(each["event"], each["code"]) for each in ended] == [("end", "unauthorized")]
        assert other.texts(1) == ["1"]


def test_a_client_that_leaves_is_noticed(cluster: Cluster) -> None:
    cluster.fronts[0].web.subscribe("left", "ann")
    with Stream(cluster.fronts[0], "/left/ann"):
        wait_for(lambda: cluster.waiters() > 0)
    wait_for(lambda: cluster.waiters() == 0)


def events(front: Front, path: str) -> http.client.HTTPResponse:
    return front.client().open(path, {"Accept": "text/event-stream"})


def test_events_have_an_id_and_the_object_of_ndjson(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    web.subscribe("sse", "ann")
    sent = web.publish("sse", b"a\nb", {"Meta-Kind": "x\xff"}).headers["Msg-Id"]
    with events(cluster.fronts[0], "/sse/ann") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        retry = answer.readline()
        assert 1000 <= int(retry.removeprefix(b"retry: ")) <= 5000
        before = b"id: %b0\n" % sent.removesuffix("1").encode()
        start = [b"\n", before, b"\n", b":\n", b"\n", b"id: %b\n" % sent.encode()]
        assert [answer.readline() for _ in start] == start
        shown = json.loads(answer.readline().removeprefix(b"data: "))
        assert (shown["id"], shown["text"], shown["meta"]) == (sent, "a\nb", {"meta-kind": "x\xff"})
    with events(cluster.fronts[0], "/sse/ann?data=text") as answer:
        assert [answer.readline() for _ in range(9)][6:] == [b"id: %b\n" % sent.encode(), b"data: a\n", b"data: b\n"]


def test_a_client_that_has_read_nothing_is_told_of_a_loss_too(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    web.subscribe("unread", "ann")
    with events(cluster.fronts[0], "/unread/ann") as answer:
        (start,) = (line for line in (answer.readline() for _ in range(3)) if line.startswith(b"id: "))
    sent = web.publish("unread", b"1").headers["Msg-Id"]
    assert web.call("PATCH", f"/unread/ann?after={sent}").status == 200
    with Stream(cluster.fronts[0], "/unread/ann", Last_Event_ID=start[4:-1].decode()) as stream:
        assert stream.next() == {"event": "gap", "from": sent, "position": sent[:-1] + "2"}


@table("confirm", ["-1", "1e3", "3601", "never", ""])
def test_a_malformed_confirm_is_refused(front: Front, confirm: str) -> None:
    answer = front.web.call("GET", f"/t/u?stream=sse&confirm={confirm}")
    assert (answer.status, answer.code) == (400, "bad-parameter")


@pytest.mark.slow
def test_a_silent_stream_stays_open(cluster: Cluster) -> None:
    """Through a proxy for longer than its timeouts."""
    cluster.fronts[0].web.subscribe("silence", "ann")
    with Stream(cluster.fronts[0], "/silence/ann") as stream:
        until = time.monotonic() + (10 if type(cluster.fronts[0]) is Front else 50)
        while time.monotonic() < until:
            assert stream.answer.readline() == b"\n"
        cluster.fronts[0].client().publish("silence", b"1")  # the other connection was idle for too long
        assert stream.texts(1) == ["1"]
