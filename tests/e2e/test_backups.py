"""`bin/backup` of brokers under load, `bin/restore` into a new directory, and `bin/inspect`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import StartCluster
from tests.e2e.checker import seq_of, violations
from tests.e2e.cluster import PATIENCE, ROOT, Client, clean_environ, wait_for
from tests.e2e.history import Call, History, Mode, Outcome
from tests.e2e.load import Load

pytestmark = pytest.mark.slow

MODES = {"ann": "plain", "bob": "after", "cat": "lease-many"}
BACKLOG = 2000
"""Messages for a user who reads nothing before the copy, so that the copy takes some time."""


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    argv = [str(ROOT / "bin" / script), *map(str, arguments)]
    environ = clean_environ()
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)


class Kept(NamedTuple):
    """Bodies of one user's messages: those that a copy must have, and those that it may have."""

    must: set[bytes]
    may: set[bytes]


def expected(history: History, topic: str, user: str, began: float, ended: float) -> Kept:
    """Return the contents of a copy made between two moments: what was done before, but nothing that began later."""
    takes, acks = (
        [each for each in calls if (each.topic, each.user) == (topic, user)] for calls in (history.takes, history.acks)
    )
    ids = {take.msg_id: take.body for take in takes if take.body is not None}
    finished: list[tuple[Call, set[bytes]]] = []
    for take in takes:
        if take.mode is Mode.PLAIN and take.body is not None:
            finished.append((take, {take.body}))
        elif take.mode is Mode.AFTER and "-" in take.cursor:
            done = seq_of(take.cursor)
            finished.append((take, {body for msg_id, body in ids.items() if seq_of(msg_id) <= done}))
    finished += [(ack, {ids[each] for each in ack.confirmed}) for ack in acks]
    published = [each for each in history.publishes if each.topic == topic]
    before = {body for each in published if each.outcome is Outcome.OK and each.done < began for body in each.bodies}
    until = {body for each in published if each.invoked < ended for body in each.bodies}
    gone = set().union(*(bodies for call, bodies in finished if call.done < began))
    maybe_gone = set().union(*(bodies for call, bodies in finished if call.invoked < ended))
    return Kept(before - maybe_gone, until - gone)


def read_everything(web: Client, topic: str, user: str) -> list[tuple[int, bytes]]:
    """Return places in the log and bodies, including those of leased messages."""
    found, wait = [], 0
    while True:
        answer = web.call("GET", f"/{topic}/{user}?wait={wait}")
        if answer.status == 200:
            found.append((seq_of(answer.headers["Msg-Id"]), answer.body))
            continue
        assert answer.status == 204
        wait = int(web.call("HEAD", f"/{topic}/{user}").headers["Msg-Leased"]) and 5
        if not wait:
            return found


