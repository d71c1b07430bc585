"""What a user has beside his place in the log: leases, dead letters, settings. Most users have none of it."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable

from broker import records
from broker.records import DeadLetter
from broker.state.leases import DEAD_LETTER_COST, Leases
from broker.state.usage import Usage, UserUsage
from broker.thresholds import DEFAULT, Thresholds

DELIVERY_STATE_COST = 1000
"""Bytes of memory of a delivery and its deadlines, measured by bench/measures/ceiling.py with all of its settings."""


class DeliveryState:
    """Of one subscription. Changed by `State.apply` only; persists but for `last_call`."""

    __slots__ = ("dead", "expires_after", "last_call", "leases", "max_deliveries")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self.leases = Leases(thresholds)
        self.dead = DeadLetterList()
        self.expires_after = 0
        """Microseconds without a call after which the subscription ends; 0: never."""
        self.max_deliveries = 0
        """A message that was handed out so often under a lease, since it was last put back, becomes a dead letter;
        0: never.
        """
        self.last_call = 0
        """When the user's last call ended, microseconds of the monotonic clock; 0: not since the broker began. Not
        a part of the state: only the idle clock looks at it.
        """

    @property
    def needed(self) -> bool:
        """Whether it says anything."""
        return bool(self.leases.held or self.dead.letters or self.expires_after or self.max_deliveries)

    @property
    def weight(self) -> int:
        """Estimated bytes of memory."""
        return DELIVERY_STATE_COST + self.leases.weight + self.dead.weight

    @property
    def held_weight(self) -> int:
        """What of it is there for the sake of leases: settings take none of their room."""
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
        """Estimated bytes of memory."""
        return self.bytes + len(self.letters) * DEAD_LETTER_COST

    @property
    def oldest(self) -> int:
        """Sequence number of the longest dead; there must be one."""
        return next(iter(self.letters))

    def add(self, letter: DeadLetter) -> None:
        """The message died just now. Raises `ValueError` for one that is dead already."""
        if letter.seq in self.letters:
            raise ValueError(f"message {letter.seq} is dead already")
        self.letters[letter.seq] = letter
        insort(self._order, letter.seq)
        self.bytes += letter.size

    def remove(self, seq: int) -> DeadLetter:
        """Takes one out."""
        letter = self.letters.pop(seq)
        del self._order[bisect_right(self._order, seq) - 1]
        self.bytes -= letter.size
        return letter

    def behind(self, seq: int, most: int) -> tuple[list[DeadLetter], int]:
        """At most `most` with a greater sequence number, in the order of the numbers, and how many there are."""
        at = bisect_right(self._order, seq)
        return [self.letters[each] for each in self._order[at : at + most]], len(self._order) - at


class DeliveryTotals:
    """What all ledgers of a broker come to. Kept up rather than counted."""

    __slots__ = ("bytes", "dead", "dead_bytes", "dead_letters", "held", "open_leases")

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self.bytes = 0
        """Estimated memory of leases, dead letters and settings."""
        self.open_leases = 0
        self.dead_letters = 0
        self.dead_bytes = 0
        """Content of the dead letters."""
        self.held: Usage[bytes] = Usage()
        """Estimated memory of what is held under leases, by topic."""
        self.dead = UserUsage(thresholds)
        """The same of dead letters, by user."""

    def count(self, topic: bytes, user: bytes, delivery: DeliveryState, sign: int) -> None:
        """With `sign` 1 a delivery as it stands comes to it, with -1 it goes, as it stood."""
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
    for seq in range(record.first, record.first + record.count):
        delivery.leases.lease(seq, record.attempt, record.until_us)


def _returned(delivery: DeliveryState, record: records.Returned) -> None:
    for seq in record.seqs:
        delivery.leases.give_back(seq, record.due_us)


def _finished(delivery: DeliveryState, record: records.Finished) -> None:
    for seq in record.seqs:
        delivery.leases.finish(seq)


def _dead_lettered(delivery: DeliveryState, record: records.DeadLettered) -> None:
    if record.letter.seq in delivery.leases.held:  # not when a store is loaded
        delivery.leases.finish(record.letter.seq)
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
"""What each record changes in a delivery; for `State.apply` only."""
