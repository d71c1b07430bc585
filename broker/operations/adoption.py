"""What comes of a slot from another broker, made records of this one: its own numbers, and times by its own clocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from broker import records
from broker.records import Record
from broker.state.piece import DAMAGED
from broker.state.state import State
from common.clock import Now
from common.cluster.slots import slot_of
from common.protocol.move_ops import Adopt
from common.protocol.wire import WireError

SAME_TIME_MS = 1000
"""Difference of two brokers' times up to which messages keep their times, and so their dates."""

Adoptable = (
    records.TopicBegan
    | records.TopicChanged
    | records.TopicEnded
    | records.MessageStored
    | records.HeadMoved
    | records.SubscriptionSet
    | records.SubscriptionEnded
    | records.SettingsSet
    | records.DeadLettered
    | records.DeadReturned
    | records.Leased
    | records.Returned
    | records.KeyRemembered
    | records.PublishDelayed
)
_decode = msgspec.msgpack.Decoder(list[Adoptable]).decode


class Shift:
    """How far the clocks of this broker are ahead of those of a source."""

    def __init__(self, now: Now, args: Adopt) -> None:
        """`args` is the first part, which has just come: what it took to come makes leases longer, never shorter."""
        self.mono_us = now.mono - args.mono_us
        ahead = now.time - args.time_ms
        self.time_ms = ahead if abs(ahead) > SAME_TIME_MS else 0

    def look(self, now: Now, args: Adopt) -> None:
        """Look at the clocks again: the monotonic one of a machine may have stopped during a long copy."""
        self.mono_us = max(self.mono_us, now.mono - args.mono_us)


class Adoption:
    """A slot that comes. Volatile: after a restart it is dropped."""

    def __init__(self, args: Adopt, now: Now) -> None:
        self.move = args.move
        self.parts = self.records = self.bytes = 0
        """Received."""
        self.heard_us = now.mono
        """When the last part came, microseconds of the monotonic clock."""
        self._shift = Shift(now, args)

    def took(self, records: int, size: int, now: Now) -> None:
        """Note that a part is complete."""
        self.parts += 1
        self.records += records
        self.bytes += size
        self.heard_us = now.mono

    def unpack(self, args: Adopt, now: Now) -> list[Adoptable]:
        """Return the records of a part, which has just come. Raise `WireError`."""
        self._shift.look(now, args)
        try:
            found = _decode(args.body)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise WireError(f"the records of a slot: {error}") from None
        if any(slot_of(each.topic) != args.slot for each in found):
            raise WireError("a record of another slot")
        return found

    def own(self, record: Adoptable, state: State) -> Record:
        """Return the record as this broker writes it."""
        change = _OWN.get(type(record))
        return record if change is None else change(record, state, self._shift)


def _topic(it: records.TopicBegan, state: State, shift: Shift) -> Record:
    return replace(it, number=state.topics_begun + 1)


def _message(it: records.MessageStored, state: State, shift: Shift) -> Record:
    expires = it.expires if it.expires in (0, DAMAGED) else max(DAMAGED + 1, it.expires + shift.time_ms)
    return replace(it, time=it.time + shift.time_ms, expires=expires, piece=state.last_piece + 1)


def _letter(it: records.DeadLettered, state: State, shift: Shift) -> Record:
    letter = it.letter
    expires = letter.expires and letter.expires + shift.time_ms
    return replace(it, letter=replace(letter, time=letter.time + shift.time_ms, expires=expires))


def _leased(it: records.Leased, state: State, shift: Shift) -> Record:
    return replace(it, until_us=max(1, it.until_us + shift.mono_us))


def _returned(it: records.Returned, state: State, shift: Shift) -> Record:
    return replace(it, due_us=max(1, it.due_us + shift.mono_us)) if it.due_us else it


def _key(it: records.KeyRemembered, state: State, shift: Shift) -> Record:
    return replace(it, at_us=it.at_us + shift.mono_us, due_ms=it.due_ms and it.due_ms + shift.time_ms)


def _delayed(it: records.PublishDelayed, state: State, shift: Shift) -> Record:
    return replace(it, number=state.delayed.last_number + 1, due_ms=it.due_ms + shift.time_ms)


_OWN: dict[type[Any], Callable[[Any, State, Shift], Record]] = {
    records.TopicBegan: _topic,
    records.MessageStored: _message,
    records.DeadLettered: _letter,
    records.Leased: _leased,
    records.Returned: _returned,
    records.KeyRemembered: _key,
    records.PublishDelayed: _delayed,
}
