"""Clients that publish: single messages and batches, with and without keys, with a ttl, and later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from common.protocol import ops
from common.protocol.ops import Op
from common.protocol.wire import LARGE_BODY
from tests.e2e.history import Outcome, Publish
from tests.simulation.clients import Client, outcome_of
from tests.simulation.fronts import Answer
from tests.support.driver import batch

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

ENDLESS = float("inf")
REPEATS = 0.3
"""How often what was answered is said again under its key: the client has not understood the answer."""
LARGE = 0.04
"""How often a body is so large that it travels as a frame of its own."""


class Publisher(Client):
    """Publishes a number of times, one after another."""

    def __init__(self, cluster: Cluster, name: str, topic: str, kinds: list[str], times: int) -> None:
        """Choose from `kinds`: `single`, `batch`, `ttl`, `delay`, `keyed`.

        A `keyed` publish is repeated under its key until its outcome is known.
        """
        self.topic = topic
        self._kinds = kinds
        self._times = times
        super().__init__(cluster, name)

    def run(self) -> None:
        for number in range(1, self._times + 1):
            self.pause(self.cluster.pace)
            self._publish(number, self.rng.choice(self._kinds).split("-"))
        self.settle()

    def _publish(self, number: int, kinds: list[str]) -> None:
        body = f"{self.name} {number}".encode()
        if self.rng.random() < LARGE and "batch" not in kinds:
            body = body.ljust(LARGE_BODY, b".")
        bodies = [body + b".%d" % n for n in range(self.rng.randint(2, 5))] if "batch" in kinds else [body]
        key = body[:60] if "keyed" in kinds else b""
        args = ops.Publish(b"", b"" if len(body) >= LARGE_BODY else body)
        if "batch" in kinds:
            args = batch(*bodies)
        ttl = self.rng.randint(100, 2000) if "ttl" in kinds else 0
        delay = self.rng.randint(1, 1500) if "delay" in kinds else 0
        args = replace(args, ttl=ttl, delay=delay, key=key, digest=body[:16].rjust(16) if key else b"")
        note = Publish(self.name, self.topic, self.world.now, body=body, key=key.decode())
        note.batch = tuple(bodies) if len(bodies) > 1 else ()
        self.cluster.history.add(note)
        if ttl:
            self.cluster.ttls.update(((self.topic, each), ttl) for each in bodies)
        answer = self._say(args, body if len(body) >= LARGE_BODY else None, note)
        note.done = ENDLESS if delay else self.world.now  # what is delayed is published later
        published = answer.result
        if published is not None and published.epoch:
            note.msg_id = f"{published.epoch}-{published.seq}"

    def _say(self, args: ops.Publish, body: bytes | None, note: Publish) -> Answer:
        """Once; or with a key until it is known what became of it, and sometimes again: then the first counts."""
        success: Answer | None = None
        unknown = False
        while True:
            answer = self.ask(Op.PUBLISH, self.topic.encode(), args=args, body=body)
            outcome = outcome_of(answer.code)
            unknown |= outcome is Outcome.UNKNOWN
            if outcome is Outcome.OK:
                stored = success is not None and bool(success.result.subscribers or success.result.due_ms)
                if success is None or not stored:
                    success = answer  # with nobody there nothing was kept, the key neither
                else:
                    self._check_replay(success.result, answer.result)
            known = success is not None or answer.code == "topic-full"
            if not args.key or (self.cluster.forgets and (unknown or known)):
                break
            if known and self.rng.random() >= REPEATS:
                break
            self.pause(0.2)
        if outcome is Outcome.FAILED and unknown:
            outcome = Outcome.UNKNOWN
        note.outcome = Outcome.OK if success is not None else outcome
        return success or answer

    def _check_replay(self, first: ops.Published, again: ops.Published) -> None:
        state = self.cluster.owner(self.topic).process.state
        if state is None or state.calendar.steps or self.cluster.moves:
            again = replace(again, due_ms=first.due_ms)  # by a clock that was set, or another: a date of that moment
        if replace(again, replayed=first.replayed) != first or not again.replayed:
            self.world.fail(f"{self.name} was answered {first}, and {again} to the same under the same key")
