"""`Idempotency-Key`: the key of a publish, and the digest that tells a repeat from another request. No I/O here."""

from __future__ import annotations

import re
from hashlib import blake2b
from struct import pack

from common.errors import FanmailError

HEADER = "Idempotency-Key"
KEY = r'"([\x21-\x7e]{1,255})"|([\x21-\x7e]{1,255})'
"""Pattern: 1 to 255 visible ASCII characters, with or without quotes around them."""
_KEY = re.compile(KEY).fullmatch
DIGEST_SIZE = 16
"""Bytes."""


def read_key(given: str) -> bytes:
    """Return the key in a header value, without surrounding double quotes. Raises `bad-parameter`."""
    found = _KEY(given)
    if not found or given == '""':
        raise FanmailError(
            "bad-parameter", f"header {HEADER} must be 1 to 255 visible ASCII characters", parameter=HEADER
        )
    return (found[1] or found[2]).encode()


def digest(body: bytes, headers: bytes, form: str, ttl: int, delay: int) -> bytes:
    """Return a digest that is equal exactly for equal publishes.

    `body` is as it was sent, `headers` packed, `form` that of a batch or "", the times in milliseconds. Each part
    follows its length, so that the boundaries count too.
    """
    state = blake2b(digest_size=DIGEST_SIZE)
    for part in (f"{form} {ttl} {delay}".encode(), headers, body):
        state.update(pack(">Q", len(part)))
        state.update(part)
    return state.digest()
