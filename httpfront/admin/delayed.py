"""`/-/v1/delayed` and `/-/v1/topics/<t>/delayed`: delayed publishes, and their removal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import falcon

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.admin.documents import MOST, PAGE, USUAL, cursor_of, read_cursor, text
from httpfront.admin.listings import pages_of
from httpfront.formats.documents import render
from httpfront.formats.metadata import rfc3339, unpack_headers
from httpfront.formats.ndjson import body_member
from httpfront.formats.params import read_parameters
from httpfront.gateway.gateway import Gateway

SHOWN, SHOWN_BYTES = 10, 4 * 1024 * 1024
"""Maximum messages of a batch that are shown, and their bytes."""
_ID = re.compile(rb"([1-9][0-9]{0,17})-([1-9][0-9]{0,17})").fullmatch


class DelayedTopicsResource:
    """Topics of all brokers with delayed publishes. They need not have subscriptions."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return a page of topics, by name."""
        values = read_parameters(req, PAGE)
        limit, after = values.get("limit", USUAL), values.get("cursor", b"")
        pages, missing = pages_of(self._gateway, Op.DELAYED_TOPICS, ops.ListDelayedTopics, after, limit)
        named = sorted((row.name, broker, row) for broker, (rows, _, _) in pages.items() for row in rows)
        shown = named[:limit]
        done = len(shown) == len(named) and all(page[2] for page in pages.values())
        listed = [
            {"topic": text(name), "broker": broker, "publishes": row.publishes, "memory": row.size}
            for name, broker, row in shown
        ]
        last = shown[-1][0] if shown else after
        render(resp, {"topics": listed, "cursor": None if done else cursor_of(last), "missing": missing})

    on_head = on_get


class DelayedResource:
    """The delayed publishes of a topic, which need not have subscriptions."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._known = PAGE | {"cursor": _read_number}

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: bytes) -> None:
        """Return a page of delayed publishes, in the order in which they were accepted."""
        values = read_parameters(req, self._known)
        limit, after = values.get("limit", USUAL), values.get("cursor", 0)
        rows: list[ops.DelayedRow] = []
        done = False
        while not done and len(rows) < limit:
            page: ops.DelayedPage = self._gateway.call(
                Op.DELAYED, topic, b"", ops.ListDelayed(after, limit - len(rows))
            )
            rows += page.rows
            after, done = page.last, page.done
        members = [_members(row) for row in rows]
        render(resp, {"delayed": members, "cursor": None if done else cursor_of(b"%d" % after)})

    on_head = on_get

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: bytes) -> None:
        """Remove all delayed publishes of the topic, 1,000 per turn of the broker's loop."""
        read_parameters(req, {})
        removed, left = 0, 1
        while left:
            answer: ops.Ended = self._gateway.call(Op.DELAYED_CLEAR, topic, b"", ops.ClearDelayed(MOST))
            removed, left = removed + answer.count, answer.left
        render(resp, {"topic": text(topic), "removed": removed})


class DelayedOneResource:
    """One delayed publish."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: bytes, delayed: bytes) -> None:
        """Return it with its first messages."""
        read_parameters(req, {})
        number, due_ms = _parsed(delayed)
        page: ops.DelayedPage = self._gateway.call(Op.DELAYED, topic, b"", ops.ListDelayed(number - 1, 1, SHOWN_BYTES))
        row = page.rows[0] if page.rows else None
        if row is None or (row.number, row.due_ms) != (number, due_ms):
            raise _unknown()
        shown = [{"bytes": len(body)} | body_member(body) for body in _bodies(row)]
        render(resp, _members(row) | {"first": shown})

    on_head = on_get

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: bytes, delayed: bytes) -> None:
        """Remove it: it will not be published."""
        read_parameters(req, {})
        self._gateway.call(Op.DELAYED_END, topic, b"", ops.EndDelayed(*_parsed(delayed)))
        render(resp, {"topic": text(topic), "removed": 1})


def _members(row: ops.DelayedRow) -> dict[str, Any]:
    kept = dict(unpack_headers(row.headers))
    members: dict[str, Any] = {
        "id": f"{row.number}-{row.due_ms}",
        "due": rfc3339(row.due_ms),
        "messages": row.count,
        "bytes": row.size,
        "ttl": row.ttl / 1000,
        "type": kept.pop("content-type"),
    }
    return members | ({"meta": kept} if kept else {})


def _bodies(row: ops.DelayedRow) -> Iterator[bytes]:
    """Yield the first messages, as far as their bytes are present."""
    if not row.batch:
        yield row.body
        return
    at = 0
    for _ in range(min(row.count, SHOWN)):
        end = at + 4 + int.from_bytes(row.body[at : at + 4], "big")
        if end > len(row.body):
            return
        yield row.body[at + 4 : end]
        at = end


def _read_number(value: str) -> int:
    found = read_cursor(value)
    if not found.isdigit() or len(found) > 18:
        raise ValueError("must be the cursor of an earlier page")
    return int(found)


def _parsed(delayed: bytes) -> tuple[int, int]:
    found = _ID(delayed)
    if found is None:
        raise _unknown()
    return int(found[1]), int(found[2])


def _unknown() -> FanmailError:
    return FanmailError("no-delayed", "this topic has no delayed publish with this id: it was published or removed")
