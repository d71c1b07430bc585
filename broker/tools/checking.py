"""Checks a store that no broker uses: would a broker start on it, and could it read everything."""

from __future__ import annotations

from typing import NamedTuple

from broker.errors import DamagedError, MisfitError, UnusableStoreError
from broker.state.state import State
from broker.state.topic import Topic
from broker.store.base import LostMessage
from broker.store.sqlite.inspection import Inspection

NAMED = 5
"""Damaged messages that are named, at most."""


class Damage(NamedTuple):
    """Messages that cannot be read. A broker sets them aside and serves the rest."""

    messages: int
    named: list[str]
    """The ids of the first of them."""

    def __str__(self) -> str:
        more = ", ..." if self.messages > len(self.named) else ""
        return f"{self.messages} messages cannot be read ({', '.join(self.named)}{more})"


def check(inspection: Inspection) -> Damage | None:
    """Read all of a store.

    Return its damage, None where it is whole. Raises `UnusableStoreError` for one on which a broker would not start. A
    store of an older schema is checked page by page only.
    """
    loader = inspection.loader()
    if loader is None:
        inspection.check()
        return None
    state = State()
    try:
        for record in loader.read():
            state.apply(record)
    except MisfitError as error:
        raise UnusableStoreError(f"{inspection.path}: inconsistent: {error}") from None
    lost = [*loader.lost, *(each for topic in state.topics.values() for each in _unreadable(inspection, topic))]
    if lost:
        return Damage(sum(each.messages for each in lost), [each.id for each in lost[:NAMED]])
    inspection.check()
    return None


def _unreadable(inspection: Inspection, topic: Topic) -> list[LostMessage]:
    lost = []
    for piece in topic.pieces(topic.head_seq) if topic.messages else ():
        try:
            inspection.read(piece.id)
        except DamagedError as error:
            lost.append(LostMessage(f"{topic.epoch}-{piece.first}", piece.count, str(error)))
    return lost
