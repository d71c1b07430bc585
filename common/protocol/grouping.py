"""How what goes to one peer is divided into messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from common.protocol.wire import MAX_PACKED, MAX_REQUESTS


class Packed(Protocol):
    """A packed request or reply, with its body where that travels as a frame of its own."""

    @property
    def packed(self) -> bytes: ...

    @property
    def body(self) -> bytes | None: ...


P = TypeVar("P", bound=Packed)


def group_messages(items: Iterable[P], *, in_order: bool = False) -> Iterator[list[P]]:
    """Divides what goes to one peer into messages: small ones together, in order, one with a body of its own alone.

    That may go before smaller ones, unless all must be `in_order`.
    """
    group: list[P] = []
    size = 0
    for each in items:
        if each.body is not None:
            if in_order and group:
                yield group
                group, size = [], 0
            yield [each]
            continue
        if group and (len(group) == MAX_REQUESTS or size + len(each.packed) > MAX_PACKED):
            yield group
            group, size = [], 0
        group.append(each)
        size += len(each.packed)
    if group:
        yield group
