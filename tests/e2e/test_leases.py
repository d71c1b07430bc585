"""Several workers on one user name, over real HTTP."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Front
from tests.e2e.workers import KILLS, LEASE

MESSAGES = 10_000


def entries(folder: Path) -> list[list[Any]]:
    """Return what the workers wrote. The last line of one that was killed may be incomplete."""
    lines = [line for diary in folder.iterdir() for line in diary.read_text().splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def split(receipt: str) -> tuple[int, int]:
    """Return sequence number and attempt."""
    seq, _, attempt = receipt.rpartition("-")[2].partition(".")
    return int(seq), int(attempt)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_twenty_workers_that_are_killed_acknowledge_every_message_once(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    cluster = start_cluster(brokers=1, fronts=2)
    web = cluster.fronts[0].web
    web.subscribe("jobs", "team")
    for _ in range(MESSAGES // 1000):
        web.call("POST", "/jobs?batch=frames", b"".join(pack(">I", 4) + b"%04d" % n for n in range(1000)))
    workers = cluster.spawn(
        "workers", "tests.e2e.workers", str(cluster.fronts[1].port), "/jobs/team", str(tmp_path), "200"
    )
    assert workers.popen.wait(220) == 0, workers.about()
    assert workers.log().strip() == str(KILLS)

    status = web.call("HEAD", "/jobs/team").headers
    assert [status[name] for name in ("Msg-Pending", "Msg-Leased", "Msg-Dead")] == ["0", "0", "0"]
    assert cluster.held()["messages"] == 0
    handed: dict[int, dict[int, tuple[float, float]]] = defaultdict(dict)
    confirmed: Counter[int] = Counter()
    tried: Counter[int] = Counter()
    for kind, *fields in entries(tmp_path):
        if kind == "got":
            asked, got, receipts = fields
            for seq, attempt in map(split, receipts):
                assert attempt not in handed[seq], "one handing out is to one worker"
                handed[seq][attempt] = (asked, got)
        else:
            (confirmed if kind == "confirmed" else tried).update(seq for seq, _ in map(split, fields[0]))
    assert set(tried) == set(range(1, MESSAGES + 1)), "every message was dealt with"
    for seq in tried:
        # A killed worker may have acknowledged a message without reading the response; then it was not redelivered.
        assert confirmed[seq] == 1 or (confirmed[seq] == 0 and tried[seq] >= 1)
        times = handed[seq]
        for attempt in sorted(times)[1:]:
            if attempt - 1 in times:
                assert times[attempt][1] >= times[attempt - 1][0] + LEASE, "it was with one worker at a time"
    assert sum(confirmed.values()) > MESSAGES - 20 * KILLS
    assert sum(max(times) > 1 for times in handed.values()) > 0, "something was redelivered"


def test_a_message_goes_to_one_worker_and_comes_back_before_newer_ones(front: Front) -> None:
    web = front.web
    web.subscribe("lease", "ann")
    for body in (b"1", b"2", b"3"):
        web.publish("lease", body)
    first = web.call("GET", "/lease/ann?lease=1")
    assert (first.body, first.headers["Msg-Attempt"]) == (b"1", "1")
    assert first.headers["Msg-Receipt"] == first.headers["Msg-Id"] + ".1"
    second = web.call("GET", "/lease/ann?lease=30")
    assert second.body == b"2"
    assert web.call("GET", "/lease/ann?after=0").code == "leases-out"
    again = web.call("GET", "/lease/ann?lease=30&wait=10")
    while again.body == b"3":  # the first lease was still running
        again = web.call("GET", "/lease/ann?lease=30&wait=10")
    assert (again.body, again.headers["Msg-Attempt"]) == (b"1", "2")
    assert web.call("DELETE", f"/lease/ann/{first.headers['Msg-Receipt']}").code == "lease-lost"
    link = again.headers["Link"]
    assert link == f'</lease/ann/{again.headers["Msg-Receipt"]}>; rel="ack"'
    assert web.call("DELETE", link[1:].partition(">")[0]).status == 200
    assert web.call("DELETE", f"/lease/ann/{first.headers['Msg-Receipt']}").status == 200, "done, so every receipt is"


def test_giving_back_and_dead_letters(front: Front) -> None:
    web = front.web
    web.call("POST", "/dying/ann?max_deliveries=2")
    web.publish("dying", b"poison", {"Content-Type": "text/plain", "Meta-Kind": "k"})
    for attempt in ("1", "2"):
        found = web.call("GET", "/dying/ann?lease=30")
        assert found.headers["Msg-Attempt"] == attempt
        assert web.call("PATCH", f"/dying/ann/{found.headers['Msg-Receipt']}?lease=0").status == 200
    assert web.call("GET", "/dying/ann?lease=30").status == 204
    assert web.call("HEAD", "/dying/ann").headers["Msg-Dead"] == "1"
    listed = web.call("GET", "/dying/ann/dead")
    (letter,) = map(json.loads, listed.body.splitlines())
    assert (letter["id"], letter["attempt"], letter["text"]) == (found.headers["Msg-Id"], 2, "poison")
    assert (letter["type"], letter["meta"]) == ("text/plain", {"meta-kind": "k"})
    assert web.call("POST", "/dying/ann/dead").headers["Msg-Count"] == "1"
    back = web.take("dying", "ann")
    assert (back.body, back.headers["Msg-Attempt"], back.headers["Meta-Kind"]) == (b"poison", "1", "k")
    assert web.call("DELETE", "/dying/ann/dead").headers["Msg-Count"] == "0"


def test_acknowledging_many_says_of_each_what_came_of_it(front: Front) -> None:
    web = front.web
    web.subscribe("acking", "ann")
    for body in (b"1", b"2", b"3"):
        web.publish("acking", body)
    lines = web.call("GET", "/acking/ann?lease=30&max=10").body.splitlines()
    receipts = [json.loads(line)["receipt"] for line in lines]
    assert len(receipts) == 3
    foreign = "0badcafe1-1.1"
    results = web.call("POST", "/acking/ann/acks", "\n".join([*receipts, foreign]).encode())
    assert results.headers["Msg-Count"] == "3"
    assert [json.loads(line).get("code") for line in results.body.splitlines()] == [None, None, None, "lease-lost"]
    refused = web.call("POST", "/acking/ann/acks", b"nonsense\n")
    assert (refused.status, refused.code) == (400, "bad-batch")


def test_a_give_back_wakes_a_worker_that_waits(front: Front, start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    web = cluster.fronts[0].web
    web.subscribe("wake", "ann")
    web.publish("wake", b"x")
    receipt = web.call("GET", "/wake/ann?lease=3600").headers["Msg-Receipt"]
    web.call("PATCH", f"/wake/ann/{receipt}?lease=0&delay=0.2")
    found = web.call("GET", "/wake/ann?lease=30&wait=20")
    assert (found.body, found.headers["Msg-Attempt"]) == (b"x", "2")
