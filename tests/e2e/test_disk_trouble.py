"""A disk that is full, and one that fails: nothing that was acknowledged is lost, and reading goes on."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartCluster
from tests.e2e.checker import violations
from tests.e2e.cluster import Client, Cluster, wait_for
from tests.e2e.load import Load

MIB = 1024 * 1024
DISK, RESERVE, ROOM = 48 * MIB, 16 * MIB, 8 * MIB
ROUNDS = 5
BODY = 100_000


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "fanmail-test", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        assert not os.environ.get("CI"), f"a small disk cannot be mounted: {done.stderr}"
        pytest.skip("mounting takes a superuser")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(web: Client, topic: str, first: int) -> int:
    """Publishes until the disk is full; the number of the first message that was refused."""
    for number in range(first, first + DISK // BODY):
        answer = web.publish(topic, b"%08d" % number + bytes(BODY))
        if answer.status != 200:
            assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "storage-full", "5")
            return number
    raise AssertionError("the disk is never full")


def numbers(bodies: list[bytes]) -> list[int]:
    return [int(each[:8]) for each in bodies]


def test_a_full_disk(start_cluster: StartCluster, small_disk: Path) -> None:
    settings = {"store": "sqlite", "data": small_disk, "disk_reserve": RESERVE}
    cluster = start_cluster(brokers=1, fronts=1, broker_settings=settings)
    web, broker = cluster.fronts[0].web, cluster.brokers["b0"]
    for user in ("ann", "bob"):
        web.subscribe("t", user)
    number = 1
    for _ in range(ROUNDS):
        first, number = number, fill(web, "t", number)
        assert number > first
        assert free(small_disk) > RESERVE // 2, "the reserve is for reading and acknowledging"
        assert web.publish("t?delay=60", bytes(BODY)).code == "storage-full"
        # Neither subscribers that are there nor those who read and acknowledge need the room that is left.
        assert web.call("GET", "/t/ann?after=0").status == 200
        assert numbers(web.drain("t", "ann")) == list(range(first, number))
        for expected in range(first, number):
            leased = web.call("GET", "/t/bob?lease=60")
            assert numbers([leased.body]) == [expected]
            assert web.call("DELETE", f"/t/bob/{leased.headers['Msg-Receipt']}").status == 200
        wait_for(lambda: free(small_disk) > RESERVE + ROOM, "the space to be given back")
    assert broker.running
    assert cluster.held()["messages"] == 0


def test_a_full_disk_stays_safe_when_its_broker_is_killed(start_cluster: StartCluster, small_disk: Path) -> None:
    settings = {"store": "sqlite", "data": small_disk, "disk_reserve": RESERVE}
    cluster = start_cluster(brokers=1, fronts=1, broker_settings=settings)
    web = cluster.fronts[0].web
    web.subscribe("t", "ann")
    number = fill(web, "t", 1)
    cluster.kill_broker("b0")
    wait_for(cluster.fronts[0].ready, "the broker to be back")
    assert web.publish("t", bytes(BODY)).code == "storage-full"
    assert numbers(web.drain("t", "ann")) == list(range(1, number))
    wait_for(lambda: free(small_disk) > RESERVE + ROOM, "the space to be given back")
    assert web.publish("t", bytes(BODY)).status == 200


def limit_files(process: int, size: int) -> None:
    """From now on no file of the process may grow beyond this: writes fail with EFBIG."""
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, size))


def test_a_write_that_fails_ends_the_broker_and_nothing_is_lost(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    modes = {"ann": "plain", "bob": "after", "cat": "lease"}
    topics = ["t0", "t1"]
    with Load([cluster.fronts[0].port], topics, tuple(modes), modes=modes, publishers=("single", "keyed")) as load:
        for _ in range(ROUNDS):
            load.await_more(3)
            broker = cluster.brokers["b0"]
            limit_files(broker.pid, size_of_log(cluster) + 100_000)
            assert broker.popen.wait(60) == 1, broker.about()
            (line,) = [each for each in broker.events() if each["level"] in ("error", "critical")]
            assert "store.db" in line["reason"]
            assert "Traceback" not in broker.log()
            cluster.start_broker("b0")
        load.await_more(3)
    assert violations(load.history, topics) == []
    gone = {"503 broker-down", "503 wrong-incarnation", "503 loading", "504 outcome-unknown"}
    assert load.others(topics, {"200", "204"} | gone) == []


def size_of_log(cluster: Cluster) -> int:
    return (cluster.data / "b0" / "store.db-wal").stat().st_size
