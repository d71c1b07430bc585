"""`/<topic>/<user>/<receipt>` and `/<topic>/<user>/acks`: acknowledging, extending and ending leases."""

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
    """One delivery of one message."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes, receipt: str) -> None:
        """Acknowledge the message."""
        read_parameters(req, {})
        (code,) = finish(self._gateway, topic, user, [named_receipt(receipt)])
        if code:
            raise _unfinished(code)
        resp.data = b""

    def on_patch(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes, receipt: str) -> None:
        """Extend the lease, or end it with 0."""
        values = read_parameters(req, _EXTENSION)
        if "lease" not in values:
            raise refused("lease", "is missing")
        if values["lease"] and "delay" in values:
            raise refused("delay", "is allowed with lease=0 only")
        self._gateway.call(Op.EXTEND, topic, user, ops.Extend(named_receipt(receipt), **values))
        resp.data = b""


class AcksResource:
    """POST acknowledges the messages of many receipts."""

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
    """Acknowledge messages; return a code for each receipt in order, "" where its message is done.

    Raises as `Gateway.call`, and `internal`.
    """
    finished: ops.Finished = gateway.call(Op.FINISH, topic, user, ops.Finish(receipts))
    if len(finished.codes) != len(receipts):
        raise FanmailError("internal", f"{len(finished.codes)} results for {len(receipts)} receipts")
    return finished.codes


def _unfinished(code: str) -> FanmailError:
    if code == "bad-parameter":
        return refused("receipt", "was never issued")
    known = "the message was delivered again, or the receipt is of another epoch of the topic"
    return FanmailError(code, known if code == "lease-lost" else "the message was not acknowledged")
