"""A subscription: the place of one user in the log of one topic, and what he has beside it."""

from __future__ import annotations

from msgspec import Struct

from broker.state.delivery_state import DeliveryState


class Subscription(Struct, gc=False):
    """Small on purpose, and not tracked by the garbage collector: a broker holds millions of them."""

    position: int
    """Sequence number of the first message that this user was never handed but with `after`. Persists."""
    delivery: DeliveryState | None = None
    """Leases, dead letters and settings; None while there are none."""

    @property
    def floor(self) -> int:
        """Sequence number of the first message in the log that is not done: nothing before it is kept for this user."""
        if self.delivery is None:
            return self.position
        oldest = self.delivery.leases.oldest()
        return self.position if oldest is None else min(oldest, self.position)

    @property
    def returned(self) -> int:
        """How many messages that were handed out before wait to be handed out again."""
        return 0 if self.delivery is None else self.delivery.leases.waiting
