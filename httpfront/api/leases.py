"""`/<topic>/<user>/<receipt>` and `/<topic>/<user>/acks`: what becomes of messages that are leased."""

from __future__ import annotations

import re
from urllib.parse import quote

import falcon

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op, Receipt
from httpfront.formats.coding import decoded
from httpfront.formats.limits import MessageLimits
from httpfront.formats.ndjson import NDJSON, as_lines
from httpfront.formats.params import MESSAGE_ID, MICROSECOND, read_parameters, refused, span
from httpfront.gateway.gateway import Gateway
from httpfront.hub import give_way

MAX_LEASE = 43_200
"""Seconds, also of the delay with which a message is given back."""
LEASE = span(1, MAX_LEASE, MICROSECOND)
_EXTENSION = {"lease": span(1, MAX_LEASE, MICROSECOND, zero=True), "delay": span(0, MAX_LEASE, MICROSECOND, zero=True)}
RECEIPT = MESSAGE_ID + r"\.([1-9][0-9]{0,17})"
"""The id of a message and which handing out it was, as a pattern."""
_RECEIPT = re.compile(RECEIPT).fullmatch


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
        body = decoded(req.stream.read(), req.env.get("HTTP_CONTENT_ENCODING", ""), self._limits.body, give_way)
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


def parse_receipt(text: str) -> Receipt | None:
    """The receipt that a text spells, None where it spells none."""
    found = _RECEIPT(text)
    return Receipt(found[1], int(found[2]), int(found[3])) if found else None


def receipt_text(epoch: str, seq: int, attempt: int) -> str:
    """What `parse_receipt` reads."""
    return f"{epoch}-{seq}.{attempt}"


def named_receipt(segment: str) -> Receipt:
    """The receipt in a path. Raises `bad-parameter`."""
    receipt = parse_receipt(segment)
    if receipt is None:
        raise refused("receipt", "must be a Msg-Receipt")
    return receipt


def read_receipts(body: bytes, most: int) -> list[Receipt]:
    """The receipts in a body, one a line. Raises `bad-batch`: the line that is none, or over `most` lines, or none."""
    if body.count(b"\n") - body.endswith(b"\n") >= most:
        raise FanmailError("bad-batch", f"the body has over {most} receipts")
    lines = body.decode("latin-1").split("\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise FanmailError("bad-batch", "the body has no receipt")
    receipts = []
    for number, line in enumerate(lines, 1):
        receipt = parse_receipt(line.removesuffix("\r"))
        if receipt is None:
            raise FanmailError("bad-batch", f"line {number} is not a Msg-Receipt; nothing was acknowledged")
        receipts.append(receipt)
    return receipts


def present_finished(receipts: list[Receipt], codes: list[str], resp: falcon.Response) -> None:
    """A line for each receipt in order, and how many are done."""
    results: list[dict[str, object]] = []
    for receipt, code in zip(receipts, codes, strict=True):
        result: dict[str, object] = {"receipt": receipt_text(receipt.epoch, receipt.seq, receipt.attempt)}
        result["done"] = not code
        if code:
            result["code"] = code
        results.append(result)
    resp.content_type = NDJSON
    resp.data = as_lines(results)
    resp.set_header("Msg-Count", str(codes.count("")))


def present_receipt(message: ops.Message, topic: bytes, user: bytes, resp: falcon.Response) -> None:
    """How a leased message is acknowledged: its receipt, and the path that takes it."""
    receipt = receipt_text(message.epoch, message.seq, message.attempt)
    resp.set_header("Msg-Receipt", receipt)
    resp.set_header("Link", f'<{path_to(topic, user, receipt)}>; rel="ack"')


def path_to(topic: bytes, user: bytes, rest: str) -> str:
    """A path below a subscription; `rest` is encoded already."""
    return f"/{quote(topic, safe='')}/{quote(user, safe='')}/{rest}"
