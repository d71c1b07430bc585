"""`/<topic>`: publish."""

from __future__ import annotations

from typing import Any

import falcon

from common.errors import FanmailError
from common.protocol import ops, wire
from common.protocol.ops import Op
from httpfront.environ import KEPT
from httpfront.formats.batch import FORMATS, read_batch
from httpfront.formats.coding import check_lines, decoded
from httpfront.formats.idempotency import digest, read_key
from httpfront.formats.limits import MessageLimits
from httpfront.formats.metadata import pack_headers, rfc3339
from httpfront.formats.params import MILLISECOND, YEAR_S, one_of, read_parameters, span
from httpfront.gateway.gateway import Gateway
from httpfront.hub import yield_turn

_KNOWN = {
    "batch": one_of(*FORMATS),
    "ttl": span(0, YEAR_S, MILLISECOND),
    "delay": span(0, YEAR_S, MILLISECOND, zero=True),
}


Prepared = tuple[ops.Publish, bytes | None]
"""A publish ready for `Gateway.call`: its arguments, and the body where that is large enough to be sent beside them."""


class TopicResource:
    """POST publishes the request's body, or with `batch` the messages in it, all or none."""

    def __init__(self, gateway: Gateway, limits: MessageLimits) -> None:
        self._gateway = gateway
        self._limits = limits

    def on_post(self, req: falcon.Request, resp: falcon.Response, topic: bytes) -> None:
        values = read_parameters(req, _KNOWN) if req.query_string else {}
        args, body = prepare_publish(req, req.stream.read(), values, self._limits)
        result = self._gateway.call(Op.PUBLISH, topic, b"", args, body)
        present_published(result, resp)
        if "batch" in values:
            resp.set_header("Msg-Count", str(args.count))


def prepare_publish(req: falcon.Request, body: bytes, values: dict[str, Any], limits: MessageLimits) -> Prepared:
    """Check a publish; `values` are its parameters.

    Raises `body-too-large`, `headers-too-large`, `bad-parameter` for its key, and for a batch `bad-batch`,
    `unsupported-coding` and `unsupported-charset`.
    """
    form = values.get("batch")
    most = limits.batch if form else limits.body
    if len(body) > most:
        raise FanmailError("body-too-large", f"the body has {len(body)} bytes; the limit is {most}")
    if form:
        body = _understood(form, body, req.env, limits)
        args = read_batch(form, body, limits.body, limits.batch_messages)
        args.headers = pack_headers(_of_messages(req.env))
    else:
        args = ops.Publish(pack_headers(req.env.get(KEPT, ())), body)
    if values:
        args.ttl, args.delay = values.get("ttl", 0), values.get("delay", 0)
    key = req.env.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None:
        args.key = read_key(key)
        args.digest = digest(body, args.headers, form or "", args.ttl, args.delay)
    if len(args.body) < wire.LARGE_BODY:
        return args, None
    body, args.body = args.body, b""
    return args, body


def _of_messages(env: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the kept fields of a batch: Content-Encoding is that of the whole, Msg-Encoding that of each message."""
    kept = [field for field in env.get(KEPT, ()) if field[0] != "content-encoding"]
    return [*kept, ("content-encoding", env.get("HTTP_MSG_ENCODING", ""))]


def _understood(form: str, body: bytes, env: dict[str, Any], limits: MessageLimits) -> bytes:
    """Return the batch without its content coding."""
    body = decoded(body, env.get("HTTP_CONTENT_ENCODING", ""), limits.batch, yield_turn)
    if form == "lines":
        check_lines(body, env.get("CONTENT_TYPE", ""))
    return body


def present_published(result: ops.Published, resp: falcon.Response) -> None:
    """Render the answer, an empty body.

    The id is that of the first message. A delayed publish has neither id nor subscribers yet.
    """
    resp.data = b""
    if result.replayed:
        resp.set_header("Idempotency-Replayed", "true")
    if result.due_ms:
        resp.set_header("Msg-Due", rfc3339(result.due_ms))
        return
    resp.set_header("Msg-Subscribers", str(result.subscribers))
    if result.subscribers:
        resp.set_header("Msg-Id", f"{result.epoch}-{result.seq}")
