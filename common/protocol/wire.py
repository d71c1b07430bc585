"""The wire between fronts and brokers: bytes <-> requests and replies. No sockets. Version 1.

A ZeroMQ message (after the routing id of the ROUTER) is one frame, or two if a large body is sent next to the only
request or reply of the message, so that it is never copied into a packed buffer:

    request frame  [version, incarnation, map_epoch, [[id, op, topic, user, deadline, args, request_id], ...], taken]
    reply frame    [version, incarnation, clock, state, map_epoch, [[id, code, result], ...], sent, term]

Frames are MessagePack. `args` and `result` are those of `common/protocol/ops.py`; with a second frame, their `body`
field is empty. A reply with `code` "" is a success, whose result is nil if there is nothing to deliver. Otherwise
`code` is one of `common/errors.py` and the result is the detail: a text, or [text, {more members}].

`incarnation` in a request is that of the broker process that the front has heard from, 0 only in a PING: a broker
refuses requests for its predecessor. `deadline` and `clock` are microseconds of the broker's own monotonic clock.
`request_id` is the id of the HTTP request for the logs, and optional. Functions raise `WireError` and nothing else on
hostile bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from common.errors import FanmailError
from common.protocol.ops import OPS, Op

VERSION = 1
MAX_REQUESTS = 64
"""Maximum requests or replies in one frame."""
MAX_PACKED = 256 * 1024
"""Bytes at which a sender closes a packed frame."""
LARGE_BODY = 16 * 1024
"""Bytes from which a body is sent as a frame of its own."""
MAX_COUNTED = 1024
"""Maximum requests or replies of a frame that are decoded to report that there are too many; beyond it none are."""
MAX_REQUEST_ID = 128
"""Maximum characters of the id of an HTTP request, which is visible ASCII because it is logged."""


class WireError(Exception):
    """The bytes do not follow this protocol.

    `ids` are the request ids that could be read nevertheless; they get an error reply.
    """

    def __init__(self, reason: str, ids: Sequence[int] = ()) -> None:
        super().__init__(reason)
        self.ids = tuple(ids)


class BrokerState(IntEnum):
    """The state of a broker, in every reply frame."""

    LOADING = 0
    READY = 1
    DRAINING = 2
    STANDBY = 3
    """A candidate that follows the replicated log and does not own it."""


class Request(Struct, array_like=True):
    """One operation. `user` is empty if the operation has none."""

    id: int
    op: int
    topic: bytes
    user: bytes
    deadline: int
    args: Raw
    request_id: Annotated[str, Meta(max_length=MAX_REQUEST_ID)] = ""
    """Id of the HTTP request that this is a part of, "" if there is none."""


class RequestFrame(Struct, array_like=True):
    """Requests sent together, for one incarnation of one broker."""

    version: int
    incarnation: int
    map_epoch: int
    requests: Annotated[list[Request], Meta(max_length=MAX_COUNTED)]
    taken: int = -1
    """`sent` of the last reply frame that the front has read, -1 if unknown."""


class Reply(Struct, array_like=True):
    """The answer to the request with the same id."""

    id: int
    code: str
    result: Raw


class ReplyFrame(Struct, array_like=True):
    """Replies sent together, with the state of the broker."""

    version: int
    incarnation: int
    clock: int
    state: int
    map_epoch: int
    replies: Annotated[list[Reply], Meta(max_length=MAX_COUNTED)]
    sent: int = 0
    """Bytes of all replies sent over this connection so far, these included."""
    term: int = 0
    """Term of the owner of the broker's replicated log, as far as the sender knows it; 0 without such a log."""


class _Heads(Struct, array_like=True):
    """A malformed `RequestFrame`, of which only the list of requests is decoded."""

    version: Raw
    incarnation: Raw
    map_epoch: Raw
    requests: Annotated[list[Raw], Meta(max_length=MAX_COUNTED)]


class _Head(Struct, array_like=True):
    """The first member of a request of any form."""

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
    """Pack one request for `pack_requests`. `request_id` must be visible ASCII."""
    if request_id:
        return _encode((call_id, op, topic, user, deadline, args, request_id))
    return _encode((call_id, op, topic, user, deadline, args))


