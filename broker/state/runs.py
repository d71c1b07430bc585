"""Cuts runs of messages out of a topic's log. On the batch path there is no Python work for each message."""

from __future__ import annotations

from collections.abc import Callable

from broker.state.piece import Piece
from broker.state.topic import Topic
from common.protocol import ops


def cut_runs(
    topic: Topic,
    position: int,
    most: int,
    room: int,
    now: int,
    whole: Callable[[Topic, Piece], Piece | None],
    *,
    one_run: bool = False,
    one_always: bool = True,
    meta: int | None = None,
) -> list[ops.Run]:
    """At most `most` messages from `position` on, which must not have expired at `now`, within `room` bytes of
    frames, and where all in one run is not asked for `meta` bytes of kept headers; with `one_always` one at least.
    Their numbers are consecutive: it stops where something has expired.

    `whole` gives a piece with its content, None for one that is damaged: it stops there. A run for each piece, or with
    `one_run` all in one, which ends where the kept headers change.
    """
    runs: list[ops.Run] = []
    bodies: list[bytes] = []
    left, meta = most, room if meta is None else meta
    for piece in topic.pieces(position):
        if piece.expires and piece.expires <= now and runs:
            break
        found = whole(topic, piece)
        if found is None or (runs and one_run and found.headers != runs[0].headers):
            break
        seq = max(position, piece.first)
        each = 0 if one_run else len(found.headers)
        may = min(left, max(1, meta // each)) if each else left
        if (each > meta or room < 0) and (runs or not one_always):
            break
        body, count = found.frames(seq, may, room)
        if len(body) > room and (runs or not one_always):
            break
        meta -= each * count
        runs.append(ops.Run(seq, count, piece.time, found.headers, body))
        bodies.append(body)
        left, room = left - count, room - len(body)
        if left <= 0 or room <= 0 or seq + count < piece.end:
            break
    if one_run and len(runs) > 1:
        first = runs[0]
        return [ops.Run(first.first, most - left, first.time, first.headers, b"".join(bodies))]
    return runs
