"""Moves slots between broker cores without sockets, and asks two cores the same."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from broker.operations.export import parts_of
from broker.slot_records import Owns, bitmap_of
from common.cluster.slots import SLOTS
from common.protocol import move_ops as mv
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import Answer, BrokerDriver

ALL = bitmap_of(range(SLOTS))
NONE = bitmap_of(())


def own(broker: BrokerDriver, slots: bytes) -> None:
    """Let its store say what a broker owns."""
    broker.dispatcher.context.emit(Owns(slots, 1))
    broker.commit()


def parts(source: BrokerDriver, slot: int, move: int = 1) -> list[mv.Adopt]:
    """Return all parts of a slot."""
    now, made = source.clock.now(), []
    for n, part in enumerate(parts_of(source.dispatcher.context, slot), 1):
        made.append(mv.Adopt("b0", slot, 1, move, n, part.last, now.mono, now.time, part.body))
    return made


def move_all(source: BrokerDriver, target: BrokerDriver) -> None:
    """Let the target take whatever the source has; the source keeps it."""
    for move, slot in enumerate(sorted(source.state.slots.names), 1):
        for part in parts(source, slot, move):
            answer = target.ask(Op.ADOPT, args=part)
            assert answer.code == "", answer
        assert answer.result == mv.Adopted(part.n, 2)
        target.commit()


class Twins:
    """Two brokers that must answer alike. Stands in for a `BrokerDriver`."""

    def __init__(self, first: BrokerDriver, second: BrokerDriver) -> None:
        self.first, self.second = first, second
        self.ahead_ms = second.clock.now().time - first.clock.now().time
        self.differences: list[str] = []

    @property
    def state(self) -> Any:
        return self.first.state

    def __getattr__(self, name: str) -> Any:
        def both(*args: Any, **options: Any) -> Any:
            one, other = (getattr(each, name)(*args, **options) for each in (self.first, self.second))
            if plain(one, 0) != plain(other, self.ahead_ms):
                self.differences.append(f"{name}{args}: {one} and {other}")
            return one

        return both


def plain(answer: Any, ahead_ms: int) -> Any:
    """Return an answer as plain values, with the times of another clock."""
    if isinstance(answer, Answer):
        return (answer.code, answer.detail, answer.fields, plain(answer.result, ahead_ms))
    if isinstance(answer, list):
        return [plain(each, ahead_ms) for each in answer]
    if isinstance(answer, Struct):
        values = msgspec.structs.asdict(answer)
        for field in ("time", "due_ms"):
            if values.get(field):
                values[field] -= ahead_ms
        if isinstance(answer, ops.DelayedRow):
            del values["number"]
        return {key: plain(value, ahead_ms) for key, value in values.items()}
    return answer