def pack_requests(incarnation: int, map_epoch: int, packed: Sequence[bytes], taken: int = -1) -> bytes:
    """Pack a request frame of requests from `pack_request`."""
    if taken < 0:
        return _encode((VERSION, incarnation, map_epoch, [Raw(each) for each in packed]))
    return _encode((VERSION, incarnation, map_epoch, [Raw(each) for each in packed], taken))


def pack_reply(call_id: int, result: Struct | None) -> bytes:
    """Pack one success for `pack_replies`."""
    return _encode((call_id, "", result))


def pack_result(result: Struct | None) -> bytes:
    """Pack a result alone."""
    return _encode(result)


def pack_error(call_id: int, code: str, detail: str, fields: dict[str, Any] | None = None) -> bytes:
    """Pack one error for `pack_replies`. `fields` are further members for the client."""
    return _encode((call_id, code, (detail, fields) if fields else detail))


def pack_replies(
    incarnation: int, clock: int, state: int, map_epoch: int, packed: Sequence[bytes], sent: int = 0, term: int = 0
) -> bytes:
    """Pack a reply frame of replies from `pack_reply` and `pack_error`."""
    replies = [Raw(each) for each in packed]
    if term:
        return _encode((VERSION, incarnation, clock, state, map_epoch, replies, sent, term))
    if not sent:
        return _encode((VERSION, incarnation, clock, state, map_epoch, replies))
    return _encode((VERSION, incarnation, clock, state, map_epoch, replies, sent))


def unpack_requests(frames: Sequence[bytes]) -> RequestFrame:
    """Unpack the requests of a message (without its routing id). Arguments stay packed until `unpack_args`."""
    _check_parts(frames)
    try:
        frame = _decode_requests(frames[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a request frame: {error}", _ids_in(frames[0])) from None
    if frame.version != VERSION:
        raise WireError(f"version {frame.version} is not supported", _ids_of(frame))
    if len(frame.requests) > (1 if len(frames) == 2 else MAX_REQUESTS):
        raise WireError("too many requests in one message", _ids_of(frame))
    for each in frame.requests:
        named = each.request_id
        if named and not (named.isascii() and named.isprintable() and " " not in named):
            raise WireError("the id of an HTTP request must be visible ASCII", _ids_of(frame))
    return frame


def unpack_args(request: Request) -> Any:
    """Unpack the arguments of a request, of the type in the row of its operation."""
    decode = _decode_args.get(request.op)
    if decode is None:
        raise WireError(f"operation {request.op} is not known here", [request.id])
    try:
        return decode(request.args)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"arguments of operation {request.op}: {error}", [request.id]) from None


def unpack_replies(frames: Sequence[bytes]) -> ReplyFrame:
    """Unpack the replies of a message. Results stay packed until `unpack_result`."""
    _check_parts(frames)
    try:
        frame = _decode_replies(frames[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a reply frame: {error}") from None
    if frame.version != VERSION:
        raise WireError(f"version {frame.version} is not supported")
    return frame


def unpack_result(op: Op, result: Raw) -> Any:
    """Unpack the result of a successful reply, None if it is nil."""
    try:
        return _decode_results[op](result)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"result of operation {op}: {error}") from None


def unpack_error(code: str, result: Raw) -> FanmailError:
    """Unpack the error of a reply with a code; a detail that cannot be read is omitted."""
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
    """Return the code of a reply from `pack_reply` or `pack_error`; "" for a success."""
    return _decode_reply(packed_reply).code


def _ids_of(frame: RequestFrame) -> list[int]:
    return [each.id for each in frame.requests[:MAX_REQUESTS]]


def _check_parts(frames: Sequence[bytes]) -> None:
    if not 1 <= len(frames) <= 2:
        raise WireError(f"a message has 1 or 2 frames, not {len(frames)}")


def _ids_in(frame: bytes) -> list[int]:
    """Return the request ids of a malformed frame, as far as they can be read."""
    try:
        requests = _decode_heads(frame).requests
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    ids = []
    for request in requests[:MAX_REQUESTS]:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            ids.append(_decode_head(request).id)
    return [each for each in ids if each < 2**63]
