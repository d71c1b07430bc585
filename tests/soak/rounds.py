"""Rounds of load with faults. Each has topics and users of its own, which are gone at its end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

from tests.e2e.checker import violations
from tests.e2e.cluster import PATIENCE, Cluster, wait_for
from tests.e2e.history import History
from tests.e2e.load import Load
from tests.soak.figures import Figures, Sample, measure
from tests.soak.vanishing import Vanishers

MODES = {"ann": "plain", "bob": "many", "cat": "after", "dan": "after-many", "eve": "lease", "fay": "lease-many"}
PUBLISHERS = ("single", "keyed", "keyed-batch")
STEP = 3
"""Calls of every client between two faults."""


def checked(history: History, topics: list[str]) -> list[str]:
    """What the checker says of a round."""
    return violations(history, topics)


class Rounds:
    """Rounds against a cluster of its own. A subclass says which faults there are, by name."""

    cluster: Cluster
    modes: Mapping[str, str] = MODES
    publishers: tuple[str, ...] = PUBLISHERS

    def __init__(self, seed: int, round_seconds: float, pace_s: float) -> None:
        """`pace_s`: seconds that a publisher pauses after each publish."""
        self.figures = Figures()
        self.topics = 2
        """Of each broker in a round."""
        self.rng = random.Random(seed)
        self._round_seconds = round_seconds
        self._pace_s = pace_s
        self.faults: dict[str, Callable[[], None]] = {}

    def close(self) -> None:
        """Nothing is left behind."""
        self.cluster.close()

    def about(self) -> str:
        """Return the logs of all processes for a report."""
        return self.cluster.about()

    def make_load(self, topics: list[str]) -> Load:
        """Return the clients of a round."""
        ports = [front.port for front in self.cluster.fronts]
        return Load(ports, topics, tuple(self.modes), True, self.modes, self.publishers, 4 * PATIENCE, self._pace_s)

    def beside(self, topics: list[str]) -> AbstractContextManager[object]:
        """Return what else goes on during a round."""
        return nullcontext()

    def round(self, number: int, ends: float, report: Callable[[], None]) -> list[str]:
        """One round, until its time or `ends` (monotonic seconds) has come; what is wrong."""
        ends = min(ends, time.monotonic() + self._round_seconds)

        def chosen() -> Iterator[str]:
            while time.monotonic() < ends:
                yield self.rng.choice(sorted(self.faults))

        return self.play(number, chosen(), report)

    def play(self, number: int, faults: Iterable[str], report: Callable[[], None] = lambda: None) -> list[str]:
        """One round with these faults, one after the other; what is wrong."""
        brokers = self.cluster.map.brokers
        numbers = range(self.topics)
        topics = [self.cluster.topic(broker.id, f"r{number}-{broker.id}-{n}") for broker in brokers for n in numbers]
        load = self.make_load(topics)
        with load, self.beside(topics):
            load.await_more(STEP)
            for name in faults:
                self.faults[name]()
                self.figures.faults[name] += 1
                load.await_more(STEP)
                report()
        self.figures.add(load.history)
        found = checked(load.history, topics) + self._wrong_answers(load)
        self.cluster.await_ready()
        return found + self.clear(load) + self.after_round()

    def _wrong_answers(self, load: Load) -> list[str]:
        codes = ("200", "204", "409 lease-lost", "504 outcome-unknown")
        wrong = [each for each in load.seen if each.what[:1].isdigit() and each.what not in codes]
        return [f"an answer that nobody expects: {each}" for each in wrong if not each.what.startswith("503 ")][:5]

    def clear(self, load: Load) -> list[str]:
        """All unsubscribe: then nothing is left anywhere."""
        web = self.cluster.fronts[-1].client()  # one that is kept is closed between two rounds
        for topic in load.topics:
            for user in load.users:
                web.unsubscribe(topic, user)
        web.close()
        wait_for(lambda: self.cluster.waiters() == 0, "the waits of vanished clients to end")
        held = self.cluster.held()
        self.figures.samples.append(self.measured())
        return [f"left behind after all have unsubscribed: {held}"] if any(held.values()) else []

    def measured(self) -> Sample:
        """Return the figures of a broker and a front at the end of a round."""
        raise NotImplementedError

    def after_round(self) -> list[str]:
        """Return what else is wrong at the end of a round."""
        return []


class Soak(Rounds):
    """Brokers in memory or with SQLite. Nothing happens to the last broker and the last front: they are measured."""

    def __init__(self, durable: bool, seed: int, round_seconds: float, pace_s: float = 0.0) -> None:
        """Without `durable` only fronts are killed: a broker that is killed has lost everything, as promised."""
        super().__init__(seed, round_seconds, pace_s)
        settings = {"access_log": "off", "drain_idle": 0.3}
        self.cluster = Cluster(brokers=2, fronts=2, durable=durable, front_settings=settings)
        self._doomed, self._spared = (broker.id for broker in self.cluster.map.brokers)
        self._vanishers: Vanishers | None = None
        self.faults = {"front kill -9": self._kill_front, "front SIGTERM": self._stop_front}
        if durable:
            self.faults |= {
                "broker kill -9": self._kill_broker,
                "broker SIGTERM": self._stop_broker,
                "broker and front kill -9": self._kill_both,
            }

    def beside(self, topics: list[str]) -> Vanishers:
        """Return clients that vanish."""
        targets = [f"/{topic}/{user}?lease=1&wait=5" for topic in topics for user in ("eve", "fay")]
        targets += [f"/{topic}/{user}?after=0&wait=5" for topic in topics for user in ("cat", "dan")]
        ports = [front.port for front in self.cluster.fronts]
        self._vanishers = Vanishers(ports, targets, topics, self.rng.randrange(2**32))
        return self._vanishers

    def after_round(self) -> list[str]:
        """Count the clients that have vanished."""
        assert self._vanishers is not None
        self.figures.faults["clients that vanished"] += self._vanishers.gone
        return []

    def measured(self) -> Sample:
        """Return the figures of those that are spared."""
        return measure(self.cluster, self.cluster.brokers[self._spared], self.cluster.fronts[-1].process)

    def _kill_broker(self) -> None:
        self.cluster.kill_broker(self._doomed)

    def _stop_broker(self) -> None:
        assert self.cluster.brokers[self._doomed].terminate() == 0, "a broker that was asked to stop has failed"
        self.cluster.start_broker(self._doomed)

    def _kill_front(self) -> None:
        self.cluster.kill_front(self.cluster.fronts[0])

    def _stop_front(self) -> None:
        front = self.cluster.fronts[0]
        assert front.process.terminate() == 0, "a front that was asked to stop has failed"
        front.process = self.cluster.start_front(front.port).process

    def _kill_both(self) -> None:
        self.cluster.brokers[self._doomed].kill()
        self._kill_front()
        self.cluster.start_broker(self._doomed)
