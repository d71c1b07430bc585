"""Slots that move between the brokers of a cluster, and where they are."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from common.cluster.slots import slot_of
from common.protocol import move_ops as mv
from common.protocol.ops import Op
from tests.simulation.brokers import Broker
from tests.simulation.fronts import Answer, Visit

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

MOVES = (5, 20)
"""Requests to move a slot in a run."""
ABORTS = 0.5
"""How often one is followed by its end."""


class Slots:
    """Of the topics of one run, with the operator who moves them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._topics = {slot_of(topic.encode()): topic for topic in cluster.topics}
        self._last: dict[int, str] = {slot: cluster.map.owners[slot] for slot in self._topics}

    def begin(self, rng: Random, until: float) -> None:
        """Move slots at moments that the seed draws, seconds before `until`."""
        for _ in range(rng.randint(*MOVES)):
            self._world.after(rng.uniform(0.4, until + 0.5), lambda: self._move(rng))

    def owner(self, slot: int) -> Broker:
        """The process that owns a slot: of those whose state says so, that of the greatest epoch."""
        places = [self._cluster.place(each.id) for each in self._cluster.map.brokers]
        epochs = {each.id: each.process.state.slots.epochs.get(slot, 0) for each in places if each.process.state}
        newest = max(epochs, key=lambda each: epochs[each], default="")
        if newest and epochs[newest]:
            self._last[slot] = newest
        return self._cluster.place(self._last[slot])

    @property
    def arrived(self) -> int:
        """How often a slot has arrived somewhere."""
        return sum(max(each.get(slot, 1) for each in self._epochs()) - 1 for slot in self._topics)

    def at_rest(self) -> bool:
        """Nothing is on the move, and nothing is left of what has moved.

        What has come of a slot whose source was restarted may stay until something else comes of it.
        """
        for each in self._cluster.map.brokers:
            process = self._cluster.place(each.id).process
            if not process.serving or process.state is None or process.dispatcher is None:
                return False
            if process.state.slots.leaving or process.dispatcher.context.residue:
                return False
        return True

    def judge(self) -> None:
        """In the end every slot is in one place."""
        for slot, topic in self._topics.items():
            states: list[Any] = [self._cluster.place(each.id).process.state for each in self._cluster.map.brokers]
            serving = sum(each.slots.served[slot] for each in states)
            holding = sum(topic.encode() in each.topics and slot not in each.slots.coming for each in states)
            if serving != 1 or holding > 1:
                self._world.fail(f"slot {slot} is served in {serving} places, and {topic} is in {holding}")

    def _epochs(self) -> list[Any]:
        states = [self._cluster.place(each.id).process.state for each in self._cluster.map.brokers]
        return [each.slots.epochs for each in states if each is not None]

    def _move(self, rng: Random) -> None:
        slot = rng.choice(list(self._topics))
        source = self.owner(slot).id
        to = rng.choice([each.id for each in self._cluster.map.brokers if each.id != source])
        self._ask(rng, source, Op.MOVE, mv.MoveSlot(slot, to))
        if rng.random() < ABORTS:
            later = rng.uniform(0.0, 6.0) * self._cluster.network.delay()  # as a move takes
            self._world.after(later, lambda: self._ask(rng, source, Op.MOVE_ABORT, mv.AbortMove(slot)))

    def _ask(self, rng: Random, broker: str, op: Op, args: Any) -> None:
        def heard(answer: Answer) -> None:
            self._world.note("the operator hears", answer.code, repr(answer.result))

        process = rng.choice(self._cluster.fronts).process
        self._world.note("the operator asks", broker, op.name, args)
        process.accept(Visit(op, b"", b"", args, 0.0, None, heard, broker=broker))
