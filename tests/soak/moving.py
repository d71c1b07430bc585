"""Rounds in which slots move between brokers with stores, and source, target, tool and fronts are killed meanwhile."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable

from broker.tools.slot_links import Links, View
from broker.tools.slot_mover import MoveFailedError, SlotMover
from common.cluster.slot_plan import PlannedMove
from common.cluster.slots import slot_of
from common.errors import FanmailError
from common.protocol import move_ops
from common.protocol.ops import Op
from tests.e2e.cluster import PATIENCE, ROOT, Cluster, clean_environ, wait_for
from tests.e2e.load import Load
from tests.soak.figures import Sample, measure
from tests.soak.rounds import Rounds
from tests.support.faulty_store import Point

SOON_S = 0.06
"""Maximum time from the start of a move to the kill of a process."""
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
        self._ids = [broker.id for broker in self.cluster.map.brokers]
        self._links = Links(self.cluster.map, None)
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
        for broker in self._ids:
            self._links.forget(broker)
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
        view = wait_for(self._settled, "all moves to end")
        twice = [
            f"slot {slot} has two owners"
            for slot in range(len(view.owners))
            if sum(owns(table, slot) for table in view.tables.values()) != 1
        ]
        return twice[:3]

    def _settled(self) -> View | None:
        view = self._links.view()
        return None if view.silent or view.moves() or view.unowned else view

    def _choose(self) -> PlannedMove:
        """Return the move of a topic's slot to another broker."""
        slot = slot_of(self.rng.choice([*self._topics, *self._ballast, *self._ballast]).encode())
        view = wait_for(lambda: view if (view := self._links.view()).owners[slot] else None, "an owner of the slot")
        source = view.owners[slot]
        return PlannedMove(slot, source, self.rng.choice([each for each in self._ids if each != source]))

    def _begin(self, planned: PlannedMove) -> None:
        try:
            self._links.ask(planned.source, Op.MOVE, move_ops.MoveSlot(planned.slot, planned.to))
        except FanmailError:
            self.figures.counts["moves refused at first"] += 1

    def _move(self, fault: Callable[[str, str], None]) -> None:
        planned = self._choose()
        self._begin(planned)
        time.sleep(self.rng.uniform(0, SOON_S))
        fault(planned.source, planned.to)
        self._finish(planned)

    def _finish(self, planned: PlannedMove) -> None:
        """Let the move end, perhaps by another attempt."""
        wait_for(lambda: not self._links.view([planned.source, planned.to]).silent, "source and target to answer")
        began = time.monotonic()
        try:
            moved = SlotMover(self._links).move(planned)
        except MoveFailedError as error:
            self.figures.counts["moves that stayed"] += 1
            self.figures.notes.append(f"slot {planned.slot} stays: {error}")
            return
        self.figures.counts["moves"] += 1
        self.figures.counts["bytes moved"] += moved.bytes
        self.figures.outages["move, to its end"].append(time.monotonic() - began)

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
            self._begin(planned)
            time.sleep(0.01)
        process.kill()
        self.figures.counts["failpoints"] += 1
        self.cluster.start_broker(broker)
        self._finish(planned)

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
        self._finish(planned)


def owns(table: move_ops.SlotTable, slot: int) -> bool:
    """Return whether a broker says that a slot is its own."""
    return any(run.first <= slot <= run.last for run in table.owned)
