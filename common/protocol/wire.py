"""The wire between fronts and brokers: bytes <-> requests and replies. Knows no sockets. Version 1.

A ZeroMQ message (behind the ROUTER's routing id) is one frame, or two where a large body travels beside the
one request or reply that it belongs to, so that it is never copied into a packed buffer:

    request frame  [version, incarnation, map_epoch, [[id, op, topic, user, deadline, args, request_id], ...], taken]
    reply frame    [version, incarnation, clock, state, map_epoch, [[id, code, result], ...], sent]

Packed as MessagePack. `args` and `result` are those of `common/protocol/ops.py`; with a second frame, their empty
`body` field stands for it. A reply with `code` "" is a success, its result nil where there is nothing to
hand out; otherwise `code` is one of `common/errors.py` and the result is the detail: a text, or [text, {more members}].

`incarnation` in a request is that of the broker process the front has heard from, 0 only in a PING: a broker
refuses what was meant for its predecessor. `deadline` and `clock` are microseconds of the broker's own
monotonic clock. `request_id` names the HTTP request for the logs, and may be left out. Everything here raises
`WireError` and nothing else on hostile bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from common.errors import FanmailError
from common.protocol.ops import OPS, Op

VERSION = 1
MAX_REQUESTS = 64
"""Requests or replies packed in one frame."""
MAX_PACKED = 256 * 1024
"""Bytes after which a sender closes a packed frame."""
LARGE_BODY = 16 * 1024
"""A body of at least so many bytes travels as a frame of its own."""
MAX_COUNTED = 1024
"""Requests or replies of one frame that are looked at to say that they are too many; with more, none is made."""
MAX_REQUEST_ID = 128
"""Characters of the id of an HTTP request, all of them visible ASCII: it goes into logs."""


class WireError(Exception):
    """The bytes are not of this protocol.

    `ids` are the request ids that could be read all the same: they get an error reply.
    """

    def __init__(self, reason: str, ids: Sequence[int] = ()) -> None:
        super().__init__(reason)
        self.ids = tuple(ids)


class BrokerState(IntEnum):
    """What a broker says of itself in every reply frame."""

    LOADING = 0
    READY = 1
    DRAINING = 2


class Request(Struct, array_like=True):
    """One operation. `user` is empty where the operation names none."""

    id: int
    op: int
    topic: bytes
    user: bytes
    deadline: int
    args: Raw
    request_id: Annotated[str, Meta(max_length=MAX_REQUEST_ID)] = ""
    """Of the HTTP request that this is a part of, "" where there is none."""


class RequestFrame(Struct, array_like=True):
    """Requests that travel together, for one incarnation of one broker."""

    version: int
    incarnation: int
    map_epoch: int
    requests: Annotated[list[Request], Meta(max_length=MAX_COUNTED)]
    taken: int = -1
    """`sent` of the last reply frame that the front has read, -1 where it does not say."""


class Reply(Struct, array_like=True):
    """The answer to the request with the same id."""

    id: int
    code: str
    result: Raw


class ReplyFrame(Struct, array_like=True):
    """Replies that travel together, with what every reply carries."""

    version: int
    incarnation: int
    clock: int
    state: int
    map_epoch: int
    replies: Annotated[list[Reply], Meta(max_length=MAX_COUNTED)]
    sent: int = 0
    """Bytes of all replies that were sent over this connection so far, these among them."""


class _Heads(Struct, array_like=True):
    """A frame that is not quite a `RequestFrame`; nothing of it is made but what holds the requests."""

    version: Raw
    incarnation: Raw
    map_epoch: Raw
    requests: Annotated[list[Raw], Meta(max_length=MAX_COUNTED)]


class _Head(Struct, array_like=True):
    """The first member of a request, whatever the others are."""

    id: Annotated[int, Meta(ge=0)]


_encode = msgspec.msgpack.Encoder().encode
_decode_heads = msgspec.msgpack.Decoder(_Heads).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_requests = msgspec.msgpack.Decoder(RequestFrame).decode
_decode_replies = msgspec.msgpack.Decoder(ReplyFrame).decode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode
_decode_args = {int(op): msgspec.msgpack.Decoder(spec.args).decode for op, spec in OPS.items()}
_decode_results = {int(op): msgspec.msgpack.Decoder(spec.result | None).decode for op, spec in OPS.items()}
_decode_detail = msgspec.msgpack.Decoder(str | tuple[str, dict[str, str | int]]).decode


def pack_request(
    call_id: int, op: Op, topic: bytes, user: bytes, deadline: int, args: Struct, request_id: str = ""
) -> bytes:
    """One request, to be joined with others by `pack_requests`. `request_id` must be visible ASCII."""
    if request_id:
        return _encode((call_id, op, topic, user, deadline, args, request_id))
    return _encode((call_id, op, topic, user, deadline, args))


def pack_requests(incarnation: int, map_epoch: int, packed: Sequence[bytes], taken: int = -1) -> bytes:
    """A request frame of requests that `pack_request` made."""
    if taken < 0:
        return _encode((VERSION, incarnation, map_epoch, [Raw(each) for each in packed]))
    return _encode((VERSION, incarnation, map_epoch, [Raw(each) for each in packed], taken))


def pack_reply(call_id: int, result: Struct | None) -> bytes:
    """One success, to be joined with others by `pack_replies`."""
    return _encode((call_id, "", result))


def pack_result(result: Struct | None) -> bytes:
    """A result by itself."""
    return _encode(result)


def pack_error(call_id: int, code: str, detail: str, fields: dict[str, Any] | None = None) -> bytes:
    """One error, to be joined with others by `pack_replies`. `fields` are further members for the client."""
    return _encode((call_id, code, (detail, fields) if fields else detail))


def pack_replies(
    incarnation: int, clock: int, state: int, map_epoch: int, packed: Sequence[bytes], sent: int = 0
) -> bytes:
    """A reply frame of replies that `pack_reply` and `pack_error` made."""
    replies = [Raw(each) for each in packed]
    if not sent:
        return _encode((VERSION, incarnation, clock, state, map_epoch, replies))
    return _encode((VERSION, incarnation, clock, state, map_epoch, replies, sent))


class Packed(Protocol):
    """A packed request or reply, with its body where that travels as a frame of its own."""

    @property
    def packed(self) -> bytes: ...

    @property
    def body(self) -> bytes | None: ...


P = TypeVar("P", bound=Packed)


def group_messages(items: Iterable[P]) -> Iterator[list[P]]:
    """Divides what goes to one peer into messages: small ones together, in order, one with a body of its own alone."""
    group: list[P] = []
    size = 0
    for each in items:
        if each.body is not None:
            yield [each]
            continue
        if group and (len(group) == MAX_REQUESTS or size + len(each.packed) > MAX_PACKED):
            yield group
            group, size = [], 0
        group.append(each)
        size += len(each.packed)
    if group:
        yield group


def unpack_requests(frames: Sequence[bytes]) -> RequestFrame:
    """The requests of a message (without its routing id). Arguments stay packed until `unpack_args`."""
    _check_parts(frames)
    try:
        frame = _decode_requests(frames[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a request frame: {error}", _ids_in(frames[0])) from None
    if frame.version != VERSION:
        raise WireError(f"version {frame.version} is not spoken here", _ids_of(frame))
    if len(frame.requests) > (1 if len(frames) == 2 else MAX_REQUESTS):
        raise WireError("too many requests in one message", _ids_of(frame))
    for each in frame.requests:
        named = each.request_id
        if named and not (named.isascii() and named.isprintable() and " " not in named):
            raise WireError("the id of an HTTP request is visible ASCII", _ids_of(frame))
    return frame


def unpack_args(request: Request) -> Any:
    """The arguments of a request, of the type its operation's row names."""
    decode = _decode_args.get(request.op)
    if decode is None:
        raise WireError(f"operation {request.op} is not known here", [request.id])
    try:
        return decode(request.args)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"arguments of operation {request.op}: {error}", [request.id]) from None


