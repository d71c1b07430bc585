"""What is broken on purpose, to show that the simulation of moves would find it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from broker.dispatch import mover
from broker.dispatch.mover import Job, Mover
from broker.dispatch.refusals import Refusals
from broker.operations import taking
from broker.operations.context import Context
from broker.operations.export import Copied, parts_of
from broker.operations.packing import Part
from broker.slot_records import SlotStays
from common.clock import Now
from httpfront.gateway.broker_socket import BrokerSocket
from httpfront.gateway.slot_queue import SlotQueue


@contextmanager
def thaw_without_asking() -> Iterator[None]:
    """A source that was restarted serves its slot again at once."""

    def resume(self: Mover, now: Now) -> None:
        for slot, it in list(self._context.state.slots.leaving.items()):
            self._context.emit(SlotStays(slot, it.move))

    with patch.object(Mover, "resume", resume):
        yield


@contextmanager
def thaw_in_doubt() -> Iterator[None]:
    """A source serves its slot again as soon as its target does not answer."""

    def doubt(self: Mover, job: Job, reason: str) -> None:
        job.reason = reason
        self._stay(job, Now(job.frozen_us, 0, 0))

    with patch.object(Mover, "_doubt", doubt):
        yield


@contextmanager
def send_before_it_is_settled() -> Iterator[None]:
    """The first part leaves in the turn that freezes the slot: the source may forget that it was frozen."""
    freeze = Mover._freeze

    def hasty(self: Mover, job: Job, now: Now) -> None:
        freeze(self, job, now)
        link: Any = self._links.to(job.to)
        self._send(job, link, now)

    with patch.object(Mover, "_freeze", hasty):
        yield


@contextmanager
def forget_refused_moves() -> Iterator[None]:
    """A target drops what has come, and does not remember that it has refused the move."""
    drop = taking.drop

    def forgetful(context: Context, slot: int, source: str, move: int) -> None:
        if slot in context.state.slots.coming:
            before = context.state.slots.seen.get(source, 0)
            drop(context, slot, source, move)
            context.state.slots.seen[source] = min(before, move - 1)

    with patch.object(taking, "drop", forgetful):
        yield


@contextmanager
def skip_what_came_since() -> Iterator[None]:
    """Pieces that came after the copy of a slot began are not sent when it is frozen."""

    def parts(context: Context, slot: int, copied: Copied) -> Iterator[Part]:
        state = context.state
        for name, log in copied.items():
            topic = state.topics.get(name)
            if topic is not None and log.continues(topic):
                log.next_seq = topic.next_seq
        return parts_of(context, slot, copied)

    with patch.object(mover, "parts_of", parts):
        yield


def forget_refusals() -> AbstractContextManager[Any]:
    """A broker executes what a front has sent before it knew that an earlier request was refused."""
    return patch.object(Refusals, "overtakes", lambda self, peer_id, slot, taken: False)


@contextmanager
def overtake_at_the_former_owner() -> Iterator[None]:
    """A front that hears where a slot is sends on at once, whatever the former owner has not answered yet."""
    with patch.object(SlotQueue, "must_wait", lambda self: False), patch.object(BrokerSocket, "slots", lambda self: ()):
        yield


FLAWS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "thaw without asking": thaw_without_asking,
    "thaw in doubt": thaw_in_doubt,
    "send before it is settled": send_before_it_is_settled,
    "forget refused moves": forget_refused_moves,
    "skip what came since": skip_what_came_since,
}
