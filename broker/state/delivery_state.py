"""What a subscription has beside its position: leases, dead letters, settings. Most have none of it."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable

from broker import records
from broker.records import DeadLetter
from broker.state.leases import DEAD_LETTER_COST, Leases
from broker.state.usage import Usage, UserUsage
from broker.thresholds import DEFAULT, Thresholds

DELIVERY_STATE_COST = 1000
"""Bytes of memory of a delivery state and its deadlines, measured by bench/measures/ceiling.py with all of its
settings.
"""


class DeliveryState:
    """The leases, dead letters and settings of one subscription.

    Changed by `State.apply` only; persists except for `last_call`.
    """

    __slots__ = ("dead", "expires_after", "last_call", "leases", "max_deliveries")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self.leases = Leases(thresholds)
        self.dead = DeadLetterList()
        self.expires_after = 0
        """Microseconds without a call after which the subscription ends; 0: never."""
        self.max_deliveries = 0
        """Deliveries under a lease, since the message was last put back, after which it becomes a dead letter; 0: no
        limit.
        """
        self.last_call = 0
        """When the user's last call ended, microseconds of the monotonic clock; 0: not since the broker started. Not a
        part of the state: only the idle clock uses it.
        """

    @property
    def needed(self) -> bool:
        """Return whether it holds anything."""
        return bool(self.leases.held or self.dead.letters or self.expires_after or self.max_deliveries)

    @property
    def weight(self) -> int:
        """Return the estimated bytes of memory."""
        return DELIVERY_STATE_COST + self.leases.weight + self.dead.weight

    @property
    def held_weight(self) -> int:
        """Return the bytes that are there because of leases; those of settings do not count."""
        if not self.leases.held:
            return 0
        return self.leases.weight + (0 if self.expires_after or self.max_deliveries else DELIVERY_STATE_COST)


class DeadLetterList:
    """The dead letters of one subscription, the longest dead first."""

    __slots__ = ("_order", "bytes", "letters")

    def __init__(self) -> None:
        self.letters: dict[int, DeadLetter] = {}
        """By sequence number."""
        self.bytes = 0
        """Of content."""
        self._order: list[int] = []
        """The sequence numbers, sorted."""

    @property
    def weight(self) -> int:
        """Return the estimated bytes of memory."""
        return self.bytes + len(self.letters) * DEAD_LETTER_COST

    @property
    def oldest(self) -> int:
        """Return the sequence number of the longest dead; there must be one."""
        return next(iter(self.letters))

    def add(self, letter: DeadLetter) -> None:
        """Add a letter. Raise `ValueError` for one that is there already."""
        if letter.seq in self.letters:
            raise ValueError(f"message {letter.seq} is dead already")
        self.letters[letter.seq] = letter
        insort(self._order, letter.seq)
        self.bytes += letter.size

    def remove(self, seq: int) -> DeadLetter:
        """Remove a letter and return it."""
        letter = self.letters.pop(seq)
        del self._order[bisect_right(self._order, seq) - 1]
        self.bytes -= letter.size
        return letter

    def behind(self, seq: int, most: int) -> tuple[list[DeadLetter], int]:
        """Return at most `most` letters with greater sequence numbers, in order, and how many there are in all."""
        at = bisect_right(self._order, seq)
        return [self.letters[each] for each in self._order[at : at + most]], len(self._order) - at


class DeliveryTotals:
    """Totals of all delivery states of a broker, maintained incrementally."""

    __slots__ = ("bytes", "dead", "dead_bytes", "dead_letters", "held", "open_leases")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self.bytes = 0
        """Estimated memory of leases, dead letters and settings."""
        self.open_leases = 0
        self.dead_letters = 0
        self.dead_bytes = 0
        """Content of the dead letters."""
        self.held: Usage[bytes] = Usage()
        """Estimated memory of held messages, by topic."""
        self.dead = UserUsage(thresholds)
        """Estimated memory of dead letters, by topic and user."""

    def count(self, topic: bytes, user: bytes, delivery: DeliveryState, sign: int) -> None:
        """Add a delivery state as it is now with `sign` 1; subtract it as it was with -1."""
        self.bytes += sign * delivery.weight
        self.open_leases += sign * delivery.leases.open
        self.dead_letters += sign * len(delivery.dead.letters)
        self.dead_bytes += sign * delivery.dead.bytes
        if delivery.leases.held:
            self.held.add(topic, sign * delivery.held_weight)
        if delivery.dead.letters:
            self.dead.add(topic, user, sign * delivery.dead.weight)


def _settings_set(delivery: DeliveryState, record: records.SettingsSet) -> None:
    delivery.expires_after = record.expires_after
    delivery.max_deliveries = record.max_deliveries


def _leased(delivery: DeliveryState, record: records.Leased) -> None:
    delivery.leases.lease(record.first, record.count, record.attempt, record.until_us)


def _returned(delivery: DeliveryState, record: records.Returned) -> None:
    for seq in record.seqs:
        delivery.leases.give_back(seq, record.due_us)


def _finished(delivery: DeliveryState, record: records.Finished) -> None:
    delivery.leases.finish(record.seqs)


def _dead_lettered(delivery: DeliveryState, record: records.DeadLettered) -> None:
    if record.letter.seq in delivery.leases.held:  # not while a store is loaded
        delivery.leases.finish((record.letter.seq,))
    delivery.dead.add(record.letter)


def _dead_ended(delivery: DeliveryState, record: records.DeadEnded) -> None:
    for seq in record.seqs:
        delivery.dead.remove(seq)


def _dead_returned(delivery: DeliveryState, record: records.DeadReturned) -> None:
    for seq in record.seqs:
        delivery.leases.put_back(delivery.dead.remove(seq))


DELIVERY_CHANGES: dict[type, Callable[..., None]] = {
    records.SettingsSet: _settings_set,
    records.Leased: _leased,
    records.Returned: _returned,
    records.Finished: _finished,
    records.DeadLettered: _dead_lettered,
    records.DeadEnded: _dead_ended,
    records.DeadReturned: _dead_returned,
}
"""How each record changes a delivery state; for `State.apply` only."""
