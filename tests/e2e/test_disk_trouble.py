"""A full disk and a failing disk: nothing acknowledged is lost, and reading continues."""

from __future__ import annotations

import contextlib
import gzip
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.cluster.description import describe_local
from tests.conftest import StartCluster
from tests.e2e.checker import violations
from tests.e2e.cluster import ROOT, Client, Cluster, clean_environ, wait_for
from tests.e2e.load import SPARING, Load

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
DISK, RESERVE, ROOM = 48 * MIB, 16 * MIB, 8 * MIB
ROUNDS = 5
BODY = 100_000


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system."""
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
    """Publish until the disk is full. Return the number of the first refused message."""
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
        # Neither existing subscribers nor those who read and acknowledge need the remaining room.
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


@contextlib.contextmanager
def filled_by_others(disk: Path) -> Iterator[Path]:
    """Take the last byte of the disk, and every byte that is freed, within the context."""
    enough = threading.Event()

    def take_all() -> None:
        with (disk / "other").open("ab", buffering=0) as file:
            while not enough.is_set():
                try:
                    file.write(bytes(4096))
                except OSError:
                    enough.wait(0.001)

    taking = threading.Thread(target=take_all)
    taking.start()
    try:
        wait_for(lambda: free(disk) == 0, "the disk to be full")
        yield disk / "other"
    finally:
        enough.set()
        taking.join()


def stop(cluster: Cluster) -> None:
    assert cluster.brokers["b0"].terminate() == 0
    cluster.start_broker("b0")


def kill(cluster: Cluster) -> None:
    cluster.kill_broker("b0")


@pytest.mark.parametrize("restart", [stop, kill])
def test_a_broker_starts_on_a_disk_that_is_full_to_the_last_byte_and_makes_room(
    start_cluster: StartCluster, small_disk: Path, restart: Callable[[Cluster], None]
) -> None:
    settings = {"store": "sqlite", "data": small_disk, "disk_reserve": RESERVE}
    cluster = start_cluster(brokers=1, fronts=1, broker_settings=settings)
    web = cluster.fronts[0].web
    for user in ("ann", "bob"):
        web.subscribe("t", user)
    number = fill(web, "t", 1)
    read = 0
    with filled_by_others(small_disk) as other:
        for _ in range(ROUNDS):
            restart(cluster)
            wait_for(cluster.fronts[0].ready, "the broker to be back")
            broker = cluster.brokers["b0"]
            assert broker.event("the disk is full: publishing is refused, reading continues and frees space")
            assert web.publish("t", b"x").code == "storage-full"
            for _ in range(ROUNDS):
                read += 1
                assert numbers([web.take("t", "ann").body]) == [read]
                leased = web.call("GET", "/t/bob?lease=60")
                assert numbers([leased.body]) == [read]
                assert web.call("DELETE", f"/t/bob/{leased.headers['Msg-Receipt']}").status == 200
        for user in ("ann", "bob"):
            assert numbers(web.drain("t", user)) == list(range(read + 1, number))
    other.unlink()
    wait_for(lambda: broker.event("the disk has space again"), "the broker to see it")
    wait_for(lambda: web.publish("t", bytes(BODY)).status == 200, "room for what is published")
    assert broker.running


def test_a_store_on_a_read_only_disk_can_be_looked_at(start_cluster: StartCluster, small_disk: Path) -> None:
    settings = {"store": "sqlite", "data": small_disk, "disk_reserve": MIB}
    cluster = start_cluster(brokers=1, fronts=1, broker_settings=settings)
    cluster.fronts[0].web.subscribe("t", "ann")
    cluster.fronts[0].web.publish("t", b"x")
    cluster.brokers["b0"].kill()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    (small_disk / "b0" / "store.db-wal").stat()
    argv = [sys.executable, "-m", "broker.tools.inspect", str(small_disk)]
    done = subprocess.run(argv, cwd=ROOT, env=clean_environ(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "topics 1, messages 1, subscriptions 1" in done.stdout


def test_an_older_store_that_a_full_disk_keeps_from_being_brought_up_to_date(small_disk: Path, folder: Path) -> None:
    store = small_disk / "b0" / "store.db"
    store.parent.mkdir(mode=0o700)
    store.write_bytes(gzip.decompress((ROOT / "tests/support/stores/1.db.gz").read_bytes()))
    before = store.read_bytes()
    (folder / "cluster.toml").write_text(describe_local(1, folder))
    flags = {"run-dir": folder, "store": "sqlite", "data": small_disk, "id": "b0", "log-level": "error"}
    with filled_by_others(small_disk):
        argv = [sys.executable, "-m", "broker", *(f"--{name}={value}" for name, value in flags.items())]
        done = subprocess.run(argv, cwd=ROOT, env=clean_environ(), capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(f"broker: {store}: ")
    assert "room" in done.stderr, "which is what it takes"
    assert store.read_bytes() == before


def limit_files(process: int, size: int) -> None:
    """Limit the size of files of the process: larger writes fail with EFBIG."""
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, size))


def test_a_write_that_fails_ends_the_broker_and_nothing_is_lost(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    modes = {"ann": "plain", "bob": "after", "cat": "lease"}
    topics = ["t0", "t1"]
    ports, publishers = [cluster.fronts[0].port], ("single", "keyed")
    with Load(ports, topics, tuple(modes), modes=modes, publishers=publishers, pace_s=SPARING) as load:
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
