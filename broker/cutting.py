"""Cuts runs of messages out of a topic's log. On the batch path there is no Python work for each message."""

from __future__ import annotations

from broker.topic import Topic
from common import ops


def cut_runs(topic: Topic, position: int, args: ops.Fetch) -> list[ops.Run]:
    """At least one message from `position` on, at most `args.max`, and more than one only within `args.max_bytes`.

    A run for each piece, or with `one_run` all in one, which ends where the kept headers change.
    """
    runs: list[ops.Run] = []
    bodies: list[bytes] = []
    left, room = args.max, args.max_bytes
    for piece in topic.pieces(position):
        if runs and args.one_run and piece.headers != runs[0].headers:
            break
        seq = max(position, piece.first)
        body, count = piece.frames(seq, left, room)
        if runs and len(body) > room:
            break
        runs.append(ops.Run(seq, count, piece.time, piece.headers, body))
        bodies.append(body)
        left, room = left - count, room - len(body)
        if left <= 0 or room <= 0 or seq + count < piece.first + piece.count:
            break
    if args.one_run and len(runs) > 1:
        first = runs[0]
        return [ops.Run(first.first, args.max - left, first.time, first.headers, b"".join(bodies))]
    return runs
