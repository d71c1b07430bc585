"""Receipts of leased messages: read from paths and bodies, shown in headers and lines. No I/O here."""

from __future__ import annotations

import re

import falcon

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Receipt
from httpfront.formats.ndjson import NDJSON, as_lines
from httpfront.formats.params import MESSAGE_ID, MICROSECOND, refused, span
from httpfront.formats.paths import path_to

MAX_LEASE_S = 43_200
"""Longest lease, and longest delay of a message that is returned."""
parse_lease = span(1, MAX_LEASE_S, MICROSECOND)
RECEIPT = MESSAGE_ID + r"\.([1-9][0-9]{0,17})"
"""Pattern: the id of a message and the number of the delivery."""
_RECEIPT = re.compile(RECEIPT).fullmatch
_RECEIPTS = re.compile(rf"(?:{RECEIPT}\n)*+{RECEIPT}").fullmatch  # possessive: a tenth of the time


def parse_receipt(text: str) -> Receipt | None:
    """Return the receipt in a text, None where it is malformed."""
    found = _RECEIPT(text)
    if found is None:
        return None
    epoch, seq, attempt = found.groups()
    return Receipt(epoch, int(seq), int(attempt))


def are_receipts(texts: list[str]) -> bool:
    """Return whether `parse_receipt` reads each of some texts."""
    joined = "\n".join(texts)
    return _RECEIPTS(joined) is not None and joined.count("\n") == len(texts) - 1


def is_receipt(text: str) -> bool:
    """Return whether `parse_receipt` reads a text."""
    return _RECEIPT(text) is not None


def split_receipts(texts: list[str]) -> list[Receipt]:
    """Return the receipts in texts, at least one, that are known to be some; takes a third of what each alone takes."""
    parts = "\n".join(texts).replace("-", "\n").replace(".", "\n").split("\n")
    return list(map(Receipt, parts[::3], map(int, parts[1::3]), map(int, parts[2::3])))


def receipt_text(epoch: str, seq: int, attempt: int) -> str:
    """Return the text that `parse_receipt` reads."""
    return f"{epoch}-{seq}.{attempt}"


def named_receipt(segment: str) -> Receipt:
    """Return the receipt in a path. Raises `bad-parameter`."""
    receipt = parse_receipt(segment)
    if receipt is None:
        raise refused("receipt", "must be a Msg-Receipt")
    return receipt


def read_receipts(body: bytes, most: int) -> list[Receipt]:
    """Return the receipts in a body, one per line.

    Raises `bad-batch` for a malformed line, for over `most` lines, and for none.
    """
    if body.count(b"\n") - body.endswith(b"\n") >= most:
        raise FanmailError("bad-batch", f"the body has over {most} receipts")
    lines = body.decode("latin-1").split("\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise FanmailError("bad-batch", "the body has no receipts")
    receipts = []
    for number, line in enumerate(lines, 1):
        receipt = parse_receipt(line.removesuffix("\r"))
        if receipt is None:
            raise FanmailError("bad-batch", f"line {number} is not a Msg-Receipt; no message was acknowledged")
        receipts.append(receipt)
    return receipts


def present_finished(receipts: list[Receipt], codes: list[str], resp: falcon.Response) -> None:
    """Render a line for each receipt in order, and the number of those that are done."""
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
    """Set the headers with which a leased message is acknowledged: its receipt, and the path that takes it."""
    receipt = receipt_text(message.epoch, message.seq, message.attempt)
    resp.set_header("Msg-Receipt", receipt)
    resp.set_header("Link", f'<{path_to(topic, user, receipt)}>; rel="ack"')
