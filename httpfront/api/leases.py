"""`/<topic>/<user>/<receipt>` and `/<topic>/<user>/acks`: what becomes of messages that are leased."""

from __future__ import annotations

import falcon

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op, Receipt
from httpfront.formats.coding import decoded
from httpfront.formats.limits import MessageLimits
from httpfront.formats.params import MICROSECOND, read_parameters, refused, span
from httpfront.formats.receipts import MAX_LEASE_S, named_receipt, present_finished, read_receipts
from httpfront.gateway.gateway import Gateway
from httpfront.hub import yield_turn

_EXTENSION = {
    "lease": span(1, MAX_LEASE_S, MICROSECOND, zero=True),
    "delay": span(0, MAX_LEASE_S, MICROSECOND, zero=True),
}


class ReceiptResource:
    """One handing out of one message."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes, receipt: str) -> None:
        """The message is done."""
        read_parameters(req, {})
        (code,) = finish(self._gateway, topic, user, [named_receipt(receipt)])
        if code:
            raise _unfinished(code)
        resp.data = b""

    def on_patch(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes, receipt: str) -> None:
        """The lease lasts longer, or with 0 ends now."""
        values = read_parameters(req, _EXTENSION)
        if "lease" not in values:
            raise refused("lease", "is missing")
        if values["lease"] and "delay" in values:
            raise refused("delay", "goes with lease=0 only")
        self._gateway.call(Op.EXTEND, topic, user, ops.Extend(named_receipt(receipt), **values))
        resp.data = b""


class AcksResource:
    """POST: the messages of many receipts are done."""

    def __init__(self, gateway: Gateway, limits: MessageLimits) -> None:
        self._gateway = gateway
        self._limits = limits

    def on_post(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        read_parameters(req, {})
        body = decoded(req.stream.read(), req.env.get("HTTP_CONTENT_ENCODING", ""), self._limits.body, yield_turn)
        receipts = read_receipts(body, self._limits.batch_messages)
        codes = finish(self._gateway, topic, user, receipts)
        present_finished(receipts, codes, resp)


def finish(gateway: Gateway, topic: bytes, user: bytes, receipts: list[Receipt]) -> list[str]:
    """A code for each receipt in order, "" where its message is done. Raises what a call raises, and `internal`."""
    finished: ops.Finished = gateway.call(Op.FINISH, topic, user, ops.Finish(receipts))
    if len(finished.codes) != len(receipts):
        raise FanmailError("internal", f"{len(finished.codes)} results came for {len(receipts)} receipts")
    return finished.codes


def _unfinished(code: str) -> FanmailError:
    if code == "bad-parameter":
        return refused("receipt", "was never given out")
    known = "the message was handed out again, or the receipt is of another life of the topic"
    return FanmailError(code, known if code == "lease-lost" else "the message is not done")
