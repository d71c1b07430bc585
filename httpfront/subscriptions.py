"""`/<topic>/<user>`: subscribe, unsubscribe, next message, how it stands."""

from __future__ import annotations

from typing import Any

import falcon

from common import ops
from common.errors import FanmailError
from common.ops import Op
from httpfront.gateway import Gateway
from httpfront.metadata import present_message
from httpfront.params import cursor, duration, read_parameters
from httpfront.polling import LongPoll, client_gone, is_gone

_NOTHING = ops.Nothing()


class SubscriptionResource:
    """One user's subscription to one topic."""

    def __init__(self, gateway: Gateway, polls: LongPoll) -> None:
        self._gateway = gateway
        self._polls = polls

    def on_post(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Subscribes; the body is ignored."""
        read_parameters(req, {})
        result: ops.Subscribed = self._gateway.call(Op.SUBSCRIBE, topic, user, _NOTHING)
        resp.data = b""
        resp.set_header("Subscription-Created", "true" if result.created else "false")

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Unsubscribes."""
        read_parameters(req, {})
        self._gateway.call(Op.UNSUBSCRIBE, topic, user, _NOTHING)
        resp.data = b""

    def on_head(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """How the subscription stands; takes nothing."""
        read_parameters(req, {})
        resp.set_header("Cache-Control", "no-store")
        status: ops.Status = self._gateway.call(Op.LOOK, topic, user, _NOTHING)
        resp.data = b""
        resp.set_header("Msg-Pending", str(status.pending))
        if status.seq:
            resp.set_header("Msg-Id", f"{status.epoch}-{status.seq}")

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """The next message; for a client that is known to be gone nothing is taken."""
        resp.set_header("Cache-Control", "no-store")
        values = read_parameters(req, {"after": cursor, "wait": duration(self._polls.max_wait)})
        args = take_args(req, values)
        wait = values.get("wait", self._polls.preferred(req))
        if is_gone(req):
            raise client_gone()
        message = self._gateway.call(Op.TAKE, topic, user, args)
        if message is None and wait:
            message = self._polls.poll(req, resp, topic, user, args, wait)
        elif wait is not None:
            resp.set_header("Preference-Applied", f"wait={wait:g}")
        present_taken(message, resp)


def take_args(req: falcon.Request, values: dict[str, Any]) -> ops.Take:
    """What `after` or `Last-Event-ID` asks for. Raises `bad-parameter` where they differ."""
    given = req.env.get("HTTP_LAST_EVENT_ID")
    if given is not None:
        try:
            header = cursor(given)
        except ValueError as error:
            raise FanmailError("bad-parameter", f"header Last-Event-ID {error}", parameter="Last-Event-ID") from None
        if values.setdefault("after", header) != header:
            raise FanmailError("bad-parameter", "after and Last-Event-ID differ", parameter="after")
    after = values.get("after")
    return ops.Take() if after is None else ops.Take(True, *after)


def present_taken(message: ops.Message | None, resp: falcon.Response) -> None:
    """200 with the message, or 204."""
    if message is None:
        resp.status = falcon.HTTP_204
    else:
        present_message(message, resp)
