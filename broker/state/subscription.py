"""A subscription: the position of one user in the log of one topic, and its delivery state."""

from __future__ import annotations

from msgspec import Struct

from broker.state.delivery_state import DeliveryState


class Subscription(Struct, gc=False):
    """The position of one user in a topic.

    Small, and not tracked by the garbage collector: a broker holds millions of them.
    """

    position: int
    """Sequence number of the next message to deliver; delivering it with `after` does not advance it. Persists."""
    delivery: DeliveryState | None = None
    """Leases, dead letters and settings; None while there are none."""

    @property
    def floor(self) -> int:
        """Return the sequence number of the first unfinished message: the log is kept from there on."""
        if self.delivery is None:
            return self.position
        oldest = self.delivery.leases.oldest()
        return self.position if oldest is None else min(oldest, self.position)

    @property
    def returned(self) -> int:
        """Return the number of messages that wait for redelivery."""
        return 0 if self.delivery is None else self.delivery.leases.waiting