@pytest.mark.slow
def test_a_copy_of_running_brokers_is_one_moment_of_each(start_cluster: StartCluster, folder: Path) -> None:
    cluster = start_cluster(brokers=2, fronts=1, durable=True)
    web = cluster.fronts[0].web
    topics = [cluster.topic(broker.id, "copied") for broker in cluster.map.brokers]
    for topic in topics:
        web.subscribe(topic, "sloth")
        for _ in range(10):
            web.call("POST", f"/{topic}?batch=lines", b"\n".join([b"old" + bytes(4000)] * (BACKLOG // 10)))
    ports = [front.port for front in cluster.fronts]
    with Load(ports, topics, tuple(MODES), modes=MODES, publishers=("single", "keyed-batch")) as load:
        load.await_more(20)
        began = time.monotonic()
        done = run("backup", folder / "copy", f"--run-dir={cluster.run_dir}")
        ended = time.monotonic()
        assert done.returncode == 0, done
        load.await_more(20)
    assert violations(load.history, topics) == []
    assert not list(cluster.data.glob("*/backup-*")), "nothing is left beside the stores"
    assert (
        "a copy, or a part of one, exists already"
        in run("backup", folder / "copy", f"--run-dir={cluster.run_dir}").stderr
    )

    restored = run("restore", folder / "copy", folder / "data")
    assert restored.returncode == 0, restored
    looked = run("inspect", folder / "data", "--json")
    assert looked.returncode == 0, looked
    found = [json.loads(line) for line in looked.stdout.splitlines()]
    assert [each["broker"] for each in found] == ["b0", "b1"]
    assert all(each["whole"] and each["messages"] >= BACKLOG for each in found)
    again = start_cluster(brokers=2, fronts=1, broker_settings={"store": "sqlite", "data": folder / "data"})
    for topic in topics:
        for user, mode in MODES.items():
            kept = expected(load.history, topic, user, began, ended)
            read = read_everything(again.fronts[0].web, topic, user)
            bodies = [body for _, body in read]
            assert kept.must <= set(bodies) <= kept.may
            assert len(set(bodies)) == len(bodies)
            if mode != "lease-many":
                assert [seq for seq, _ in read] == list(range(read[0][0], read[0][0] + len(read))) if read else True
    for topic in topics:
        drained = 0
        while (answer := again.fronts[0].web.call("GET", f"/{topic}/sloth?max=1000")).status == 200:
            drained += answer.body.count(b'"old')
        assert drained == BACKLOG
    assert again.held()["messages"] == 0


def test_a_copy_is_refused_where_there_is_something(start_cluster: StartCluster, folder: Path) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    assert run("backup", folder / "copy", f"--run-dir={cluster.run_dir}").returncode == 0
    assert run("restore", folder / "copy", folder / "data").returncode == 0
    before = (folder / "data" / "b0" / "store.db").read_bytes()
    for arguments, words in (
        (("restore", folder / "copy", folder / "data"), "a store exists already"),
        (("restore", folder / "nothing", folder / "other"), "no copy of a store"),
        (("inspect", folder / "nothing"), "no store (store.db) in it"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert (folder / "data" / "b0" / "store.db").read_bytes() == before
    copy = folder / "copy" / "b0" / "store.db"
    copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
    damaged = run("restore", folder / "copy", folder / "third")
    assert (damaged.returncode, (folder / "third").exists()) == (2, False)


def test_a_copy_whose_backup_was_killed_is_removed(start_cluster: StartCluster, folder: Path) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    web = cluster.fronts[0].web
    web.subscribe("t", "ann")
    for _ in range(10):
        web.call("POST", "/t?batch=lines", b"\n".join([bytes(4000)] * (BACKLOG // 10)))
    argv = [sys.executable, "-m", "broker.tools.backup", str(folder / "copy"), f"--run-dir={cluster.run_dir}"]
    for number in (signal.SIGKILL, signal.SIGINT):
        with subprocess.Popen(argv, cwd=ROOT, env=clean_environ(), stderr=subprocess.PIPE, text=True) as killed:
            wait_for(lambda: list(cluster.data.glob("b0/backup-*")), "the copy to be begun")
            killed.send_signal(number)
            _, said = killed.communicate(timeout=PATIENCE)
        if number == signal.SIGINT:
            assert (killed.returncode, said.splitlines()[-1]) == (130, "backup: interrupted")
        wait_for(lambda: not list(cluster.data.glob("b0/backup-*")), "the copy to be removed")
    assert run("backup", folder / "copy", f"--run-dir={cluster.run_dir}").returncode == 0


def test_a_memory_broker_has_nothing_to_copy(start_cluster: StartCluster, folder: Path) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    done = run("backup", folder / "copy", f"--run-dir={cluster.run_dir}")
    assert done.returncode == 2
    assert "memory only" in done.stderr
    assert cluster.fronts[0].web.subscribe("t", "u").status == 200


def test_inspect_shows_topics_and_depths(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    web = cluster.fronts[0].web
    for topic, count in (("deep", 7), ("flat", 2)):
        web.subscribe(topic, "ann")
        web.subscribe(topic, "bob")
        for _ in range(count):
            web.publish(topic, b"x")
        web.take(topic, "bob")
    web.call("GET", "/flat/ann?lease=3600")
    cluster.brokers["b0"].kill()
    done = run("inspect", cluster.data)
    assert done.returncode == 0, done
    head, *rows = done.stdout.splitlines()
    for words in ("broker b0 of cluster fanmail", "topics 2", "messages 9", "subscriptions 4", "held 1", "whole"):
        assert words in head
    table = [row.split() for row in rows]
    assert table[0][:6] == ["topic", "epoch", "messages", "bytes", "subscriptions", "deepest"]
    assert [(row[0], row[2], row[4], row[5]) for row in table[1:]] == [("deep", "7", "2", "7"), ("flat", "2", "2", "1")]
