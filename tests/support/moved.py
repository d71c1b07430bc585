"""Moves slots between broker cores without sockets, and asks two cores the same."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from broker.operations.copying import Copy
from broker.operations.export import parts_of
from broker.operations.packing import Part
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
    Moving(source, target).end()


class Moving:
    """All slots of a source on their way to a target, as a mover sends them."""

    def __init__(self, source: BrokerDriver, target: BrokerDriver) -> None:
        self.source, self.target = source, target
        self.copies: dict[int, Copy] = {}
        self._sent: dict[int, tuple[int, int]] = {}
        """The move of each slot that has begun to come, and its number of parts."""

    def copy_some(self, slot: int) -> None:
        """Copy some of a slot that is in use."""
        context = self.source.dispatcher.context
        copy = self.copies.setdefault(slot, Copy(context, slot))
        copy._context = context  # the source may have been restarted, so that tests know its idle clocks
        part = copy.next_part()
        if part is not None:
            self._adopt(slot, part)

    def end(self) -> None:
        """Send the rest of all slots, which are frozen from here on."""
        for slot in sorted({*self.source.state.slots.names, *self.copies}):
            copied = self.copies[slot].logs if slot in self.copies else {}
            for part in parts_of(self.source.dispatcher.context, slot, copied):
                self._adopt(slot, part)

    def _adopt(self, slot: int, part: Part) -> None:
        move, n = self._sent.get(slot, (len(self._sent) + 1, 0))
        self._sent[slot] = (move, n + 1)
        now = self.source.clock.now()
        args = mv.Adopt("b0", slot, 1, move, n + 1, part.last, now.mono, now.time, part.body)
        assert self.target.ask(Op.ADOPT, args=args).result == mv.Adopted(n + 1, 2 * part.last)
        self.target.commit()


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
