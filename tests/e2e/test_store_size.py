"""The size of the file of a store, and the memory that a backlog takes."""

from __future__ import annotations

import os
from pathlib import Path
from struct import pack

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Cluster, wait_for

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
BODY = 1000
BATCH = 1000
"""Messages."""


def size_of(cluster: Cluster) -> int:
    """Return the bytes on disk of the store of b0, including its log."""
    return sum(each.stat().st_blocks * 512 for each in (cluster.data / "b0").iterdir())


def resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def batch(first: int, count: int = BATCH) -> bytes:
    """Return a batch as frames. Each body begins with its number."""
    frames = (b"%08d" % n + os.urandom(BODY - 8) for n in range(first, first + count))
    return b"".join(pack(">I", BODY) + each for each in frames)


def publish(web: Client, topic: str, first: int) -> None:
    answer = web.call("POST", f"/{topic}?batch=frames", batch(first))
    assert answer.status == 200, answer


def fetch(web: Client, topic: str, user: str) -> list[int]:
    """Return the numbers of up to a batch of messages."""
    answer = web.call("GET", f"/{topic}/{user}?max={BATCH}", headers={"Accept": "application/vnd.fanmail.frames"})
    if answer.status == 204:
        return []
    assert answer.status == 200, answer
    return [int(answer.body[at + 4 : at + 12]) for at in range(0, len(answer.body), BODY + 4)]


def test_the_file_is_as_large_after_much_load_as_after_some(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    web = cluster.fronts[0].web
    web.subscribe("steady", "ann")
    sizes = []
    for first in range(0, 60 * BATCH, BATCH):
        publish(web, "steady", first)
        assert fetch(web, "steady", "ann") == list(range(first, first + BATCH))
        sizes.append(size_of(cluster))
    assert max(sizes[30:]) <= max(sizes[:30]) + MIB, sizes
    assert max(sizes) < 40 * MIB, "one batch is stored at a time"


def test_after_a_backlog_of_100_megabytes_the_space_is_given_back(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True, broker_settings={"memory": "32MiB"})
    web, pid = cluster.fronts[0].web, cluster.brokers["b0"].pid
    web.subscribe("deep", "ann")
    before = resident(pid)
    for first in range(0, 100 * BATCH, BATCH):
        publish(web, "deep", first)
    assert size_of(cluster) > 100 * MIB
    assert resident(pid) < before + 64 * MIB, "bodies beyond the ceiling of memory are on the disk"
    cluster.kill_broker("b0")
    wait_for(cluster.fronts[0].ready, "the broker to be back")
    pid = cluster.brokers["b0"].pid
    read: list[int] = []
    while numbers := fetch(web, "deep", "ann"):
        read += numbers
    assert read == list(range(100 * BATCH)), "everything, in order"
    assert resident(pid) < before + 64 * MIB
    wait_for(lambda: size_of(cluster) < 50 * MIB, "the space to be given back", patience=60)


def test_steady_reading_far_behind_stays_in_memory_bounds(start_cluster: StartCluster) -> None:
    """Read at once as one user, and far behind as another: both get everything in order."""
    cluster = start_cluster(brokers=1, fronts=1, durable=True, broker_settings={"memory": "8MiB"})
    web, pid = cluster.fronts[0].web, cluster.brokers["b0"].pid
    for user in ("near", "far"):
        web.subscribe("both", user)
    before = resident(pid)
    for first in range(0, 40 * BATCH, BATCH):
        publish(web, "both", first)
        assert fetch(web, "both", "near") == list(range(first, first + BATCH))
    single = [web.take("both", "far").body for _ in range(BATCH)]
    assert [int(each[:8]) for each in single] == list(range(BATCH))
    for first in range(BATCH, 40 * BATCH, BATCH):
        assert fetch(web, "both", "far") == list(range(first, first + BATCH))
    assert resident(pid) < before + 64 * MIB
    assert cluster.held()["messages"] == 0
