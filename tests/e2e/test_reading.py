"""Reading by cursor, long polls and batches, over real HTTP."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from struct import pack, unpack_from

from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Cluster, Front, wait_for
from tests.support.table import table

FRAMES = {"Accept": "application/vnd.fanmail.frames"}


def after(client: Client, topic: str, cursor: str, more: str = "") -> tuple[int, str, bytes]:
    answer = client.call("GET", f"/{topic}/ann?after={cursor}{more}")
    return answer.status, answer.headers.get("Msg-Id", ""), answer.body


def test_a_cursor_loses_nothing_when_answers_are_lost(cluster: Cluster) -> None:
    rng = random.Random(3)
    client = cluster.fronts[0].web
    client.subscribe("cursor", "ann")
    sent = [b"%d" % n for n in range(200)]
    for body in sent:
        client.publish("cursor", body)
    got: list[bytes] = []
    cursor = "0"
    while True:
        status, found, body = after(rng.choice(cluster.fronts).web, "cursor", cursor)
        if status == 204:
            break
        if rng.random() < 0.5:
            continue  # this response was lost: use the same URL again
        got.append(body)
        cursor = found
    assert got == sent
    assert after(client, "cursor", "0")[0] == 204


def test_cursors_that_are_old_foreign_or_too_high(front: Front) -> None:
    web = front.web
    web.subscribe("odd", "ann")
    ids = [web.publish("odd", body).headers["Msg-Id"] for body in (b"1", b"2", b"3")]
    assert after(web, "odd", ids[1]) == (200, ids[2], b"3")
    assert after(web, "odd", ids[0]) == (200, ids[2], b"3"), "older than what is done"
    for lost in ("0badcafe1-1", ids[2].replace("-3", "-4")):
        answer = web.call("GET", f"/odd/ann?after={lost}")
        assert (answer.status, answer.code) == (410, "cursor-lost")
        assert json.loads(answer.body)["oldest"] == ids[2]
    same = web.call("GET", "/odd/ann", headers={"Last-Event-ID": ids[1]})
    assert same.body == b"3"
    assert web.call("GET", f"/odd/ann?after={ids[0]}", headers={"Last-Event-ID": ids[1]}).status == 400
    assert web.call("GET", "/odd/ann", headers={"Last-Event-ID": "nonsense"}).code == "bad-parameter"


def test_head_says_how_a_subscription_status_and_takes_nothing(front: Front) -> None:
    web = front.web
    assert web.call("HEAD", "/stand/ann").status == 404
    web.subscribe("stand", "ann")
    empty = web.call("HEAD", "/stand/ann")
    assert (empty.status, empty.headers["Msg-Pending"], empty.headers.get("Msg-Id")) == (200, "0", None)
    first = web.publish("stand", b"x").headers["Msg-Id"]
    web.publish("stand", b"y")
    status = web.call("HEAD", "/stand/ann")
    assert (status.headers["Msg-Pending"], status.headers["Msg-Id"], status.body) == ("2", first, b"")
    assert web.drain("stand", "ann") == [b"x", b"y"]


def test_a_publish_through_one_front_answers_a_wait_at_another(cluster: Cluster) -> None:
    near, far = cluster.fronts
    near.web.subscribe("poll", "ann")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(far.client().call, "GET", "/poll/ann?wait=20")
        wait_for(lambda: cluster.waiters() == 1, "the wait to be parked")
        near.web.publish("poll", b"news")
        found = answer.result(20)
    assert (found.status, found.body) == (200, b"news")
    assert found.headers["Preference-Applied"] == "wait=20"
    assert cluster.waiters() == 0


def test_waits_end_with_204_at_their_deadline_and_404_with_the_subscription(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    web.subscribe("deadline", "ann")
    ended = web.call("GET", "/deadline/ann", headers={"Prefer": "wait=0.2"})
    assert (ended.status, ended.headers["Preference-Applied"]) == (204, "wait=0.2")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(cluster.fronts[1].client().call, "GET", "/deadline/ann?wait=20&after=0")
        wait_for(lambda: cluster.waiters() == 1, "the wait to be parked")
        web.unsubscribe("deadline", "ann")
        assert answer.result(20).status == 404


def test_waiters_of_one_user_are_served_in_order_of_arrival(cluster: Cluster) -> None:
    front = cluster.fronts[0]
    front.web.subscribe("queue", "ann")
    with ThreadPoolExecutor(20) as pool:
        answers = []
        for n in range(20):
            answers.append(pool.submit(cluster.fronts[n % 2].client().call, "GET", "/queue/ann?wait=30"))
            wait_for(lambda n=n: cluster.waiters() == n + 1, "the wait to be parked")
        for n in range(20):
            front.web.publish("queue", b"%d" % n)
            wait_for(lambda n=n: answers[n].done(), "the longest waiting to be served")
        assert [answer.result().body for answer in answers] == [b"%d" % n for n in range(20)]


def test_clients_that_vanish_while_waiting_take_nothing(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    front = cluster.fronts[0]
    front.web.subscribe("gone", "ann")
    rng = random.Random(11)
    lasting = front.client()
    for n in range(50):
        vanishing = front.client()
        thread = threading.Thread(target=_call_quietly, args=(vanishing, "/gone/ann?wait=20"))
        thread.start()
        wait_for(lambda: cluster.waiters() >= 1, "the wait to be parked")
        if rng.random() < 0.7:
            vanishing.abort()
        front.web.publish("gone", b"%d" % n)
        thread.join(20)
        if vanishing.vanished:
            assert lasting.call("GET", "/gone/ann?wait=20").body == b"%d" % n, "the message was not lost"
    assert front.web.take("gone", "ann").status == 204


def _call_quietly(client: Client, path: str) -> None:
    try:
        client.call("GET", path)
    except Exception:
        client.vanished = True


def test_a_front_that_is_full_of_waiters_answers_at_once(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, front_settings={"max_waiters": 1})
    front = cluster.fronts[0]
    front.web.subscribe("full", "ann")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(front.client().call, "GET", "/full/ann?wait=20")
        wait_for(lambda: cluster.waiters() == 1, "the wait to be parked")
        second = front.web.call("GET", "/full/ann?wait=20")
        assert (second.status, second.headers["Retry-After"]) == (204, "1")
        assert "Preference-Applied" not in second.headers
        front.process.popen.terminate()
        drained = first.result(20)
        assert (drained.status, drained.headers["Connection"]) == (204, "close")


@table(("form", "sent"), [("lines", b"a\nbb\n"), ("frames", b"\0\0\0\1a\0\0\0\2bb")])
def test_a_batch_comes_back_as_frames_and_as_json(front: Front, form: str, sent: bytes) -> None:
    web, topic = front.web, f"batch-{form}"
    for user in ("ann", "bob"):
        web.subscribe(topic, user)
    headers = {"Content-Type": "text/plain", "Meta-Kind": "k"}
    published = web.call("POST", f"/{topic}?batch={form}", sent, headers)
    assert (published.headers["Msg-Count"], published.headers["Msg-Subscribers"]) == ("2", "2")
    epoch = published.headers["Msg-Id"].rpartition("-")[0]
    assert published.headers["Msg-Id"] == f"{epoch}-1"
    web.publish(topic, b"\xff")

    found = web.call("GET", f"/{topic}/ann?max=100", headers=FRAMES)
    assert found.body == b"\0\0\0\1a\0\0\0\2bb"
    assert found.headers["Content-Type"] == FRAMES["Accept"]
    shown = ("Msg-Count", "Msg-First-Id", "Msg-Id", "Msg-Pending", "Msg-Type", "Meta-Kind")
    assert [found.headers[name] for name in shown] == ["2", f"{epoch}-1", f"{epoch}-2", "1", "text/plain", "k"]

    found = web.call("GET", f"/{topic}/bob?max=100&after=0&wait=5")
    objects = [json.loads(line) for line in found.body.splitlines()]
    assert [each["id"] for each in objects] == [f"{epoch}-{n}" for n in (1, 2, 3)]
    assert [each.get("text", each.get("base64")) for each in objects] == ["a", "bb", "/w=="]
    assert web.call("GET", f"/{topic}/bob?max=100&after={epoch}-3").status == 204


def test_a_large_batch_is_cut_at_the_ceilings_of_a_fetch(front: Front) -> None:
    web = front.web
    web.subscribe("large", "ann")
    body = b"".join(pack(">I", 1000) + b"%04d" % n * 250 for n in range(5000))
    assert web.call("POST", "/large?batch=frames", body).headers["Msg-Count"] == "5000"
    got = []
    while (found := web.call("GET", "/large/ann?max=100000", headers=FRAMES)).status == 200:
        assert found.headers["Msg-Count"] == "1000"
        at = 0
        while at < len(found.body):
            size = unpack_from(">I", found.body, at)[0]
            got.append(int(found.body[at + 4 : at + 8]))
            at += 4 + size
    assert got == list(range(5000))


@table(
    ("query", "body", "status", "code"),
    [
        ("batch=frames", b"\0\0\0\5x", 400, "bad-batch"),
        ("batch=frames", b"", 400, "bad-batch"),
        ("batch=lines", b"\n" * 10_001, 400, "bad-batch"),
        ("batch=xml", b"x", 400, "bad-parameter"),
        ("batch=frames", b"\xff\xff\xff\xff", 413, "body-too-large"),
    ],
)
def test_a_batch_that_is_wrong_stores_nothing(front: Front, query: str, body: bytes, status: int, code: str) -> None:
    web = front.web
    web.subscribe("wrong", "ann")
    answer = web.call("POST", f"/wrong?{query}", body)
    assert (answer.status, answer.code) == (status, code)
    assert web.take("wrong", "ann").status == 204


def test_a_body_over_the_ceiling_of_a_batch_is_413_before_it_is_read(front: Front) -> None:
    assert front.client().call("POST", "/t?batch=lines", b"x" * (8 * 1024 * 1024 + 1)).status == 413
    assert front.client().call("POST", "/t", b"x" * (1024 * 1024 + 1)).status == 413


@table("query", ["max=0", "max=-1", "max=x", "wait=-1", "wait=1e3", "wait=", "after=", "after=1"])
def test_parameters_of_reading_are_checked_before_anything_is_taken(front: Front, query: str) -> None:
    web = front.web
    web.subscribe("checked", "ann")
    web.publish("checked", b"x")
    answer = web.call("GET", f"/checked/ann?{query}")
    assert (answer.status, answer.code) == (400, "bad-parameter")
    assert web.call("GET", "/checked/ann?max=1", headers={"Accept": "text/html"}).status == 406
    assert web.drain("checked", "ann") == [b"x"]