def unpack_replies(frames: Sequence[bytes]) -> ReplyFrame:
    """The replies of a message. Results stay packed until `unpack_result`."""
    _check_parts(frames)
    try:
        frame = _decode_replies(frames[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a reply frame: {error}") from None
    if frame.version != VERSION:
        raise WireError(f"version {frame.version} is not spoken here")
    return frame


def unpack_result(op: Op, result: Raw) -> Any:
    """The result of a successful reply, None where it is nil."""
    try:
        return _decode_results[op](result)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"result of operation {op}: {error}") from None


def unpack_error(code: str, result: Raw) -> FanmailError:
    """The error of a reply with a code; what cannot be read of its detail is left out."""
    try:
        detail = _decode_detail(result)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return FanmailError(code)
    if isinstance(detail, str):
        return FanmailError(code, detail)
    error = FanmailError(code, detail[0])
    error.fields = dict(detail[1])
    return error


def code_of(packed_reply: bytes) -> str:
    """The code of a reply that `pack_reply` or `pack_error` made; "" of a success."""
    return _decode_reply(packed_reply).code


def _ids_of(frame: RequestFrame) -> list[int]:
    return [each.id for each in frame.requests[:MAX_REQUESTS]]


def _check_parts(frames: Sequence[bytes]) -> None:
    if not 1 <= len(frames) <= 2:
        raise WireError(f"a message has 1 or 2 frames, not {len(frames)}")


def _ids_in(frame: bytes) -> list[int]:
    """The request ids of a frame that is not quite one of ours; empty where nothing can be made of it."""
    try:
        requests = _decode_heads(frame).requests
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    ids = []
    for request in requests[:MAX_REQUESTS]:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            ids.append(_decode_head(request).id)
    return [each for each in ids if each < 2**63]
