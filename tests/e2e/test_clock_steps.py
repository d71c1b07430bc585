"""The system clock of brokers and fronts is wrong by an hour for a while (libfaketime).

Nothing lasts longer or shorter because of that.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster, Front, wait_for
from tests.e2e.keys import bearer, write_keys

pytestmark = pytest.mark.slow

ALL = 'allow = [{rights = ["publish"], topic = "*"}]'


class FakeClock:
    """The time of day for processes started with `prefix`. Their monotonic clocks are the machine's."""

    def __init__(self, folder: Path) -> None:
        """Skip the test if libfaketime is missing, or fail it in CI."""
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        if not libraries:
            assert not os.environ.get("CI"), "libfaketime is not installed"
            pytest.skip("libfaketime is not installed")
        self._file = folder / "clock"
        self.set("+0")
        settings = {
            "LD_PRELOAD": libraries[0],
            "FAKETIME_TIMESTAMP_FILE": self._file,
            "FAKETIME_NO_CACHE": 1,
            "FAKETIME_DONT_FAKE_MONOTONIC": 1,
            "DONT_FAKE_MONOTONIC": 1,
        }
        self.prefix = ["env", *(f"{name}={value}" for name, value in settings.items())]

    def set(self, offset: str) -> None:
        """Set the clock ahead of the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.replace(self._file)


@pytest.fixture
def clock(folder: Path) -> FakeClock:
    return FakeClock(folder)


def start(cluster: Cluster, clock: FakeClock, **settings: object) -> Front:
    """Start one broker and one front with this clock."""
    cluster.brokers["b0"].terminate()
    cluster.prefix = clock.prefix
    cluster.start_broker("b0")
    cluster.fronts = [cluster.start_front(**settings)]
    cluster.await_ready()
    return cluster.fronts[0]


def hours_ahead(front: Front) -> int:
    """Return how far the front's clock is ahead."""
    date = parsedate_to_datetime(front.web.call("GET", "/livez").headers["Date"])
    return round((date - datetime.now(UTC)).total_seconds() / 3600)


@pytest.mark.parametrize(("offset", "hours"), [("+1h", 1), ("-1h", -1)])
def test_an_hour_wrong_while_brokers_restart(
    start_cluster: StartCluster, clock: FakeClock, offset: str, hours: int
) -> None:
    cluster = start_cluster(brokers=1, fronts=0, durable=True)
    front = start(cluster, clock)
    for topic in ("t", "short"):
        front.web.subscribe(topic, "u")
    front.web.publish("t?ttl=1200", b"keeps")
    for now, body in ((offset, b"1"), (offset, b"2"), ("+0", b"3")):
        clock.set(now)
        assert hours_ahead(front) == (hours if now == offset else 0), "the clock is faked"
        front.web.publish("t?delay=1", body)
        front.web.publish("short?ttl=1", body)
        cluster.kill_broker("b0")
        wait_for(front.ready, "the broker to be there again")
    wait_for(lambda: "Msg-Id" not in front.web.call("HEAD", "/short/u").headers, "the lives of a second to end")
    wait_for(lambda: front.web.call("HEAD", "/t/u").headers["Msg-Pending"] == "4", "the delays of a second to end")
    assert sorted(front.web.drain("t", "u")) == [b"1", b"2", b"3", b"keeps"]


def test_a_key_is_in_force_again_when_the_clock_is_right_again(
    start_cluster: StartCluster, clock: FakeClock, folder: Path
) -> None:
    ends = datetime.now(UTC) + timedelta(minutes=30)
    keys = write_keys(folder / "keys.toml", {"a": f"expires = {ends:%Y-%m-%dT%H:%M:%SZ}\n{ALL}"})
    front = start(start_cluster(brokers=1, fronts=0), clock, api_keys_file=keys)

    def status() -> int:
        return front.web.call("POST", "/t", b"", bearer("a")).status

    assert status() == 200
    clock.set("+1h")
    wait_for(lambda: status() == 401, "the hour to be believed")
    clock.set("+0")
    wait_for(lambda: status() == 200, "the key to be in force again")
