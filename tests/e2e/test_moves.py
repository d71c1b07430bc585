"""Slots move between running brokers: nothing is lost, ids stay valid, and clients see no error."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest

from common.cluster.description import describe_local, load_cluster
from common.cluster.slots import slot_of
from tests.conftest import StartCluster
from tests.e2e.checker import violations
from tests.e2e.cluster import Client, Cluster, Process, wait_for
from tests.e2e.load import Load
from tests.e2e.moves import add_broker, as_json, rebalance, slots_of, tool, view_of
from tests.e2e.streams import Stream

MODES = {"ann": "plain", "bob": "many", "cat": "after", "eve": "lease"}
FINE = {"200", "204"}


@pytest.fixture
def two(start_cluster: StartCluster) -> Cluster:
    return start_cluster(brokers=2, fronts=1, durable=True)


def test_a_new_broker_gets_topics_that_are_in_use_and_nobody_sees_an_error(two: Cluster) -> None:
    topics = [two.topic(broker, "grow") for broker in ("b0", "b1")]
    load = Load([two.fronts[0].port], topics, tuple(MODES), False, MODES, ("single", "keyed-batch"), pace_s=0.02)
    add_broker(two, 3, epoch=2)
    assert view_of(two).owners.count("b2") == 0
    with load:
        load.await_more(3)
        told = as_json(rebalance(two, "run", "--slots", slots_of(*topics), "--to", "b2", "--json"))
        load.await_more(3)
        rebalance(two, "run", "--slots", slots_of(topics[0]), "--to", "b0")
        load.await_more(3)
    assert (told["moved"], told["failed"]) == (2, [])
    assert violations(load.history, topics) == []
    assert load.others(topics, FINE) == []
    view = view_of(two)
    assert [view.owners[slot_of(topic.encode())] for topic in topics] == ["b0", "b2"]
    assert [view.epochs[slot_of(topic.encode())] for topic in topics] == [3, 2]
    described = load_cluster(two.description)
    assert (described.table, described.explicit) == (tuple(view.table), True)


def test_ids_and_cursors_are_those_of_before(two: Cluster) -> None:
    web, topic = two.fronts[0].web, two.topic("b0", "ids")
    web.subscribe(topic, "ann")
    first, second = (web.publish(topic, body).headers["Msg-Id"] for body in (b"1", b"2"))
    lease = web.call("GET", f"/{topic}/ann?lease=30").headers["Msg-Receipt"]
    rebalance(two, "run", "--slots", slots_of(topic), "--to", "b1")
    assert web.call("DELETE", f"/{topic}/ann/{lease}").status == 200
    assert web.call("GET", f"/{topic}/ann?after={first}").headers["Msg-Id"] == second
    third = web.publish(topic, b"3").headers["Msg-Id"]
    assert third.rpartition("-")[0] == first.rpartition("-")[0]
    two.kill_broker("b1")
    two.await_ready()
    assert web.call("GET", f"/{topic}/ann?after={second}").body == b"3"


def test_a_long_poll_and_a_stream_outlive_a_move(two: Cluster) -> None:
    front, topic = two.fronts[0], two.topic("b0", "poll")
    for user in ("ann", "bob"):
        front.web.subscribe(topic, user)
    answers: list[bytes] = []
    poll = threading.Thread(target=lambda: answers.append(front.client().call("GET", f"/{topic}/ann?wait=25").body))
    with Stream(front, f"/{topic}/bob", "&confirm=client") as stream:
        poll.start()
        wait_for(lambda: two.stats("b0")["waiters"] == 2, "both to wait")
        rebalance(two, "run", "--slots", slots_of(topic), "--to", "b1")
        wait_for(lambda: two.stats("b1")["waiters"] == 2, "both to wait at the new owner")
        front.web.publish(topic, b"there")
        assert stream.texts(1) == ["there"]
        poll.join(20)
    assert answers == [b"there"]


def test_plan_pause_status_and_the_operations_port(two: Cluster) -> None:
    topic = two.topic("b0", "plan")
    web = two.fronts[0].web
    web.subscribe(topic, "ann")
    web.publish(topic, b"x" * 1000)
    plan = as_json(rebalance(two, "plan", "--drain", "b0", "--json"))
    assert plan["slots"] == plan["moves"][0]["count"] == two.map.owners.count("b0")
    assert (plan["moves"][0]["topics"], plan["moves"][0]["messages"]) == (1, 1)
    assert "nothing to move" in rebalance(two, "plan")
    rebalance(two, "pause")
    ops = Client(two.fronts[0].ops_port)
    slot = slot_of(topic.encode())
    refused = ops.call("PUT", f"/-/v1/slots/{slot}/move?to=b1")
    assert (refused.status, refused.code) == (409, "move-refused")
    assert [each["paused"] for each in as_json(rebalance(two, "status", "--json"))["brokers"]] == [True, True]
    rebalance(two, "resume")
    assert ops.call("PUT", f"/-/v1/slots/{slot}/move?to=b1").status == 200
    wait_for(lambda: json.loads(ops.call("GET", f"/-/v1/slots/{slot}/move").body)["owner"] == "b1", "the move")
    assert web.drain(topic, "ann") == [b"x" * 1000]
    assert "no moves are under way" in rebalance(two, "abort")
    assert "is not in the cluster description" in rebalance(two, "run", "--add", "b9", code=2)
    ops.close()


def test_brokers_in_memory_say_in_one_line_that_slots_do_not_move(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1)
    told = rebalance(cluster, "run", "--slots", "7", "--to", "b0", code=2)
    assert told.count("\n") == 1
    assert "keeps its messages in memory" in told
    assert [each["status"] for each in as_json(rebalance(cluster, "status", "--json"))["brokers"]] == ["memory"] * 2


def wrong_files(cluster: Cluster) -> dict[str, str]:
    """Return descriptions that must not replace that of a running cluster, whose epoch is 3."""
    right = describe_local(2, cluster.run_dir, epoch=4)
    table = '\n[cluster.slots]\nb0 = "{}"\nb1 = "{}"\n'.format
    return {
        "an older epoch": describe_local(2, cluster.run_dir, epoch=2),
        "a broker with slots is missing": describe_local(1, cluster.run_dir, epoch=4),
        "another cluster": right.replace('name = "fanmail"', 'name = "other"'),
        "slots twice": right + table("0-1023", "7"),
        "a gap": right + table("0-1000", "1002-1023"),
        "a slot that is none": right + table("0-1023", "1024"),
        "an owner that is none": right + '\n[cluster.slots]\nb9 = "0-1023"\n',
        "no brokers": "[cluster]\nepoch = 4\n",
        "not TOML": "[cluster",
        "a broker twice": right + right[right.index("[[brokers]]") :],
        "nothing": "",
    }


def test_no_file_makes_a_running_cluster_lose_or_orphan_a_topic(two: Cluster, tmp_path: Path) -> None:
    web, topics = two.fronts[0].web, [two.topic(broker, "file") for broker in ("b0", "b1")]
    for topic in topics:
        web.subscribe(topic, "ann")
    two.description.write_text(describe_local(2, two.run_dir, epoch=3))
    told, sent = (two.fronts[0].process, two.brokers["b1"]), 0
    for each in told:
        wait_for(lambda each=each: [line for line in each.events() if line.get("epoch") == 3], each.name)
    for name, text in wrong_files(two).items():
        before = [len(refusals(each)) for each in told]
        fresh = tmp_path / "fresh"
        fresh.write_text(text)
        fresh.replace(two.description)
        for broker in two.brokers.values():
            broker.signal(signal.SIGHUP)
        for each, lines in zip(told, before, strict=True):
            wait_for(lambda each=each, lines=lines: len(refusals(each)) > lines, f"a line of {each.name} about {name}")
        for topic in topics:
            assert web.publish(topic, b"%d" % sent).status == 200, name
        sent += 1
    two.description.write_text(describe_local(2, two.run_dir, epoch=5))
    for broker in ("b0", "b1"):
        two.kill_broker(broker)
    two.await_ready()
    for topic in topics:
        assert web.drain(topic, "ann") == [b"%d" % n for n in range(sent)]


def refusals(process: Process) -> list[object]:
    """Return the lines of a process about descriptions that it does not take."""
    wanted = re.compile("the (newer )?cluster description (is refused|cannot be used)")
    return [each for each in process.events() if wanted.fullmatch(each["event"])]


def test_a_table_that_gives_all_slots_to_one_broker_is_only_a_hint(two: Cluster) -> None:
    """The stores own what they own, whatever a newer description says."""
    web, topics = two.fronts[0].web, [two.topic(broker, "hint") for broker in ("b0", "b1")]
    for topic in topics:
        web.subscribe(topic, "ann")
    lies = describe_local(2, two.run_dir, epoch=9) + '\n[cluster.slots]\nb0 = ""\nb1 = "0-1023"\n'
    two.description.write_text(lies)
    wait_for(
        lambda: [each for each in two.fronts[0].process.events() if each.get("epoch") == 9], "the front to take it"
    )
    for broker in ("b0", "b1"):
        two.kill_broker(broker)
    two.await_ready()
    for topic in topics:
        assert web.publish(topic, b"x").status == 200
        assert web.drain(topic, "ann") == [b"x"]
    view = view_of(two)
    assert view.owners == list(two.map.owners)
    assert f"epoch 9, differs in {view.owners.count('b0')} slots" in rebalance(two, "status")
    assert "epoch 10\n" in rebalance(two, "status", "--write")
    assert load_cluster(two.description).table == tuple(view.table)


def test_the_slots_of_a_broker_that_is_lost_for_ever_begin_anew(two: Cluster) -> None:
    web, (kept, lost) = two.fronts[0].web, [two.topic(broker, "lost") for broker in ("b0", "b1")]
    for topic in (kept, lost):
        web.subscribe(topic, "ann")
        web.publish(topic, b"x")
    assert "b1 answers" in rebalance(two, "abandon", "b1", "--yes", code=2)
    two.brokers["b1"].kill()
    assert "no broker that answers owns slots" in rebalance(two, "status", code=1)
    assert "would be given up" in rebalance(two, "abandon", "b1", code=2)
    rebalance(two, "abandon", "b1", "--yes")
    wait_for(lambda: web.take(lost, "ann").status == 404, "the front to ask the new owner")
    assert web.subscribe(lost, "ann").status == 200
    assert web.drain(kept, "ann") == [b"x"]
    assert set(load_cluster(two.description).owners) == {"b0"}


def test_what_a_restored_store_keeps_of_slots_that_are_elsewhere_is_dropped(two: Cluster, tmp_path: Path) -> None:
    web, topic = two.fronts[0].web, two.topic("b0", "kept")
    web.subscribe(topic, "ann")
    web.publish(topic, b"old")
    tool("backup", tmp_path / "copy", f"--run-dir={two.run_dir}")
    slot = slots_of(topic)
    rebalance(two, "run", "--slots", slot, "--to", "b1")
    assert web.take(topic, "ann").body == b"old"
    two.brokers["b0"].terminate()
    tool("restore", tmp_path / "copy", tmp_path / "data")
    shutil.rmtree(two.data / "b0")
    shutil.copytree(tmp_path / "data" / "b0", two.data / "b0")
    two.start_broker("b0")
    two.await_ready()
    assert f"b0 keeps topics of slots {slot}, which are elsewhere (drop b0)" in rebalance(two, "status")
    assert "bin/rebalance drop" in rebalance(two, "run", "--slots", slot, "--to", "b0", code=1)
    assert f"what broker b0 has of slots {slot} would be deleted: --yes" in rebalance(two, "drop", "b0", code=2)
    assert f"broker b0 keeps nothing of slots {int(slot) - 1}" in rebalance(
        two, "drop", "b0", "--yes", f"--slots={int(slot) - 1}", code=2
    )
    assert f"slots {slot}" in rebalance(two, "drop", "b0", "--yes")
    assert "keeps nothing" in rebalance(two, "drop", "b0", "--yes")
    web.publish(topic, b"new")
    rebalance(two, "run", "--slots", slot, "--to", "b0")
    assert web.drain(topic, "ann") == [b"new"]
