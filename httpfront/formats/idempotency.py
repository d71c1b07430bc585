"""`Idempotency-Key`: the key of a publish, and the digest that tells a repeat from another request. No I/O here."""

from __future__ import annotations

import re
from hashlib import blake2b
from struct import pack

from common.errors import FanmailError

HEADER = "Idempotency-Key"
KEY = r'"([\x21-\x7e]{1,255})"|([\x21-\x7e]{1,255})'
"""As a pattern: 1 to 255 visible ASCII characters, with or without quotes around them."""
_KEY = re.compile(KEY).fullmatch
DIGEST_SIZE = 16
"""Bytes."""


def read_key(given: str) -> bytes:
    """The key in the value of a header; a pair of double quotes around it is no part of it. Raises `bad-parameter`."""
    found = _KEY(given)
    if not found or given == '""':
        raise FanmailError(
            "bad-parameter", f"header {HEADER} must be 1 to 255 visible ASCII characters", parameter=HEADER
        )
    return (found[1] or found[2]).encode()


def digest(body: bytes, headers: bytes, form: str, ttl: int, delay: int) -> bytes:
    """The same for two publishes that ask for the same, else different.

    `body` is as it was sent, `headers` packed, `form` that of a batch or "", the times in milliseconds. Each part
    goes in behind its length, so that none can end where another begins.
    """
    state = blake2b(digest_size=DIGEST_SIZE)
    for part in (f"{form} {ttl} {delay}".encode(), headers, body):
        state.update(pack(">Q", len(part)))
        state.update(part)
    return state.digest()
