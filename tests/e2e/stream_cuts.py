"""A load whose readers are streams that are cut, while fronts and brokers are killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.load import SPARING, Load
from tests.e2e.stream_readers import FAULTS, StreamReader

STREAM_MODES = {"ann": "stream", "bob": "stream", "cat": "stream", "dan": "timed-stream"}
STREAM_ENDS = {*FAULTS, "its front or broker", "event: error", "answered 503", "answered 504"}
"""What may happen to a stream in them. Nothing is reset, and no subscription ends."""
CUTS_PATIENCE_S = 300.0


def stream_load(
    cluster: Cluster, stem: str, modes: Mapping[str, str], publishers: tuple[str, ...] = ("single", "keyed-batch")
) -> Load:
    """Return a load on one topic of each broker."""
    topics = [cluster.topic(broker.id, f"{stem}-{broker.id}") for broker in cluster.map.brokers]
    ports = [front.port for front in cluster.fronts]
    return Load(ports, topics, tuple(modes), True, modes, publishers, 90.0, pace_s=SPARING)


def stream_readers(load: Load) -> list[StreamReader]:
    return load.readers_of(StreamReader)


def cut_streams(load: Load) -> int:
    return sum(each.cut for each in stream_readers(load))


def ends(load: Load) -> Counter[str]:
    """Return the streams by what ended them."""
    return sum((each.ends for each in stream_readers(load)), Counter())


def cut(cluster: Cluster, load: Load, cuts: int, kills: int, report: Callable[[], None] = lambda: None) -> None:
    """Wait until this number of streams was cut; meanwhile kill as many brokers and fronts."""
    for n in range(2 * kills + 1):
        due = cuts * (n + 1) // (2 * kills + 1)
        wait_for(lambda due=due: cut_streams(load) >= due, f"{due} cuts", CUTS_PATIENCE_S)  # type: ignore[misc]
        report()
        if n == 2 * kills:
            return
        if n % 2:
            cluster.kill_front(cluster.fronts[n // 2 % len(cluster.fronts)])
        else:
            cluster.kill_broker(cluster.map.brokers[n // 2 % len(cluster.map.brokers)].id)
