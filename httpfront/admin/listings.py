"""Listings over several brokers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from msgspec import Struct

from common.errors import FanmailError
from common.protocol.ops import Op
from httpfront.gateway.gateway import Gateway

TIMEOUT_S = 2.0
"""How long a broker has for its part of a listing."""

Page = tuple[list[Any], bytes, bool]
"""Rows, the last visited name, and whether that is all."""
Ask = Callable[[bytes, int], Struct]
"""Returns the arguments for a number of rows after a name."""


def pages_of(
    gateway: Gateway, op: Op, ask: Ask, after: bytes, limit: int, brokers: Collection[str] = (), whole: bool = True
) -> tuple[dict[str, Page], list[str]]:
    """Return a page of each of these brokers, or of all, and the ids of those that gave none.

    With `whole`, pages that a broker cut short are completed by further requests.
    """
    answers = gateway.ask_all(op, ask(after, limit), TIMEOUT_S, brokers)
    missing = sorted(broker for broker, each in answers.items() if isinstance(each, FanmailError))
    pages: dict[str, Page] = {}
    for broker, each in answers.items():
        if broker not in missing:
            rows, last, done = each.rows, each.last, each.done
            while whole and not done and len(rows) < limit:
                more = gateway.ask_all(op, ask(last, limit - len(rows)), TIMEOUT_S, [broker])[broker]
                if isinstance(more, FanmailError):
                    raise more
                rows, last, done = rows + more.rows, more.last, more.done
            pages[broker] = rows, last, done
    return pages, missing
