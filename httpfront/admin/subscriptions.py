"""`/-/v1/topics/<t>/subscriptions`: subscriptions, their status and their messages."""

from __future__ import annotations

from typing import Any

import falcon

from common.protocol import ops
from common.protocol.ops import Op
from httpfront.admin.documents import PAGE, USUAL, cursor_of, text, user_members
from httpfront.formats.documents import render
from httpfront.formats.ndjson import body_member, message_members
from httpfront.formats.params import number, read_parameters
from httpfront.gateway.gateway import Gateway
from httpfront.gateway.reservation import reserve_and_call

PEEK_USUAL, PEEK_MOST = 10, 100
PEEK_BYTES = 4 * 1024 * 1024
_NOTHING = ops.Nothing()


class UsersResource:
    """The subscriptions of a topic."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: bytes) -> None:
        """Return a page of subscriptions, by user."""
        values = read_parameters(req, PAGE)
        limit, after = values.get("limit", USUAL), values.get("cursor", b"")
        rows: list[ops.UserRow] = []
        done = False
        while not done and len(rows) < limit:
            page: ops.UserPage = self._gateway.call(Op.USERS, topic, b"", ops.ListUsers(after, limit - len(rows)))
            rows += page.rows
            after, done = page.last, page.done
        members = [user_members(row) for row in rows]
        render(resp, {"subscriptions": members, "cursor": None if done else cursor_of(after)})

    on_head = on_get


class UserResource:
    """One subscription."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Return its status, without resetting its idle time."""
        read_parameters(req, {})
        render(resp, user_members(self._gateway.call(Op.USER, topic, user, _NOTHING)))

    on_head = on_get


class MessagesResource:
    """Messages that a subscription has not acknowledged."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._known = {"peek": number(PEEK_MOST)}

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Return the first messages, leased ones before others. Nothing is taken."""
        values = read_parameters(req, self._known)
        args = ops.Peek(values.get("peek", PEEK_USUAL), PEEK_BYTES)
        found: ops.PeekedAll = reserve_and_call(self._gateway, req.env, Op.PEEK, topic, user, args)
        render(resp, {"messages": [_members(found.epoch, each) for each in found.messages]})

    on_head = on_get

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Delete all of them; dead letters are kept."""
        read_parameters(req, {})
        counted: ops.Counted = self._gateway.call(Op.PURGE, topic, user, _NOTHING)
        render(resp, {"topic": text(topic), "user": text(user), "purged": counted.count})


def _members(epoch: str, message: ops.Peeked) -> dict[str, Any]:
    members = {"id": f"{epoch}-{message.seq}", "state": message.state, "bytes": len(message.body)}
    return members | message_members(message.time, message.attempt, message.headers) | body_member(message.body)
