"""What goes wrong in a run of candidates, and the run itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from tests.simulation.candidates import Candidates, Host
from tests.simulation.run import Run
from tests.simulation.world import World
from tests.support.memory_log import Weather

FAULTS_END, LIMIT = 7.0, 40.0
"""Seconds; nothing goes wrong after the first, and all must be served before the second."""


class CandidateFaults:
    """Of one run, drawn from its seed."""

    def __init__(self, cluster: Candidates) -> None:
        self._cluster, self._world = cluster, cluster.world
        rng = self._rng = Random(f"{self._world.seed}/faults")
        cluster.shared.weather = self._weather()
        if rng.random() < 0.4:
            cluster.shared.breach.doubles = rng.choice((0.05, 0.5))  # which the rules survive
        kinds: list[Callable[[], None]] = [
            self._pause,
            self._pause_owner,
            self._pause_owner,
            self._kill,
            self._kill_owner,
        ]
        kinds += [
            self._away,
            self._away,
            self._cut,
            self._fall_behind,
            self._full,
            self._release,
            self._release,
            self._change,
        ]
        for _ in range(rng.randint(2, 8)):
            self._world.after(rng.uniform(0.3, FAULTS_END), rng.choice(kinds))
        self._world.after(FAULTS_END, self._heal)

    def _weather(self) -> Weather:
        rng = self._rng
        share = rng.choice((0.0, 0.0, 0.02, 0.2))
        return Weather(
            latency=rng.choice((0.001, 0.02, 0.2)),
            lost_request=share,
            lost_answer=rng.choice((0.0, share)),
            straggling=rng.choice((0.0, 0.05, 0.3)),
            lag=rng.choice((0.001, 0.05, 1.0, 4.0)),
            repeated=rng.choice((0.0, 0.2)),
        )

    def _change(self) -> None:
        self._cluster.shared.weather = self._weather()

    def _any(self) -> Host:
        return self._rng.choice(self._cluster.hosts)

    def _owner(self) -> Host:
        return self._cluster.owner or self._any()

    def _freeze(self, host: Host) -> None:
        seconds = self._rng.choice((self._rng.uniform(0.05, 1.0), self._rng.uniform(3.0, 8.0), LIMIT))
        self._world.note("pause", host.name, round(seconds, 3))
        process = host.process
        process.frozen_until = max(process.frozen_until, self._world.now + seconds)
        if seconds == LIMIT and all(each is host or not each.hung for each in self._cluster.hosts):
            host.hung = True  # for good: the others must do without it
        elif seconds == LIMIT:
            self._world.after(self._rng.uniform(8.0, 12.0), lambda: process.ended or process.end("killed: hung"))

    def _pause(self) -> None:
        self._freeze(self._any())

    def _pause_owner(self) -> None:
        self._freeze(self._owner())

    def _kill(self) -> None:
        self._end(self._any())

    def _kill_owner(self) -> None:
        self._end(self._owner())

    def _end(self, host: Host) -> None:
        if not host.process.ended and not host.hung:
            host.process.end("killed")

    def _away(self) -> None:
        seconds = self._rng.uniform(0.1, 9.0)
        self._world.note("the log is away", round(seconds, 3))
        self._cluster.shared.away_until = self._world.now + seconds

    def _cut(self) -> None:
        self._any().process.log.cut_for(self._rng.uniform(0.05, 5.0))

    def _fall_behind(self) -> None:
        self._any().process.log.fall_behind_for(self._rng.uniform(0.1, 6.0))

    def _full(self) -> None:
        shared = self._cluster.shared
        self._world.note("the log is full")
        shared.max_bytes = max(shared.bytes, 1)
        self._world.after(self._rng.uniform(0.1, 3.0), lambda: setattr(shared, "max_bytes", 0))

    def _release(self) -> None:
        """A planned hand-over, whose answer may get lost."""
        process = self._owner().process
        process.releases = self._rng.choice(("", *(each.name for each in self._cluster.hosts)))
        process.wake()
        if self._rng.random() < 0.5:
            self._world.after(self._rng.uniform(0.0, 0.01), lambda: process.log.cut_for(0.3))

    def _heal(self) -> None:
        self._world.note("healed")
        self._cluster.healed = True
        self._cluster.shared.weather = Weather()


def simulate_candidates(seed: int) -> Run:
    """One run of one seed."""
    world = World(seed)
    cluster = Candidates(world)
    CandidateFaults(cluster)
    if not world.run(lambda: bool(world.found) or cluster.is_done(), LIMIT):
        world.fail("nobody serves, or somebody does not follow")
    if not world.found:
        cluster.judge()
    return Run(seed, world.found, world.trace, Counter({"runs": 1, "values": len(cluster.truth.values)}))
