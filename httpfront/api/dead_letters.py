"""`/<topic>/<user>/dead`: messages that were leased too often without being acknowledged."""

from __future__ import annotations

import falcon

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.formats.limits import MessageLimits
from httpfront.formats.metadata import SAFE_HEADERS
from httpfront.formats.ndjson import NDJSON, as_lines, body_member, message_members
from httpfront.formats.params import cursor, number, read_parameters
from httpfront.formats.paths import path_to
from httpfront.gateway.gateway import Gateway
from httpfront.gateway.reservation import reserve_and_call
from httpfront.middleware.guards import refuse_streams

_NOTHING = ops.Nothing()


class DeadResource:
    """The dead letters of one user."""

    def __init__(self, gateway: Gateway, limits: MessageLimits) -> None:
        self._gateway = gateway
        self._limits = limits
        self._known = {"after": cursor, "max": number(limits.fetch)}

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """List them, a page at a time; changes nothing."""
        resp.set_header("Cache-Control", "no-store")
        refuse_streams(req.env)
        values = read_parameters(req, self._known)
        epoch, seq = values.get("after", ("", 0))
        args = ops.ListDead(seq, values.get("max", self._limits.fetch), self._limits.fetch_bytes)
        found: ops.DeadLetters = reserve_and_call(self._gateway, req.env, Op.DEAD_LIST, topic, user, args)
        if epoch not in ("", found.epoch):
            raise FanmailError("cursor-lost", f"after is of epoch {epoch}, and the topic's epoch is {found.epoch}")
        present_letters(found, topic, user, resp)

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Return those whose ttl is not over to the queue."""
        self._do_to_all(Op.DEAD_RETURN, req, resp, topic, user)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Delete all."""
        self._do_to_all(Op.DEAD_CLEAR, req, resp, topic, user)

    def _do_to_all(self, op: Op, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        read_parameters(req, {})
        counted: ops.Counted = self._gateway.call(op, topic, user, _NOTHING)
        resp.data = b""
        resp.set_header("Msg-Count", str(counted.count))


def present_letters(found: ops.DeadLetters, topic: bytes, user: bytes, resp: falcon.Response) -> None:
    """Render a page of letters, one per line, with the path of the next page where there is one."""
    letters = found.letters
    resp.content_type = NDJSON
    resp.data = as_lines(
        {"id": f"{found.epoch}-{each.seq}"}
        | message_members(each.time, each.attempt, each.headers)
        | ({"expired": True} if each.expired else {})
        | body_member(each.body)
        for each in letters
    )
    resp.set_headers(
        (
            ("Msg-Count", str(len(letters))),
            ("Msg-Pending", str(found.left)),
            *SAFE_HEADERS,
        )
    )
    if letters and found.left:
        last = f"{found.epoch}-{letters[-1].seq}"
        resp.set_header("Link", f'<{path_to(topic, user, "dead")}?after={last}>; rel="next"')
