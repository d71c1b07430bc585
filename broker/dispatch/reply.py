"""A packed reply on its way to a peer."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from common.protocol import ops, stats, wire
from common.protocol.wire import Request

_NO_BODY = ops.Run(0, 0, 0, b"", b"")


class Outgoing(NamedTuple):
    """One packed reply, and its body where that is large enough for a frame of its own."""

    packed: bytes
    body: bytes | None = None
    request_id: str = ""
    """For the log, where the reply cannot be delivered."""


def hand_out(request: Request, result: Any, counters: Counter[str]) -> Outgoing:
    """Return the reply with a `Message` or a `Batch`, and count what is delivered."""
    holder: ops.Message | ops.Run
    if type(result) is ops.Message:
        holder, count, again = result, 1, int(result.attempt > 1)
    else:
        holder = result.runs[0] if len(result.runs) == 1 else _NO_BODY
        count = sum(run.count for run in result.runs)
        again = sum(run.count for run in result.runs if run.attempt > 1)
    counters[stats.DELIVERED] += count
    if again:
        counters[stats.REDELIVERED] += again
    if len(holder.body) < wire.LARGE_BODY:
        return Outgoing(wire.pack_reply(request.id, result), None, request.request_id)
    large, holder.body = holder.body, b""
    return Outgoing(wire.pack_reply(request.id, result), large, request.request_id)
