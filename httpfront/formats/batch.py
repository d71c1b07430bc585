"""Many messages in one request or answer (`docs/http-api.md`). No I/O here.

The broker keeps a batch as frames, each 4 bytes of big-endian length and then the bytes, with a table of their offsets,
which is made here. Frames pass unchanged; `lines` and NDJSON are converted.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from struct import Struct as Layout
from struct import pack
from typing import Any

import falcon

from common.errors import FanmailError
from common.protocol import ops
from httpfront.formats.header_lists import MAX_ELEMENTS, elements, is_too_long, parameters
from httpfront.formats.metadata import SAFE_HEADERS, unpack_headers
from httpfront.formats.ndjson import NDJSON, as_lines, body_member, message_members
from httpfront.formats.receipts import receipt_text

FRAMES = "application/vnd.fanmail.frames"
_RENAMED = {"content-type": "Msg-Type", "content-encoding": "Msg-Encoding", "content-language": "Msg-Language"}
"""Kept headers that apply to each message, and would otherwise describe the whole answer."""
FORMATS = ("lines", "frames")
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?").fullmatch
"""RFC 9110, section 12.4.2."""
_length_at = Layout(">I").unpack_from


def read_batch(form: str, body: bytes, max_body: int, max_messages: int) -> ops.Publish:
    """Return the batch in a request's body, without its kept headers.

    `max_body` is the limit of one message in bytes. Raises `bad-batch` and `body-too-large`, which say which message is
    wrong.
    """
    if form == "lines":
        body = _frames_of_lines(body, max_messages)
    offsets = _offsets(body, max_body, max_messages)
    if len(offsets) == 1:
        raise FanmailError("bad-batch", "the batch is empty")
    return ops.Publish(b"", body, len(offsets) - 1, offsets.tobytes())


def _frames_of_lines(body: bytes, max_messages: int) -> bytes:
    """Convert lines to frames. Lines are counted first: a few million empty ones would be a gigabyte of objects."""
    if body.count(b"\n") + (not body.endswith(b"\n")) > max_messages:
        raise _too_many(max_messages)
    lines = body.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return b"".join([pack(">I", len(line)) + line for line in lines])


def _too_many(max_messages: int) -> FanmailError:
    return FanmailError("bad-batch", f"the batch has over {max_messages} messages")


def _offsets(body: bytes, max_body: int, max_messages: int) -> array[int]:
    """Return where each frame begins, and the end."""
    offsets = array("I", [0])
    add, end, at = offsets.append, len(body), 0
    last = end - 4
    while at < end:
        if at > last:
            raise FanmailError("bad-batch", f"message {len(offsets)} of the batch is truncated within its length")
        size = _length_at(body, at)[0]
        at += 4 + size
        if size > max_body:
            raise FanmailError(
                "body-too-large", f"message {len(offsets)} of the batch has {size} bytes; the limit is {max_body}"
            )
        if at > end:
            raise FanmailError("bad-batch", f"message {len(offsets)} of the batch is truncated")
        add(at)
        if len(offsets) > max_messages + 1:
            raise _too_many(max_messages)
    return offsets


def bodies(frames: bytes) -> Iterator[bytes]:
    """Yield the messages in frames."""
    at, end = 0, len(frames)
    while at < end:
        start = at + 4
        at = start + _length_at(frames, at)[0]
        yield frames[start:at]


def as_ndjson(batch: ops.Batch, leased: bool = False) -> bytes:
    """Render one JSON object per line: `id`, with `leased` the `receipt`, and the members of `ndjson.py`."""
    return as_lines(_objects(batch, leased))


def _objects(batch: ops.Batch, leased: bool) -> Iterator[dict[str, Any]]:
    for run in batch.runs:
        same = message_members(run.time, run.attempt, run.headers)
        for seq, body in enumerate(bodies(run.body), run.first):
            named = {"id": f"{batch.epoch}-{seq}"}
            if leased:
                named["receipt"] = receipt_text(batch.epoch, seq, run.attempt)
            yield named | same | body_member(body)


def present_batch(batch: ops.Batch, form: str, resp: falcon.Response, leased: bool = False) -> None:
    """Render several messages as frames or NDJSON; `leased` ones as NDJSON only."""
    first, last = batch.runs[0], batch.runs[-1]
    end = last.first + last.count - 1
    count = sum(run.count for run in batch.runs)  # what is leased elsewhere is missing between runs
    if form == FRAMES:
        resp.data = first.body
        for name, value in unpack_headers(first.headers):
            resp.set_header(_RENAMED.get(name, name), value)
    else:
        resp.data = as_ndjson(batch, leased)
    resp.content_type = form
    resp.set_headers(
        (
            ("Msg-Count", str(count)),
            ("Msg-First-Id", f"{batch.epoch}-{first.first}"),
            ("Msg-Id", f"{batch.epoch}-{end}"),
            ("Msg-Pending", str(batch.pending)),
            *SAFE_HEADERS,
        )
    )


def choose_format(accept: str, leased: bool = False) -> str:
    """Return the format of a fetch with `max` for an Accept header (RFC 9110, section 12.5.1).

    Frames have no place for receipts, so `leased` messages are NDJSON or nothing. Raises `not-acceptable`, and
    `bad-parameter` where the header is too long.
    """
    if not accept:
        return NDJSON
    weights = accepted_weights(accept)
    forms = (NDJSON,) if leased else (NDJSON, FRAMES)
    offers = {form: _weight(weights, form) for form in forms}
    best = max(offers, key=lambda form: offers[form])
    if offers[best] <= 0:
        raise FanmailError(
            "not-acceptable", f"with {'lease' if leased else 'max'} the available formats are {' and '.join(forms)}"
        )
    return best


def accepted_weights(accept: str) -> dict[str, float]:
    """Return the weights of an Accept header by media type or range, in lower case.

    Raises `bad-parameter` where it is too long.
    """
    if is_too_long(accept):
        raise FanmailError("bad-parameter", f"header Accept has over {MAX_ELEMENTS} elements", parameter="Accept")
    weights: dict[str, float] = {}
    for element in elements(accept.lower()):
        (kind, _), *rest = parameters(element)
        weights[kind] = _quality(rest)
    return weights


def _weight(weights: dict[str, float], form: str) -> float:
    for kind in (form, "application/*", "*/*"):
        if kind in weights:
            return weights[kind]
    return 0.0


def _quality(rest: list[tuple[str, str]]) -> float:
    """Return the weight among the parameters; 0 where it is malformed, 1 where there is none."""
    weight = next((value for name, value in rest if name == "q"), "1")
    return float(weight) if _WEIGHT(weight) else 0.0
