"""What travels with a message: kept headers, and `Msg-*` in answers (`docs/http-api.md`).

The broker stores the kept headers as opaque bytes: "" for none, else a MessagePack array of [name, value] in the order
of their names. Values are latin-1 text, which gives the bytes back unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import falcon
import msgspec

from common.errors import FanmailError
from common.protocol import ops

MAX_FIELDS = 32
MAX_BYTES = 8 * 1024
"""Names and values together."""
DEFAULT_TYPE = "application/octet-stream"

SAFE_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox"))
"""Sent with every message: a browser that shows it uses the publisher's media type, in an origin of its own and without
scripts.
"""

_EXACT = {
    "CONTENT_TYPE": "content-type",
    "HTTP_CONTENT_ENCODING": "content-encoding",
    "HTTP_CONTENT_LANGUAGE": "content-language",
    "HTTP_TRACEPARENT": "traceparent",
    "HTTP_TRACESTATE": "tracestate",
}
_EXACT_NAMES = frozenset(_EXACT.values())
_PREFIXES = ("HTTP_META_", "HTTP_CE_")
CACHED_BYTES = 512
"""Bytes of the packed headers of one message that are remembered unpacked: what most messages have."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, str]]).decode


def kept_field(key: str) -> str | None:
    """Return the name under which a field is stored with a message, by its key in a WSGI environment; else None."""
    if key.startswith(_PREFIXES):
        return key.removeprefix("HTTP_").replace("_", "-").lower()
    return _EXACT.get(key)


def pack_headers(fields: Sequence[tuple[str, str]]) -> bytes:
    """Pack the kept fields of a request, as `kept_field` names them. Raises `headers-too-large` (431).

    Of those with a name of their own an empty one says nothing and is left out.
    """
    kept, size = [], 0
    for field in fields:
        name, value = field
        if value or name not in _EXACT_NAMES:
            kept.append(field)
            size += len(name) + len(value)
    if not kept:
        return b""
    if len(kept) > MAX_FIELDS or size > MAX_BYTES:
        raise FanmailError(
            "headers-too-large",
            f"{len(kept)} kept header fields of {size} bytes; the limit is {MAX_FIELDS} of {MAX_BYTES} bytes",
        )
    kept.sort()
    return _encode(kept)


def unpack_headers(headers: bytes) -> tuple[tuple[str, str], ...]:
    """Unpack what `pack_headers` packed; `content-type` is always among them."""
    return _cached_unpack(headers) if len(headers) <= CACHED_BYTES else _unpacked(headers)


def _unpacked(headers: bytes) -> tuple[tuple[str, str], ...]:
    kept = tuple(_decode(headers)) if headers else ()
    if any(name == "content-type" for name, _ in kept):
        return kept
    return (("content-type", DEFAULT_TYPE), *kept)


_cached_unpack = lru_cache(maxsize=1024)(_unpacked)


def present_message(message: ops.Message, resp: falcon.Response) -> None:
    """Render one message."""
    resp.data = message.body
    resp.set_headers(
        (
            *unpack_headers(message.headers),
            ("Msg-Id", f"{message.epoch}-{message.seq}"),
            ("Msg-Time", rfc3339(message.time)),
            ("Msg-Attempt", str(message.attempt)),
            ("Msg-Pending", str(message.pending)),
            *SAFE_HEADERS,
        )
    )


def rfc3339(milliseconds: int) -> str:
    """Format milliseconds since 1970 as RFC 3339 in UTC."""
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
