"""`/-/v1/topics`: listings, and the status, settings and end of a topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.admin.documents import MOST, PAGE, USUAL, cursor_of, settings_members, text, topic_members
from httpfront.admin.listings import pages_of
from httpfront.formats.documents import render
from httpfront.formats.params import MILLISECOND, YEAR_S, count, number, one_of, read_parameters, refused, span
from httpfront.gateway.gateway import Gateway

NAMED = 10
"""Maximum users in `oldest_held_by`."""
SEARCHED_TURNS = 50
"""Turns of the broker's loop in which users are searched: 1,000 users per turn, 50,000 in all."""
DEFAULT = "default"
"""In place of a value: the configured one."""


class TopicsResource:
    """Topics of all brokers, or of one, by name."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._known = PAGE | {"prefix": str, "broker": str, "oldest": number(MOST)}

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return a page. `oldest`, which needs `broker`, returns only that many topics with the oldest messages."""
        values = read_parameters(req, self._known)
        limit, after = values.get("limit", USUAL), values.get("cursor", b"")
        oldest, only = values.get("oldest", 0), values.get("broker")
        if only is not None and only not in self._gateway.brokers():
            raise refused("broker", "is not a broker of the cluster")
        if oldest and only is None:
            raise refused("oldest", "needs the parameter 'broker'")
        prefix = values.get("prefix", "").encode()

        def ask(after: bytes, most: int) -> ops.ListTopics:
            return ops.ListTopics(prefix, after, most, oldest)

        pages, missing = pages_of(self._gateway, Op.TOPICS, ask, after, limit, [only] if only else [], not oldest)
        named = sorted((row.name, broker, row) for broker, (rows, _, _) in pages.items() for row in rows)
        shown = named if oldest else named[:limit]
        done = len(shown) == len(named) and all(page[2] for page in pages.values())
        last = max((page[1] for page in pages.values()), default=b"") if oldest else shown[-1][0] if shown else after
        listed = [topic_members(row, broker) for _, broker, row in shown]
        if oldest:
            listed.sort(key=lambda each: -each["oldest_age"])
        render(resp, {"topics": listed, "cursor": None if done else cursor_of(last), "missing": missing})

    on_head = on_get


class TopicAdminResource:
    """One topic."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: bytes) -> None:
        """Return its status, and users who have not read its oldest message."""
        read_parameters(req, {})
        self._show(resp, topic)

    on_head = on_get

    def on_patch(self, req: falcon.Request, resp: falcon.Response, topic: bytes) -> None:
        """Set the given settings and leave the others unchanged. They are kept until the topic ends."""
        values = read_parameters(req, _SETTINGS)
        fields = {"drop_oldest" if name == "overflow" else name: value for name, value in values.items()}
        change = ops.ChangeTopic(list(fields), ops.TopicSettings(**fields))
        self._gateway.call(Op.TOPIC_CHANGE, topic, b"", change)
        self._show(resp, topic)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: bytes) -> None:
        """End all subscriptions, 1,000 per turn of the broker's loop, and with them the topic."""
        read_parameters(req, {})
        ended, left = 0, 1
        while left:
            try:
                answer: ops.Ended = self._gateway.call(Op.TOPIC_END, topic, b"", ops.EndTopic(MOST))
            except FanmailError as error:
                if error.code != "no-topic" or not ended:
                    raise
                break  # the last subscriptions have ended meanwhile
            ended, left = ended + answer.count, answer.left
        render(resp, {"topic": text(topic), "ended": ended})

    def _show(self, resp: falcon.Response, topic: bytes) -> None:
        holders: list[bytes] = []
        after, done = b"", False
        for _ in range(SEARCHED_TURNS):
            args = ops.DescribeTopic(after, NAMED - len(holders))
            info: ops.TopicInfo = self._gateway.call(Op.TOPIC, topic, b"", args)
            holders += info.holders
            after, done = info.last, info.done
            if done:
                break
        document = topic_members(info.row, self._gateway.owner(topic))
        document |= {
            "next_seq": info.next_seq,
            "head_seq": info.head_seq,
            "settings": settings_members(info.effective),
            "own_settings": settings_members(info.own),
            "oldest_held_by": [text(user) for user in holders],
            "oldest_held_by_more": not done or len(holders) == NAMED,
        }
        render(resp, document)


def _or_default(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda value: None if value == DEFAULT else parse(value)


def _from_one(most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        found = count(most)(value)
        if not found:
            raise ValueError(f"must be a whole number from 1 to {most}, or {DEFAULT}")
        return found

    return parse


_OVERFLOW = {"reject": False, "drop-oldest": True}
_SETTINGS = {
    "max_messages": _or_default(_from_one(10**9)),
    "max_bytes": _or_default(_from_one(2**50)),
    "max_age": _or_default(span(0, 10 * YEAR_S, MILLISECOND, zero=True)),
    "overflow": _or_default(lambda value: _OVERFLOW[one_of(*_OVERFLOW, DEFAULT)(value)]),
}
