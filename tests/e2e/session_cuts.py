"""A load of sessions that are cut, while fronts and brokers are killed and fronts drain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.load import Load
from tests.e2e.session_readers import SESSION_FAULTS, SessionReader
from tests.e2e.stream_cuts import stream_load

SESSION_MODES = {"ann": "session", "bob": "session", "crew": "lease-session"}
SESSION_ENDS = set(SESSION_FAULTS)
"""What may happen to a session in them: nothing that its client raises."""
CUTS_PATIENCE_S = 300.0


def session_load(cluster: Cluster, stem: str, modes: Mapping[str, str] = SESSION_MODES) -> Load:
    """Return a load on one topic of each broker, of a publisher by a session and one by requests."""
    return stream_load(cluster, stem, modes, ("session", "single"))


def cut_sessions(load: Load) -> int:
    return sum(each.cut for each in load.readers_of(SessionReader))


def session_ends(load: Load) -> Counter[str]:
    """Return the sessions by what ended them."""
    return sum((each.ends for each in load.readers_of(SessionReader)), Counter())


def cut_all(cluster: Cluster, load: Load, cuts: int, rounds: int, report: Callable[[], None] = lambda: None) -> None:
    """Wait for `cuts` cut sessions; in each round kill a broker and a front in between, and drain a front."""
    steps = 3 * rounds
    for n in range(steps + 1):
        due = cuts * (n + 1) // (steps + 1)
        wait_for(lambda due=due: cut_sessions(load) >= due, f"{due} cuts", CUTS_PATIENCE_S)  # type: ignore[misc]
        report()
        front = cluster.fronts[n // 3 % len(cluster.fronts)]
        if n == steps:
            return
        if n % 3 == 0:
            cluster.kill_broker(cluster.map.brokers[n // 3 % len(cluster.map.brokers)].id)
        elif n % 3 == 1:
            cluster.kill_front(front)
        else:
            assert front.process.terminate() == 0, front.process.about()
            front.process = cluster.start_front(front.port).process
