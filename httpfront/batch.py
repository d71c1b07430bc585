"""Many messages in one request or answer (section 7 of `docs/http-api.md`). No I/O here.

The broker keeps a batch as frames, each 4 bytes of big-endian length and then the bytes, with a table of where they
begin, which is made here. Frames come and go unchanged; `lines` and NDJSON are made of them and into them.
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import Iterator
from struct import Struct as Layout
from struct import pack

import falcon
import msgspec

from common import ops
from common.errors import FanmailError
from httpfront.metadata import rfc3339, unpack_headers

FRAMES = "application/vnd.fanmail.frames"
NDJSON = "application/x-ndjson"
_RENAMED = {"content-type": "Msg-Type", "content-encoding": "Msg-Encoding", "content-language": "Msg-Language"}
"""Kept headers that would speak of the whole answer, where they mean each message."""
FORMATS = ("lines", "frames")
_length_at = Layout(">I").unpack_from


def read_batch(form: str, body: bytes, max_body: int, max_messages: int) -> ops.Publish:
    """The batch in a request's body, without its kept headers. `max_body` in bytes is of one message.

    Raises `bad-batch` that says which message is wrong, `body-too-large` for a message over its ceiling.
    """
    if form == "lines":
        lines = body.split(b"\n")
        if not lines[-1]:
            lines.pop()
        body = b"".join([pack(">I", len(line)) + line for line in lines])
    offsets = _offsets(body, max_body, max_messages)
    if len(offsets) == 1:
        raise FanmailError("bad-batch", "the batch has no message")
    return ops.Publish(b"", body, len(offsets) - 1, offsets.tobytes())


def _offsets(body: bytes, max_body: int, max_messages: int) -> array[int]:
    """Where each frame begins, and the end."""
    offsets = array("I", [0])
    add, end, at = offsets.append, len(body), 0
    last = end - 4
    while at < end:
        if at > last:
            raise FanmailError("bad-batch", f"message {len(offsets)} of the batch: its length is cut off")
        size = _length_at(body, at)[0]
        at += 4 + size
        if size > max_body:
            raise FanmailError(
                "body-too-large", f"message {len(offsets)} of the batch has {size} bytes, at most {max_body}"
            )
        if at > end:
            raise FanmailError("bad-batch", f"message {len(offsets)} of the batch is cut off")
        add(at)
        if len(offsets) > max_messages + 1:
            raise FanmailError("bad-batch", f"the batch has over {max_messages} messages")
    return offsets


def bodies(frames: bytes) -> Iterator[bytes]:
    """The messages in frames."""
    at, end = 0, len(frames)
    while at < end:
        start = at + 4
        at = start + _length_at(frames, at)[0]
        yield frames[start:at]


def as_ndjson(batch: ops.Batch) -> bytes:
    """One JSON object a line: `id`, `time`, `attempt`, `type`, `meta`, and `text`, or `base64` of what is not UTF-8."""
    encode = msgspec.json.encode
    lines: list[bytes] = []
    for run in batch.runs:
        kept = dict(unpack_headers(run.headers))
        same = {"time": rfc3339(run.time), "attempt": 1, "type": kept.pop("content-type")}
        if kept:
            same["meta"] = kept
        for seq, body in enumerate(bodies(run.body), run.first):
            try:
                content = {"text": body.decode()}
            except UnicodeDecodeError:
                content = {"base64": base64.b64encode(body).decode()}
            lines.append(encode({"id": f"{batch.epoch}-{seq}"} | same | content))
    lines.append(b"")
    return b"\n".join(lines)


def present_batch(batch: ops.Batch, form: str, resp: falcon.Response) -> None:
    """Renders messages handed out together, as frames or NDJSON."""
    first, last = batch.runs[0], batch.runs[-1]
    end = last.first + last.count - 1
    if form == FRAMES:
        resp.data = first.body
        for name, value in unpack_headers(first.headers):
            resp.set_header(_RENAMED.get(name, name), value)
    else:
        resp.data = as_ndjson(batch)
    resp.content_type = form
    resp.set_headers(
        (
            ("Msg-Count", str(end - first.first + 1)),
            ("Msg-First-Id", f"{batch.epoch}-{first.first}"),
            ("Msg-Id", f"{batch.epoch}-{end}"),
            ("Msg-Pending", str(batch.pending)),
            ("X-Content-Type-Options", "nosniff"),
        )
    )


def choose_format(accept: str) -> str:
    """The format of a fetch with `max`, from the Accept header (RFC 9110, section 12.5.1). Raises `not-acceptable`."""
    if not accept:
        return NDJSON
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, *parameters = [each.strip() for each in part.split(";")]
        weights[kind] = _quality(parameters)
    offers = {form: _weight(weights, form) for form in (NDJSON, FRAMES)}
    best = max(offers, key=lambda form: offers[form])
    if offers[best] <= 0:
        raise FanmailError("not-acceptable", f"with max this is given as {NDJSON} or {FRAMES}")
    return best


def _weight(weights: dict[str, float], form: str) -> float:
    for kind in (form, "application/*", "*/*"):
        if kind in weights:
            return weights[kind]
    return 0.0


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
