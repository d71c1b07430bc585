"""`/<topic>/<user>`: subscribe, unsubscribe, next message."""

from __future__ import annotations

import falcon

from common import ops
from common.errors import FanmailError
from common.ops import Op
from httpfront.gateway import Gateway
from httpfront.metadata import present_message
from httpfront.params import read_parameters

_NOTHING = ops.Nothing()


class SubscriptionResource:
    """One user's subscription to one topic."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

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

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Takes the next message; for a client that is known to be gone nothing is taken."""
        read_parameters(req, {})
        resp.set_header("Cache-Control", "no-store")
        if _is_gone(req):
            raise FanmailError("client-gone", "the client closed its side of the connection; nothing was taken")
        present_taken(self._gateway.call(Op.TAKE, topic, user, _NOTHING), resp)


def present_taken(message: ops.Message | None, resp: falcon.Response) -> None:
    """200 with the message, or 204."""
    if message is None:
        resp.status = falcon.HTTP_204
    else:
        present_message(message, resp)


def _is_gone(req: falcon.Request) -> bool:
    disconnected = req.env.get("waitress.client_disconnected")
    return disconnected is not None and disconnected()
