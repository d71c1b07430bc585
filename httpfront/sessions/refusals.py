"""Answers to messages that are refused before a broker is asked. No I/O here."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from common.errors import FanmailError
from common.names import MAX_NAME
from httpfront.sessions import answers
from httpfront.sessions import operations as wanted

MAX_DETAIL = 200
"""Characters of a detail, which may repeat what the client has sent."""


class _OnlyRef(Struct):
    ref: wanted.Ref = None


_decode_ref = msgspec.json.Decoder(_OnlyRef).decode


def malformed(text: bytes, error: Exception) -> bytes | None:
    """Return the answer to what is no operation, with its `ref` where one can be read; None where it is not UTF-8.

    `error` is what `operations.decode` raised.
    """
    try:
        text.decode()
    except UnicodeDecodeError:
        return None
    ref: Any = None
    with suppress(msgspec.MsgspecError, RecursionError):
        ref = _decode_ref(text).ref
    return answers.failed(ref, {}, FanmailError("bad-op", str(error)[:MAX_DETAIL]))


def refused(op: Any, error: FanmailError) -> bytes | None:
    """Return the answer to an operation that is refused, None where the client wants none."""
    if op.ref is not None:
        return answers.failed(op.ref, {}, error)
    if isinstance(op, wanted.Ack | wanted.Nack | wanted.Extend):
        return None
    about = {"topic": op.topic} | ({} if isinstance(op, wanted.Publish) else {"user": op.user})
    return answers.failed(None, {member: name for member, name in about.items() if len(name) <= MAX_NAME}, error)
