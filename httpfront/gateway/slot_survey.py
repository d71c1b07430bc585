"""Asks brokers which slots they own.

This happens after connecting, when a broker says that its slots have changed, and when one was asked for a slot that it
does not have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from common.protocol import move_ops, wire
from common.protocol.ops import Op
from common.protocol.wire import WireError
from httpfront.gateway.asking import Post
from httpfront.gateway.broker_socket import BrokerSocket
from httpfront.gateway.call import Answer
from httpfront.gateway.slot_table import SlotTable

EVERY_S = 0.1
"""Shortest time between two questions to one broker."""
ANSWER_S = 5.0


class SlotSurvey:
    """Belongs to the hub's thread."""

    def __init__(
        self, table: SlotTable, in_use: Mapping[str, BrokerSocket], post: Post, learned: Callable[[], None]
    ) -> None:
        """`post` sends a call in this turn. `learned` is called after each answer."""
        self._table, self._in_use, self._post, self._learned = table, in_use, post, learned
        self._known: dict[str, tuple[int, int]] = {}
        """Incarnation and version of the slots of each broker, as of the last question to it."""
        self._asked_at: dict[str, float] = {}

    def look(self, now: float) -> None:
        """Ask the brokers whose slots have changed."""
        for name, socket in self._in_use.items():
            status = socket.status
            if status.up and status.slots_version and self._known.get(name) != _state(socket):
                self._ask(name, socket, now)

    def ask_all(self) -> None:
        """Ask every broker that was not asked just now."""
        now = time.monotonic()
        for name, socket in self._in_use.items():
            if socket.status.up:
                self._ask(name, socket, now)

    def heard(self, slots: move_ops.SlotTable) -> None:
        """Take what a broker says of its slots, and of those that have left it."""
        self._table.hear(
            slots.broker,
            {slot: run.epoch for run in slots.owned for slot in range(run.first, run.last + 1)},
            [(each.slot, each.to, each.epoch) for each in slots.left],
        )
        self._learned()

    def _ask(self, name: str, socket: BrokerSocket, now: float) -> None:
        if now < self._asked_at.get(name, 0.0) + EVERY_S:
            return
        self._asked_at[name] = now
        self._known[name] = _state(socket)
        call = self._post(socket, Op.SLOTS, b"", b"", move_ops.ListSlots(), now + ANSWER_S, None)
        call.waiting = _Answered(self, name)

    def failed(self, name: str) -> None:
        """Ask again later."""
        self._known.pop(name, None)


class _Answered(NamedTuple):
    """Stands in for the greenlet of a question."""

    survey: SlotSurvey
    broker: str

    def switch(self, answer: Answer) -> None:
        """Take the answer."""
        try:
            slots = wire.unpack_result(Op.SLOTS, answer.result) if answer.error is None else None
        except WireError:
            slots = None
        if isinstance(slots, move_ops.SlotTable) and slots.broker == self.broker:
            self.survey.heard(slots)
        else:
            self.survey.failed(self.broker)


def _state(socket: BrokerSocket) -> tuple[int, int]:
    return socket.status.incarnation, socket.status.slots_version
