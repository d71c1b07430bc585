"""`/<topic>`: publish."""

from __future__ import annotations

from typing import NamedTuple

import falcon

from common import ops, wire
from common.errors import FanmailError
from common.ops import Op
from httpfront.gateway import Gateway
from httpfront.metadata import pack_headers
from httpfront.params import read_parameters


class Prepared(NamedTuple):
    """A publish ready for `Gateway.call`."""

    args: ops.Publish
    body: bytes | None
    """The body where it is large enough to travel beside `args`."""


class TopicResource:
    """POST publishes the request's body."""

    def __init__(self, gateway: Gateway, max_body: int) -> None:
        """`max_body` in bytes."""
        self._gateway = gateway
        self._max_body = max_body

    def on_post(self, req: falcon.Request, resp: falcon.Response, topic: bytes) -> None:
        prepared = prepare_publish(req, req.stream.read(), self._max_body)
        present_published(self._gateway.call(Op.PUBLISH, topic, b"", prepared.args, prepared.body), resp)


def prepare_publish(req: falcon.Request, body: bytes, max_body: int) -> Prepared:
    """Checks a publish. Raises `bad-parameter`, `body-too-large`, `headers-too-large`."""
    read_parameters(req, {})
    if len(body) > max_body:
        raise FanmailError("body-too-large", f"the body has {len(body)} bytes, at most {max_body} are allowed")
    headers = pack_headers(req.env)
    if len(body) >= wire.LARGE_BODY:
        return Prepared(ops.Publish(headers, b""), body)
    return Prepared(ops.Publish(headers, body), None)


def present_published(result: ops.Published, resp: falcon.Response) -> None:
    """200 with an empty body."""
    resp.data = b""
    resp.set_header("Msg-Subscribers", str(result.subscribers))
    if result.subscribers:
        resp.set_header("Msg-Id", f"{result.epoch}-{result.seq}")
