"""Operations that publish: one message, a batch, or messages that were published one by one."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from common.protocol.lease_ops import Amount

MAX_APART = 64
"""Messages of one `PublishApart`."""
_Key = Annotated[bytes, Meta(max_length=255)]
_Digest = Annotated[bytes, Meta(max_length=16)]


class Publish(Struct, array_like=True):
    """One message, or a batch of `count`. `headers` is opaque to the broker: the front packs and unpacks it.

    The body of a batch is a sequence of frames: 4 bytes of big-endian length, then the bytes. `offsets` has the start
    of each frame, and the end: `count` + 1 little-endian unsigned numbers of 4 bytes. A single message has no frames
    and no offsets. `ttl`, `delay` and `key` apply to the whole batch.
    """

    headers: bytes
    body: bytes
    count: int = 1
    offsets: bytes = b""
    ttl: Amount = 0
    """Milliseconds after which it is no longer delivered; 0: never."""
    delay: Amount = 0
    """Milliseconds until it is published; 0: now."""
    key: _Key = b""
    """Idempotency key, 1 to 255 bytes; empty: none."""
    digest: _Digest = b""
    """With a key: 16 bytes that identify the content of the request."""


class Published(Struct, array_like=True):
    """The number of subscribers, and the id of the first message; without subscribers nothing was stored."""

    subscribers: int
    epoch: str
    seq: int
    due_ms: int = 0
    """Of a delayed publish: when it will be published, milliseconds since 1970 UTC. The other fields are then unset."""
    replayed: bool = False
    """The key was known: nothing was done, and this is a repetition of the first answer."""


class PublishApart(Struct, array_like=True):
    """Messages that were published one by one and travel together: each is stored, refused or a repeat on its own.

    `body` and `offsets` are those of a batch.
    """

    headers: bytes
    body: bytes
    count: int
    """1 to `MAX_APART`."""
    offsets: bytes
    ttl: Amount = 0
    keys: Annotated[list[_Key], Meta(max_length=MAX_APART)] = []
    """Idempotency key of each message, b"": it has none. Empty where none has one."""
    digests: Annotated[list[_Digest], Meta(max_length=MAX_APART)] = []
    """With keys, as many: as of `Publish`."""


class PublishedApart(Struct, array_like=True):
    """The number of subscribers, and the id of the first message that was stored; the others follow it."""

    subscribers: int
    epoch: str
    seq: int
    refused: list[tuple[int, str, str]] = []
    """Index, code and detail of each message that is not stored."""
    replayed: list[tuple[int, int, int]] = []
    """Index of each message whose key was known, with the number of subscribers and the sequence number that it had."""
