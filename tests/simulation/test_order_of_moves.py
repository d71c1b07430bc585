"""Publishes of one session keep their order while their slot is frozen, stays after all, or arrives elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from broker.thresholds import DEFAULT
from common.cluster.slots import slot_of
from common.protocol import move_ops as mv
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.sessions.operations import Publish
from tests.simulation.brokers import Broker
from tests.simulation.cluster import map_of
from tests.simulation.disks import Kept
from tests.simulation.fronts import Answer, Front, Session, Visit, virtual_time
from tests.simulation.move_flaws import forget_refusals, overtake_at_the_former_owner
from tests.simulation.network import Network
from tests.simulation.run import failures_of
from tests.simulation.world import World

DELAY = 0.01
"""Seconds that every message needs."""
MAP = map_of(2)
TOPIC = b"t0"
SLOT = slot_of(TOPIC)
PUBLISHES = 60


class Script:
    """Two brokers, a front and a session, which do what they are told at certain moments."""

    def __init__(self) -> None:
        self.world = World(1)
        self.network = Network(self.world, lambda: DELAY)
        self.brokers = {
            each.id: Broker(self.world, self.network, each, MAP, Kept(Random(each.id)), moves=True)
            for each in MAP.addresses
        }
        self.front = Front(self.world, self.network, "f", MAP, 10.0)
        self.source = self.brokers[MAP.owners[SLOT]]
        self.target = next(each for each in self.brokers.values() if each is not self.source)
        for each in self.brokers.values():
            each.thresholds = DEFAULT._replace(part_records=1)  # several are on their way
            each.rate, each.slow = 1.0, 0.0
        self.session = Session(self._answered)
        self.codes: list[str] = []
        self.seqs: dict[int, int] = {}
        """Of what was published, by number."""
        self.at(2.0, self.ask, Op.SUBSCRIBE, ops.Settings(), "", b"u")
        for number in range(1000, 1008):
            self.at(2.5, self.publish, number)
        self.at(3.0, self.ask, Op.MOVE, mv.MoveSlot(SLOT, self.target.id), self.source.id)

    def at(self, moment: float, do: Any, *args: Any) -> None:
        self.world.after(moment - self.world.now, lambda: do(*args))

    def when(self, condition: Callable[[], bool], do: Callable[[], None]) -> None:
        """Do something within a millisecond of its condition, once."""

        def look() -> None:
            if self.world.now > 3.0 and condition():
                do()
            else:
                self.world.after(0.001, look)

        look()

    def slots_of(self, broker: Broker) -> Any:
        state = broker.process.state
        assert state is not None
        return state.slots

    def publish(self, number: int) -> None:
        said = Publish(ref=number, topic=TOPIC.decode(), text=str(number))
        self.front.process.say(self.session, [said])

    def ask(self, op: Op, args: Any, broker: str = "", user: bytes = b"") -> None:
        topic = b"" if broker else TOPIC
        self.front.process.accept(Visit(op, topic, user, args, 0.0, None, self._heard, broker=broker))

    def run(self, until: float) -> None:
        with virtual_time(), failures_of(self.world):
            self.world.run(lambda: self.world.now >= until or bool(self.world.found), until)
            for broker in self.brokers.values():
                broker.over = True
                broker.process.task.kill()
            self.front.process.kill()
        assert not self.world.found, self.world.found
        assert set(self.codes) == {""}

    def _heard(self, answer: Answer) -> None:
        self.codes.append(answer.code)

    def _answered(self, answer: Answer, number: int) -> None:
        self.codes.append(answer.code)
        if answer.code:
            return
        self.seqs[number] = int(answer.result.rpartition("-")[2])


def one_that_stays(offset: float) -> list[int]:
    """Return the places in the log of what was published around the moment when a frozen slot is served again.

    The first publish is sent `offset` seconds after its target has refused the slot.
    """
    script = Script()

    def frozen() -> None:
        script.target.freeze(0.4)
        script.ask(Op.MOVE_ABORT, mv.AbortMove(SLOT), script.source.id)
        for number in range(PUBLISHES):
            script.at(script.world.now + 0.4 + offset + number / 1000, script.publish, number)

    script.when(lambda: SLOT in script.slots_of(script.source).leaving, frozen)
    script.run(8.0)
    assert SLOT in script.slots_of(script.source).epochs
    return [script.seqs[number] for number in range(PUBLISHES)]


def one_that_arrives(offset: float) -> list[int]:
    """Return the same of two publishes where the former owner is slow to say that the slot has left.

    The second one is sent `offset` seconds after the slot has arrived.
    """
    script = Script()

    def arrived() -> None:
        script.source.freeze(2.0)
        script.at(script.world.now + 0.05, script.publish, 0)
        script.at(script.world.now + offset, script.publish, 1)

    script.when(lambda: SLOT in script.slots_of(script.target).epochs, arrived)
    script.run(8.0)
    return [script.seqs[number] for number in range(2)]


@pytest.mark.parametrize(
    ("publish", "offsets", "flaw"),
    [
        (one_that_stays, (-0.01, 0.0, 0.01, 0.02), forget_refusals),
        (one_that_arrives, (1.2, 1.6), overtake_at_the_former_owner),
    ],
)
def test_nothing_overtakes(publish: Callable[[float], list[int]], offsets: tuple[float, ...], flaw: Any) -> None:
    for offset in offsets:
        places = publish(offset)
        assert places == sorted(places)
    with flaw():
        assert any(places != sorted(places) for places in map(publish, offsets))
