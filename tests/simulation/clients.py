"""What publishers and readers have in common: one call at a time, everything noted in the history."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from common.errors import ERRORS
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.gateway.gateway import GRACE_S
from tests.e2e.history import Outcome
from tests.simulation.fronts import LOST, REFUSED, Answer, Visit
from tests.simulation.world import Task

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

LOSES_ANSWER = 0.01
"""How often a client's connection ends before it has read its answer, while there are faults."""
VANISHES = 0.1
"""How often the client of a long poll closes its connection while it waits."""
EXPECTED = {
    *(
        "",
        LOST,
        REFUSED,
        "outcome-unknown",
        "broker-down",
        "loading",
        "draining",
        "paused",
        "wrong-incarnation",
        "expired",
    ),
    *("topic-full", "too-many-leases", "lease-lost", "no-subscription"),
}
"""Answers that a client may get at all."""
OF_MOVES = {"moving", "not-owner"}
"""And where slots move, after all the time that a request has."""
OF_A_LOG = {"standby", "log-stalled", "storage-full"}
"""And from a broker with candidates."""
NOTHING = ops.Nothing()


def outcome_of(code: str) -> Outcome:
    """404, 409 and 410 are answers too: there was nothing to do it with."""
    if code in ("", REFUSED, LOST):
        return {"": Outcome.OK, REFUSED: Outcome.FAILED, LOST: Outcome.UNKNOWN}[code]
    status = ERRORS[code].status
    if status in (404, 409, 410):
        return Outcome.OK
    return Outcome.FAILED if status in (429, 503) else Outcome.UNKNOWN


class Client:
    """Calls a front, another one after a broken connection."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.name = name
        self.rng = Random(f"{self.world.seed}/{name}")
        self.settled_at = 0.0
        """From then on nothing of what is unknown to this client will be executed any more."""
        self._front = self.rng.randrange(len(cluster.fronts))
        self._calls = 0
        self._answer: Answer | None = None
        cluster.at_work += 1
        self.task = Task(self.world, self._work)

    def _work(self) -> None:
        self.run()
        self.cluster.at_work -= 1

    def run(self) -> None:
        """Until nothing is left to do."""
        raise NotImplementedError

    def pause(self, most: float) -> None:
        """Thinks for at most this many seconds."""
        self.task.sleep(self.rng.uniform(0.0, most))

    def settle(self) -> None:
        """Waits until nothing can be executed any more that this client has asked for."""
        if self.world.now < self.settled_at:
            self.task.sleep(self.settled_at - self.world.now)

    def ask(
        self,
        op: Op,
        topic: bytes,
        user: bytes = b"",
        args: Struct = NOTHING,
        wait: float = 0.0,
        body: bytes | None = None,
    ) -> Answer:
        """One call, and what this client gets to know of it."""
        process = self.cluster.fronts[self._front].process
        call = self._calls = self._calls + 1
        self._answer = None
        self.world.note("asks", self.name, call, op.name, topic, user, process.name, *([wait] if wait else []))
        visit = Visit(op, topic, user, args, wait, body, lambda answer: self._comes_back(call, answer))
        self.world.after(self.cluster.network.delay(), lambda: process.accept(visit))
        if wait and self.rng.random() < VANISHES and not self.cluster.healed:
            self.world.after(self.rng.uniform(0.0, wait), lambda: self._vanish(call, visit, process))
        while self._answer is None:
            self.task.wait(60.0)
        answer: Answer = self._answer
        self.world.note("hears", self.name, call, answer.code or "ok", _brief(answer.result))
        self.expect(answer.code, op.name)
        if answer.code in (LOST, REFUSED):
            self._front = (self._front + 1) % len(self.cluster.fronts)
        if outcome_of(answer.code) is Outcome.UNKNOWN:
            self.settled_at = self.world.now + self.cluster.timeout + 2 * GRACE_S
        return answer

    def expect(self, code: str, asked: str) -> None:
        """Nothing else may be answered."""
        of_cluster = (OF_A_LOG if self.cluster.groups else set()) | (OF_MOVES if self.cluster.moves else set())
        if code not in EXPECTED | of_cluster:
            self.world.fail(f"{self.name} was answered {code} to {asked}")

    def _comes_back(self, call: int, answer: Answer) -> None:
        lost = self.rng.random() < LOSES_ANSWER and not self.cluster.healed
        self.world.after(self.cluster.network.delay(), lambda: self._hear(call, Answer(LOST) if lost else answer))

    def _vanish(self, call: int, visit: Visit, process: Any) -> None:
        if not visit.over and call == self._calls and self._answer is None:
            self.world.note("vanishes", self.name, call)
            process.vanish(visit)
            self._hear(call, Answer(LOST))

    def _hear(self, call: int, answer: Answer) -> None:
        if call == self._calls and self._answer is None:
            self._answer = answer
            self.task.wake()


def _brief(result: Any) -> str:
    """What matters of a result, for the trace."""
    if isinstance(result, ops.Message):
        return f"{result.epoch}-{result.seq} attempt {result.attempt} {result.body[:24]!r}"
    if isinstance(result, ops.Batch):
        return " ".join(f"{result.epoch}-{run.first}+{run.count}.{run.attempt}" for run in result.runs)
    return "" if result is None else repr(result)
