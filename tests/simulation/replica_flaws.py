"""Negative controls: what a broken candidate would do to clients, or to its own copy. Each must be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from broker.records import MessageStored, Record, SubscriptionSet
from broker.replica.entry import Entry, Genesis
from broker.replica.local_state import LocalState
from broker.replica.space import Space
from broker.replica.store import ReplicaStore
from common.clock import Mark, SystemClock
from tests.simulation.flaws import reply_before_commit


def purge_what_one_has() -> AbstractContextManager[Any]:
    """The owner purges what its own store has."""
    return patch.object(Space, "floor", lambda self, stored, now, prompt=False: stored)


def continue_no_clock() -> AbstractContextManager[Any]:
    """A new owner goes on with its own clocks: what was leased until a time is leased until another one."""
    restart = SystemClock.restart

    def once(self: SystemClock, mark: Mark | None) -> None:
        if not hasattr(self, "_offset"):
            restart(self, mark)

    return patch.object(SystemClock, "restart", once)


@contextmanager
def store_before_it_is_settled() -> Iterator[None]:
    """The owner's store is given a burst when it is begun."""
    begin = ReplicaStore.begin

    def flawed(self: ReplicaStore, burst: list[Record], clock: Mark, cuts: Any = ()) -> None:
        begin(self, burst, clock, cuts)
        for n, part in enumerate(self._parts):
            self.local.add(list(part.records), len(part.payload), self._who.clock())
            self._parts[n] = part._replace(records=())

    with patch.object(ReplicaStore, "begin", flawed):
        yield


@contextmanager
def _applying(flawed: Callable[[Record], bool]) -> Iterator[None]:
    apply = LocalState.apply

    def leaves_out(self: LocalState, entry: Entry, owner: Genesis, now: float) -> None:
        right = self.state.apply
        with patch.object(self.state, "apply", lambda record: None if flawed(record) else right(record)):
            apply(self, entry, owner, now)

    with patch.object(LocalState, "apply", leaves_out):
        yield


def follow_without_positions() -> AbstractContextManager[Any]:
    """A standby misses where readers stand, now and then."""
    return _applying(lambda record: isinstance(record, SubscriptionSet) and record.position % 5 == 4)


def follow_without_a_message() -> AbstractContextManager[Any]:
    """A standby misses the last message of a topic."""
    return _applying(lambda record: isinstance(record, MessageStored) and record.seq == 7)


FLAWS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "reply before commit": reply_before_commit,
    "purge what one has": purge_what_one_has,
    "continue no clock": continue_no_clock,
    "store before it is settled": store_before_it_is_settled,
    "follow without positions": follow_without_positions,
    "follow without a message": follow_without_a_message,
}
