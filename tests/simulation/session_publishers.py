"""Clients that publish in a session: the next publishes are on their way before the first is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from httpfront.sessions.operations import Publish as Said
from tests.e2e.history import Outcome, Publish
from tests.simulation.clients import Client, outcome_of
from tests.simulation.fronts import LOST, REFUSED, Answer, FrontProcess, Session
from tests.simulation.world import SAME_MOMENT

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

AT_ONCE, TOGETHER = 4, 3
"""Groups of publishes that are sent one behind the other, and publishes that arrive together, at the most."""
GAP = 0.005
"""Seconds between two of them, at the most."""
LARGE = 0.05
"""How often a body is so large that it travels as a frame of its own."""
WAITS = 0.3
"""How often all answers are awaited before more is sent."""


class SessionPublisher(Client):
    """Its publishes are in the log in the order in which it has sent them. It repeats none."""

    def __init__(self, cluster: Cluster, name: str, topic: str, times: int) -> None:
        self.topic = topic
        self._times = times
        self._notes: dict[int, Publish] = {}
        """What has no answer yet."""
        self._process: FrontProcess | None = None
        self._arrives = 0.0
        self._refused = True
        """It does not go on before there is a broker."""
        super().__init__(cluster, name)

    def run(self) -> None:
        for _ in range(self._times):
            self.pause(self.cluster.pace)
            while self._refused:
                self._wait()
                self._refused = not self.cluster.owner(self.topic).process.serving
                self.pause(0.3)
            for _ in range(self.rng.randint(1, AT_ONCE)):
                self._say(self.rng.randint(1, TOGETHER))
                self.pause(GAP)
            if self.rng.random() < WAITS:
                self._wait()
        self._wait()
        self.settle()

    def _wait(self) -> None:
        while self._notes:
            self.task.wait(60.0)

    def _say(self, count: int) -> None:
        process = self.cluster.fronts[self._front].process
        if process is not self._process:
            self._process, self._session = process, Session(self._heard)
        said, session = [self._next() for _ in range(count)], self._session
        self._arrives = max(self.world.now + self.cluster.network.delay(), self._arrives + SAME_MOMENT)
        self.world.after(self._arrives - self.world.now, lambda: process.say(session, said))

    def _next(self) -> Said:
        self._calls += 1
        ref, body = self._calls, f"{self.name} {self._calls}"
        if self.rng.random() < LARGE:
            body = body.ljust(20_000, ".")
        note = self._notes[ref] = Publish(self.name, self.topic, self.world.moment(), body=body.encode())
        self.cluster.history.add(note)
        self.world.note("says", self.name, ref)
        return Said(ref=ref, topic=self.topic, text=body)

    def _heard(self, answer: Answer, ref: int) -> None:
        self.world.after(self.cluster.network.delay(), lambda: self._hear(ref, answer))

    def _hear(self, ref: int, answer: Answer) -> None:
        note = self._notes.pop(ref)
        self.world.note("hears", self.name, ref, answer.code or "ok", answer.result)
        self.expect(answer.code, "publish")
        note.done, note.outcome = self.world.now, outcome_of(answer.code)
        self._refused |= bool(answer.code)
        if not answer.code:
            note.msg_id = answer.result
        elif answer.code == "topic-full":
            note.outcome = Outcome.FAILED
        if answer.code in (LOST, REFUSED):
            self._front = (self._front + 1) % len(self.cluster.fronts)
        if note.outcome is Outcome.UNKNOWN:
            self.settled_at = self.world.now + self.cluster.timeout + 1.0
        self.task.wake()
