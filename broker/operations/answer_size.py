"""Whether the next message fits what the front can take, checked before anything changes."""

from __future__ import annotations

from broker.operations import leasing
from broker.operations.context import SubscriptionRef
from common.clock import Now
from common.errors import FanmailError
from common.protocol import ops


def check_fits(ref: SubscriptionRef, args: ops.Take | ops.Fetch, now: Now) -> None:
    """Raise `answer-too-large` (503), with the size, where the next message is larger than `args.room`.

    Takes nothing. To be called only where a room is given.
    """
    topic, delivery = ref.topic, ref.subscription.delivery
    if delivery is None and topic.bytes <= args.room:
        return
    place = args.place if isinstance(args, ops.Fetch) else 0
    seq = None if args.after or place or delivery is None else leasing.first_returned(ref, now)
    letter = delivery.leases.held[seq].letter if delivery is not None and seq is not None else None
    if letter is not None:
        size = len(letter.headers) + len(letter.body)
    else:
        if seq is None:
            start = max(ref.subscription.position, place, args.seq + 1 if args.after else 0)
            seq = topic.next_unexpired(min(start, topic.next_seq), now.time)
        if seq < topic.head_seq or seq >= topic.next_seq:
            return
        piece = topic.piece(seq)
        size = piece.size
        if size > args.room and piece.count > 1:
            whole = ref.context.with_content(topic, piece)
            if whole is None:
                check_fits(ref, args, now)
                return
            size = len(whole.headers) + len(whole.single(seq))
    if size > args.room:
        raise FanmailError(
            "answer-too-large", f"the next message has {size} bytes, there is room for {args.room}", size=size
        )
