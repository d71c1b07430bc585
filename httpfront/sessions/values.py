"""Members of operations as values that brokers take; the bounds are those of HTTP. No I/O here."""

from __future__ import annotations

import binascii
import re
from functools import lru_cache

from common.errors import FanmailError
from common.names import check_name
from common.protocol import ops
from common.protocol.ops import Receipt
from httpfront.formats.idempotency import digest
from httpfront.formats.limits import MAX_DELIVERIES
from httpfront.formats.metadata import MAX_FIELDS, pack_headers
from httpfront.formats.params import MICROSECOND, MILLISECOND, YEAR_S, cursor, refused
from httpfront.formats.receipts import MAX_LEASE_S, are_receipts, is_receipt, parse_receipt
from httpfront.sessions import operations as wanted
from httpfront.sessions.answers import Mailbox

_META = re.compile(r"(meta|ce)-[a-z0-9!#$%&'*+.^`|~-]{1,128}|content-(encoding|language)|trace(parent|state)").fullmatch
_KEY = re.compile(r"[\x21-\x7e]{1,255}").fullmatch
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch


@lru_cache(maxsize=1024)
def name_of(text: str, kind: str, limit: int) -> bytes:
    """Return the name of a topic or user; `kind` says which. Raises `bad-name`."""
    try:
        name = text.encode()
    except UnicodeEncodeError:
        raise FanmailError("bad-name", f"the {kind} name is not valid Unicode") from None
    check_name(name, kind)
    if len(name) > limit:
        raise FanmailError("bad-name", f"the {kind} name has {len(name)} bytes, at most {limit} are allowed")
    return name


@lru_cache(maxsize=1024)
def mailbox_of(topic: str, user: str, limit: int) -> Mailbox:
    """Return the mailbox of these names. Raises `bad-name`."""
    return Mailbox(name_of(topic, "topic", limit), name_of(user, "user", limit), topic, user)


def publish_of(op: wanted.Publish, max_body: int) -> ops.Publish:
    """Return the publish of one message. Raises `bad-op`, `bad-parameter`, `body-too-large`, `headers-too-large`."""
    text = op.text
    body = text.encode() if text is not None and op.base64 is None else _from_base64(op)
    if len(body) > max_body:
        raise FanmailError("body-too-large", f"the body has {len(body)} bytes; the limit is {max_body}")
    headers = b""
    if op.meta:
        if len(op.meta) > MAX_FIELDS:
            raise FanmailError("headers-too-large", f"{len(op.meta)} kept header fields; the limit is {MAX_FIELDS}")
        headers = _kept(op.type or "", tuple(sorted(op.meta.items())))
    elif op.type:
        headers = _kept(op.type, ())
    args = ops.Publish(headers, body)
    if op.ttl is not None:
        args.ttl = units("ttl", op.ttl, 0, YEAR_S, MILLISECOND)
    if op.delay is not None:
        args.delay = units("delay", op.delay, 0, YEAR_S, MILLISECOND, zero=True)
    if op.key is not None:
        if not _KEY(op.key):
            raise refused("key", "must be 1 to 255 visible ASCII characters")
        args.key = op.key.encode()
        args.digest = digest(body, headers, "", args.ttl, args.delay)
    return args


def _from_base64(op: wanted.Publish) -> bytes:
    if op.base64 is None or op.text is not None:
        raise FanmailError("bad-op", "a publish has one of text and base64")
    try:
        return binascii.a2b_base64(op.base64, strict_mode=True)
    except ValueError:
        raise refused("base64", "is not padded base64") from None


@lru_cache(maxsize=256)
def _kept(media_type: str, meta: tuple[tuple[str, str], ...]) -> bytes:
    """Return the kept fields as they are stored."""
    fields = [("content-type", _value("type", media_type))] if media_type else []
    for name, value in meta:
        if not _META(name):
            raise refused("meta", "has a name other than meta-*, ce-*, content-encoding, content-language and trace*")
        fields.append((name, _value("meta", value)))
    return pack_headers(fields)


def _value(member: str, value: str) -> str:
    """Return a value as header fields have it: the bytes of its UTF-8 as text."""
    if not _VALUE(value) or value != value.strip(" \t"):
        raise refused(member, "has a value with a control character, or with blanks at an end")
    return value.encode().decode("latin-1")


def settings_of(op: wanted.Subscribe) -> ops.Settings:
    """Return the settings of a subscription. Raises `bad-parameter`."""
    settings = ops.Settings()
    if op.expires_after is not None:
        settings.expires_after = units("expires_after", op.expires_after, 1, YEAR_S, MICROSECOND, zero=True)
    if op.max_deliveries is not None:
        if not 0 <= op.max_deliveries <= MAX_DELIVERIES:
            raise refused("max_deliveries", f"must be a whole number from 0 to {MAX_DELIVERIES}")
        settings.max_deliveries = op.max_deliveries
    return settings


def lease_of(seconds: float) -> int:
    """Return the microseconds of a lease. Raises `bad-parameter`."""
    return units("lease", seconds, 1, MAX_LEASE_S, MICROSECOND)


def delay_of(seconds: float | None) -> int:
    """Return the microseconds until a message is delivered again. Raises `bad-parameter`."""
    return units("delay", seconds or 0, 0, MAX_LEASE_S, MICROSECOND, zero=True)


def cursor_of(member: str, text: str) -> tuple[str, int]:
    """Return epoch and number of a cursor. Raises `bad-parameter`."""
    try:
        return cursor(text)
    except ValueError as error:
        raise refused(member, str(error)) from None


def receipt_of(text: str) -> Receipt:
    """Return a receipt. Raises `bad-parameter`."""
    receipt = parse_receipt(text)
    if receipt is None:
        raise refused("receipt", "must be a receipt of a message")
    return receipt


def receipt_text_of(text: str) -> str:
    """Return the text of a receipt as it is. Raises `bad-parameter`."""
    if not is_receipt(text):
        raise refused("receipt", "must be a receipt of a message")
    return text


def receipt_texts_of(texts: list[str]) -> list[str]:
    """Return the texts of 1 to `MAX_RECEIPTS` receipts as they are. Raises `bad-parameter`."""
    most = wanted.MAX_RECEIPTS
    if not 0 < len(texts) <= most:
        raise refused("receipts", f"must have 1 to {most} receipts, and has {len(texts)}")
    if not are_receipts(texts):
        wrong = next(place for place, text in enumerate(texts) if not is_receipt(text))
        raise refused("receipts", f"must have receipts of messages, and has something else at [{wrong}]")
    return texts


def units(name: str, seconds: float, least: int, most: int, unit: int, *, zero: bool = False) -> int:
    """Return seconds as whole units of `unit` microseconds, rounded up. The bounds are as of `params.span`."""
    if seconds == 0 and zero:
        return 0
    if not (least <= seconds <= most) or seconds <= 0:
        bounds = f"from {least} to {most}" if least or zero else f"above 0 and at most {most}"
        raise refused(name, f"must be {'0 or ' if least and zero else ''}a number of seconds {bounds}")
    return -(-max(round(seconds * 10**6), 1) // unit)
