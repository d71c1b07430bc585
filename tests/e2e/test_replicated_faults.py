"""Load on replicated brokers while candidates and NATS servers are killed, paused and cut off: a short `bin/soak`.

The checker and the histories are those of every other fault test. The long column is `bin/soak --replicated`,
`--hosts` and `--power`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.hosts import FRONTS, Network, need_namespaces
from tests.soak.partitions import PartitionedSoak
from tests.soak.replicated import ReplicatedSoak, start_replicated
from tests.support.forgetful_disk import Disk, need_fuse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PACE_S = 0.5
"""Seconds between two publishes of a client: faults count here, and not calls."""


@pytest.fixture(scope="module")
def soak() -> Iterator[ReplicatedSoak]:
    soak = start_replicated(seed=1, round_seconds=0, pace_s=PACE_S, brokers=1)
    soak.topics = 1
    yield soak
    soak.close()


def play(soak: ReplicatedSoak, number: int, *faults: str) -> None:
    """Play a round in which nothing is found."""
    found = soak.play(number, faults)
    if found:
        print(soak.about())
    assert found == []


def test_owners_are_killed_asked_to_stop_and_paused(soak: ReplicatedSoak) -> None:
    soak.longest_s = 6.5
    play(soak, 1, *["owner kill -9"] * 3, "owner SIGTERM", "owner SIGSTOP")
    assert len(soak.figures.outages["owner kill -9"]) == 3


def test_servers_are_killed_one_by_one_with_an_owner_and_all_at_once(soak: ReplicatedSoak) -> None:
    play(soak, 2, "leader kill -9", "owner and leader kill -9", "all NATS nodes kill -9")


def test_an_owner_that_pauses_for_a_moment_is_heard_and_a_difference_is_found(
    soak: ReplicatedSoak, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative controls: of the look at what a former owner answers, and of that at both candidates' stores."""
    soak.longest_s = 0.5
    play(soak, 3, "owner SIGSTOP")
    assert soak.figures.faults["owner SIGSTOP, not deposed, answered later"] == 1
    soak.cluster.fronts[0].client().subscribe("t", "u")
    export, standby = soak.export, soak.cluster.standby("b0")

    def spoilt(name: str) -> object:
        found = export(name)
        return found._replace(state=found.state | {"topics": {}}) if name == standby else found

    assert soak.differences("b0") == []
    monkeypatch.setattr(soak, "export", spoilt)
    (difference,) = soak.differences("b0")
    assert difference.endswith("in ['topics']")


def test_hosts_are_cut_off_also_in_one_direction() -> None:
    need_namespaces()
    with closing(Network()) as network, network.on(FRONTS), closing(PartitionedSoak(network, 1, 0, PACE_S, 1)) as soak:
        soak.longest_s, soak.topics = 7.0, 1
        ways = ("host of the owner cut off", "one way, from the owner's host", "one way, to the owner's host")
        play(soak, 1, *ways)


def test_a_forgetful_disk_keeps_what_was_synced_and_nothing_else(folder: Path) -> None:
    """Control of `bin/soak --power`."""
    need_fuse()
    disk, there = Disk(folder / "kept", folder / "mnt"), folder / "mnt"
    try:
        (there / "never").write_bytes(b"gone")
        with (there / "partly").open("wb", buffering=0) as file:
            file.write(b"kept")
            os.fsync(file.fileno())
            file.write(b"gone")
        handle = os.open(there / "always", os.O_WRONLY | os.O_CREAT | os.O_SYNC)
        os.write(handle, b"kept")
        os.close(handle)
        assert (there / "partly").read_bytes() == b"keptgone"
        assert disk.forget() == 8
        assert {each.name: each.read_bytes() for each in there.iterdir()} == {
            "never": b"",
            "partly": b"kept",
            "always": b"kept",
        }
    finally:
        disk.close()
