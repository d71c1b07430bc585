"""Rounds in which slots move between brokers with stores, and source, target, tool and fronts are killed meanwhile."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable

from common.cluster.slot_plan import PlannedMove
from common.cluster.slots import slot_of
from tests.e2e.cluster import PATIENCE, ROOT, Cluster, clean_environ
from tests.e2e.load import Load
from tests.soak.figures import Sample, measure
from tests.soak.rounds import Rounds
from tests.soak.slot_moves import SOON_S, SlotMoves
from tests.support.faulty_store import Point

BALLAST, BATCHES, LINE = 2, 8, "x" * 10_000
"""Slots with more than one part to send, and what is in each: batches of 100 lines of this."""
COMMITS = 12
"""A failpoint is at one of the first commits after the start of its broker: this is their number."""


class MovingSoak(Rounds):
    """Three brokers and two fronts. Each fault moves the slot of a topic that is in use."""

    def __init__(self, seed: int, round_seconds: float, pace_s: float = 0.0) -> None:
        super().__init__(seed, round_seconds, pace_s)
        settings = {"access_log": "off", "drain_idle": 0.3}
        self.cluster = Cluster(brokers=3, fronts=2, durable=True, front_settings=settings)
        self._moves = SlotMoves(self.cluster.map, self.figures)
        self._topics: list[str] = []
        self._ballast: dict[str, list[str]] = {}
        """Topics that nobody reads before the end of a round, with the lines in them."""
        self.faults: dict[str, Callable[[], None]] = {
            "move": lambda: self._move(lambda source, to: None),
            "move, source kill -9": lambda: self._move(lambda source, to: self._kill(source)),
            "move, target kill -9": lambda: self._move(lambda source, to: self._kill(to)),
            "move, both kill -9": lambda: self._move(lambda source, to: self._kill(source, to)),
            "move, front kill -9": lambda: self._move(lambda source, to: self._kill_front()),
            "move, source failpoint": lambda: self._fail(source=True),
            "move, target failpoint": lambda: self._fail(source=False),
            "move, tool kill -9": self._kill_tool,
        }

    def close(self) -> None:
        """Nothing is left behind."""
        self._moves.close()
        super().close()

    def make_load(self, topics: list[str]) -> Load:
        """Return the clients of a round, whose topics are moved; some have a neighbour of 8 MB in their slots."""
        self._topics = topics
        self._ballast = {}
        web = self.cluster.fronts[-1].client()
        for topic in self.rng.sample(topics, BALLAST):
            names = (f"ballast-{topic}-{n}" for n in itertools.count())
            name = next(each for each in names if slot_of(each.encode()) == slot_of(topic.encode()))
            lines = [f"{n:06}{LINE}" for n in range(100 * BATCHES)]
            assert web.subscribe(name, "ann").status == 200
            for n in range(BATCHES):
                body = "\n".join(lines[100 * n : 100 * (n + 1)]).encode()
                assert web.call("POST", f"/{name}?batch=lines", body).status == 200
            self._ballast[name] = lines
        web.close()
        return super().make_load(topics)

    def measured(self) -> Sample:
        """Return the figures of a broker and a front."""
        return measure(self.cluster, self.cluster.brokers["b0"], self.cluster.fronts[-1].process)

    def clear(self, load: Load) -> list[str]:
        """Read the neighbours, too, which must be whole."""
        web, found = self.cluster.fronts[-1].client(), []
        for topic, lines in self._ballast.items():
            got: list[str] = []
            while (answer := web.call("GET", f"/{topic}/ann?max=100")).status == 200:
                got += [json.loads(line)["text"] for line in answer.body.splitlines()]
            if got != lines:
                found.append(f"{topic} has {len(got)} of {len(lines)} lines, or another order")
            web.unsubscribe(topic, "ann")
        web.close()
        return found + super().clear(load)

    def after_round(self) -> list[str]:
        """Every slot has exactly one owner."""
        return self._moves.wrong()

    def _choose(self) -> PlannedMove:
        return self._moves.choose(self.rng, [*self._topics, *self._ballast, *self._ballast])

    def _move(self, fault: Callable[[str, str], None]) -> None:
        planned = self._choose()
        self._moves.begin(planned)
        time.sleep(self.rng.uniform(0, SOON_S))
        fault(planned.source, planned.to)
        self._moves.finish(planned)

    def _kill(self, *brokers: str) -> None:
        for broker in brokers:
            self.cluster.brokers[broker].kill()
            self.figures.counts["kill -9"] += 1
        for broker in brokers:
            self.cluster.start_broker(broker)

    def _kill_front(self) -> None:
        self.cluster.kill_front(self.cluster.fronts[0])
        self.figures.counts["kill -9"] += 1

    def _fail(self, *, source: bool) -> None:
        """Move while a broker dies at a commit."""
        planned = self._choose()
        broker = planned.source if source else planned.to
        point = self.rng.choice([Point.BEFORE, Point.WRITTEN, Point.SYNCED, Point.RAISES, Point.RAISES_LATE])
        self.cluster.brokers[broker].terminate()
        commits = str(self.rng.randint(2, COMMITS))
        process = self.cluster.start_broker(broker, "tests.support.faulty_broker", point, commits)
        until = time.monotonic() + PATIENCE
        while process.running and time.monotonic() < until:
            self._moves.begin(planned)
            time.sleep(0.01)
        process.kill()
        self.figures.counts["failpoints"] += 1
        self.cluster.start_broker(broker)
        self._moves.finish(planned)

    def _kill_tool(self) -> None:
        planned = self._choose()
        command = ["run", f"--slots={planned.slot}", f"--to={planned.to}", f"--run-dir={self.cluster.run_dir}"]
        tool = subprocess.Popen(
            [sys.executable, "-m", "broker.tools.rebalance", *command], cwd=ROOT, env=clean_environ(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(self.rng.uniform(0, 1.0))
        tool.kill()
        tool.wait()
        self.figures.counts["kill -9"] += 1
        self._moves.finish(planned)
