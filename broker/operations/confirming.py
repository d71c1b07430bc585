"""Confirming: a cursor says up to where the messages of a user are done."""

from __future__ import annotations

from broker.operations import leasing
from broker.operations.context import SubscriptionRef
from broker.records import SubscriptionSet
from common.clock import Now
from common.errors import FanmailError


def check_no_leases(ref: SubscriptionRef, now: Now) -> None:
    """Raise `leases-out` where messages of the user are leased or await redelivery: a cursor needs no holes."""
    if ref.subscription.delivery is None:
        return
    leasing.next_returned(ref, now)  # what will not be redelivered is no reason to refuse
    held = ref.subscription.delivery.leases.held if ref.subscription.delivery else ()
    if held:
        raise FanmailError(
            "leases-out", f"{len(held)} messages of this user are leased or await redelivery; nothing was confirmed"
        )


def confirm_up_to(ref: SubscriptionRef, epoch: str, seq: int) -> None:
    """Confirm everything up to the cursor; an older one, and "" with 0, change nothing. Raise `cursor-lost`."""
    topic, subscription = ref.topic, ref.subscription
    if not epoch and seq == 0:
        return
    if epoch != topic.epoch or not 0 <= seq < topic.next_seq:
        position = max(subscription.position, topic.head_seq)
        oldest = {"oldest": f"{topic.epoch}-{position}"} if position < topic.next_seq else {}
        raise FanmailError("cursor-lost", "this id is not of the topic's present life; continue with after=0", **oldest)
    if seq >= subscription.position:
        ref.emit(SubscriptionSet, seq + 1)
