"""Connections of a tool to all brokers, and what these say of their slots."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from msgspec import Struct, structs

from broker.tools.candidates import find_owner
from broker.tools.control import Control
from common.cluster.slot_plan import described_slots, owners_of
from common.cluster.slots import SLOTS, ClusterMap, SlotOwner
from common.errors import FanmailError
from common.keys.curve import KeyPair
from common.protocol import move_ops
from common.protocol.ops import Op

ANSWER_S = 3.0
"""Time that a broker has to answer."""
AT_ONCE = 32
_LOST = ("broker-down", "standby", "draining", "loading", "log-stalled")
"""Errors after which another process may be the one to ask."""


class View(NamedTuple):
    """What the brokers say of their slots."""

    tables: dict[str, move_ops.SlotTable]
    """Of the brokers that have answered."""
    silent: dict[str, str]
    """Why the others have not."""
    owners: list[str]
    """By slot; "" where no broker says that it is its own."""
    epochs: list[int]

    @property
    def unowned(self) -> list[int]:
        """Return the slots that no broker has named as its own."""
        return [slot for slot, owner in enumerate(self.owners) if not owner]

    @property
    def table(self) -> list[SlotOwner]:
        """Return the owner of each slot."""
        return [SlotOwner(*each) for each in zip(self.owners, self.epochs, strict=True)]

    def sizes(self) -> dict[int, move_ops.SlotSize]:
        """Return what is in each slot that is not empty, as far as sizes were asked for."""
        return {
            size.slot: size
            for broker, table in self.tables.items()
            for size in table.sizes
            if self.owners[size.slot] == broker
        }

    def moves(self) -> list[move_ops.MoveRow]:
        """Return the moves under way, as their sources see them."""
        return [
            row
            for broker, table in sorted(self.tables.items())
            for row in table.moves
            if row.source == broker and row.state in UNDER_WAY
        ]


UNDER_WAY = ("offering", "copying", "leaving", "asking")
"""States of a move that has not ended."""


class Links:
    """A connection to each broker, made when it is needed. A context manager."""

    def __init__(self, cluster: ClusterMap, keys: KeyPair | None) -> None:
        """`keys` have passed `check_front`."""
        self.cluster, self._keys = cluster, keys
        self._open: dict[str, Control] = {}

    def ask(self, broker: str, op: Op, args: Struct) -> Any:
        """Return the result of an operation that names no topic. Raises the broker's error, and `broker-down`."""
        control = self._open.get(broker)
        try:
            if control is None:
                control = self._open[broker] = self._connect(broker)
                control.check()
            return control.ask(op, args)
        except FanmailError as error:
            if error.code in _LOST:
                self.forget(broker)
            raise

    def forget(self, broker: str) -> None:
        """Close the connection to a broker."""
        control = self._open.pop(broker, None)
        if control is not None:
            control.__exit__(None, None, None)

    def view(self, brokers: Collection[str] = (), *, sizes: bool = False) -> View:
        """Ask these brokers, or all, at the same time; with `sizes` also for what is in their slots."""
        ids = list(brokers) or [each.id for each in self.cluster.brokers]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            said = dict(zip(ids, pool.map(partial(self._ask_slots, sizes=sizes), ids), strict=True))
        tables = {broker: each for broker, each in said.items() if isinstance(each, move_ops.SlotTable)}
        silent = {broker: each for broker, each in said.items() if isinstance(each, str)}
        owned = (
            (broker, described_slots(self.cluster.owners, broker) if table.status == "memory" else table.owned)
            for broker, table in tables.items()
        )
        return View(tables, silent, *owners_of(owned))

    def _ask_slots(self, broker: str, *, sizes: bool) -> move_ops.SlotTable | str:
        try:
            table: move_ops.SlotTable = self.ask(
                broker, Op.SLOTS, move_ops.ListSlots(0 if sizes else move_ops.NO_SIZES)
            )
            more = table
            while sizes and more.sizes_next < SLOTS:
                more = self.ask(broker, Op.SLOTS, move_ops.ListSlots(more.sizes_next))
                table = structs.replace(table, sizes=[*table.sizes, *more.sizes])
        except FanmailError as error:
            return error.detail or error.code
        return table

    def _connect(self, broker: str) -> Control:
        source = find_owner(self.cluster, broker, self._keys)
        return Control(self.cluster, broker, self._keys, source.host, ANSWER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for broker in list(self._open):
            self.forget(broker)
