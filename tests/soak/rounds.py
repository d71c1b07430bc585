"""Rounds of load with faults. Each has topics and users of its own, which are gone at its end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.e2e.checker import violations
from tests.e2e.cluster import PATIENCE, Cluster, wait_for
from tests.e2e.history import History
from tests.e2e.load import Load
from tests.soak.figures import Figures, measure
from tests.soak.vanishing import Vanishers

MODES = {"ann": "plain", "bob": "many", "cat": "after", "dan": "after-many", "eve": "lease", "fay": "lease-many"}
PUBLISHERS = ("single", "keyed", "keyed-batch")
STEP = 3
"""Calls of every client between two faults."""


def checked(history: History, topics: list[str]) -> list[str]:
    """What the checker says of a round."""
    return violations(history, topics)


class Soak:
    """A cluster of its own. Nothing happens to its last broker and its last front: they are measured."""

    def __init__(self, durable: bool, seed: int, round_seconds: float, pace_s: float = 0.0) -> None:
        """Without `durable` only fronts are killed: a broker that is killed has lost everything, as promised."""
        self.figures = Figures()
        self._rng = random.Random(seed)
        self._round_seconds = round_seconds
        self._pace_s = pace_s
        settings = {"access_log": "off", "drain_idle": 0.3}
        self.cluster = Cluster(brokers=2, fronts=2, durable=durable, front_settings=settings)
        self._doomed, self._spared = (broker.id for broker in self.cluster.map.brokers)
        self._faults: dict[str, Callable[[], None]] = {
            "front kill -9": self._kill_front,
            "front SIGTERM": self._stop_front,
        }
        if durable:
            self._faults |= {
                "broker kill -9": self._kill_broker,
                "broker SIGTERM": self._stop_broker,
                "broker and front kill -9": self._kill_both,
            }

    def close(self) -> None:
        """Nothing is left behind."""
        self.cluster.close()

    def round(self, number: int, ends: float, report: Callable[[], None]) -> list[str]:
        """One round, until its time or `ends` (monotonic seconds) has come; what is wrong."""
        ends = min(ends, time.monotonic() + self._round_seconds)
        cluster, rng = self.cluster, self._rng
        topics = [
            cluster.topic(broker.id, f"r{number}-{broker.id}-{n}") for broker in cluster.map.brokers for n in (0, 1)
        ]
        ports = [front.port for front in cluster.fronts]
        targets = [f"/{topic}/{user}?lease=1&wait=5" for topic in topics for user in ("eve", "fay")]
        targets += [f"/{topic}/{user}?after=0&wait=5" for topic in topics for user in ("cat", "dan")]
        load = Load(ports, topics, tuple(MODES), True, MODES, PUBLISHERS, 4 * PATIENCE, pace_s=self._pace_s)
        with load, Vanishers(ports, targets, topics, rng.randrange(2**32)) as vanishers:
            while time.monotonic() < ends:
                load.await_more(STEP)
                name = rng.choice(sorted(self._faults))
                self._faults[name]()
                self.figures.faults[name] += 1
                report()
            load.await_more(STEP)
        self.figures.faults["clients that vanished"] += vanishers.gone
        self.figures.add(load.history)
        found = checked(load.history, topics) + self._wrong_answers(load)
        cluster.await_ready()
        return found + self._clear(load)

    def _wrong_answers(self, load: Load) -> list[str]:
        codes = ("200", "204", "409 lease-lost", "504 outcome-unknown")
        wrong = [each for each in load.seen if each.what[:1].isdigit() and each.what not in codes]
        return [f"an answer that nobody expects: {each}" for each in wrong if not each.what.startswith("503 ")][:5]

    def _clear(self, load: Load) -> list[str]:
        """All unsubscribe: then nothing is left anywhere."""
        web = self.cluster.fronts[-1].web
        for topic in load.topics:
            for user in load.users:
                web.unsubscribe(topic, user)
        wait_for(lambda: self.cluster.waiters() == 0, "the waits of vanished clients to end")
        held = self.cluster.held()
        self.figures.samples.append(
            measure(self.cluster, self.cluster.brokers[self._spared], self.cluster.fronts[-1].process)
        )
        return [f"left behind after all have unsubscribed: {held}"] if any(held.values()) else []

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
