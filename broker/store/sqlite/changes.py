"""The rows that a burst of records changes, each as it is after the burst. No I/O here.

A message that is stored and read in the same burst is never written, and a position that moves a hundred times is
written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from broker import records
from broker.calendar import Step
from broker.records import DeadLetter, Record
from broker.store.sqlite.slot_rows import SLOT_RECORDS, SlotChanges
from broker.store.sqlite.tables import HeldRow, KeyRow, SettingsRow, SubscriptionRow, TopicRow, TopicSettingsRow

UserKey = tuple[int, bytes]
"""Number of a topic, user."""
MessageKey = tuple[int, bytes, int]
"""Number of a topic, user, sequence number."""


class NewLetter(NamedTuple):
    """A letter to be written."""

    letter: DeadLetter
    dead: bool
    """False for one that was put back."""


class RowChanges:
    """Collects the records of one burst.

    In the dictionaries, which have the keys of rows, None means that the row is deleted.
    """

    def __init__(self, numbers: dict[bytes, int], apart: dict[UserKey, set[int]]) -> None:
        """`numbers` are those of the live topics by name; `apart` are the letters that were put back.

        Both are kept up to date.
        """
        self._numbers = numbers
        self._apart = apart
        self._touched: dict[UserKey, set[int]] = {}
        """The messages of a subscription of which there are rows here, to be removed when it ends."""
        self._keys_of: dict[bytes, set[bytes]] = {}
        """The same of the idempotency keys of a topic."""
        self.topics: dict[int, TopicRow | None] = {}
        self.topics_begun = 0
        """The greatest number of a topic that began, even if it has ended again."""
        self.topic_settings: dict[int, TopicSettingsRow | None] = {}
        self.pieces: dict[int, tuple[int, records.MessageStored]] = {}
        """New pieces, with the numbers of their topics."""
        self.freed: list[int] = []
        """Pieces of earlier bursts that no subscriber needs."""
        self.last_piece = 0
        """The greatest number of a piece that was stored, even if it is not wanted any more."""
        self.subscriptions: dict[UserKey, SubscriptionRow | None] = {}
        self.settings: dict[UserKey, SettingsRow | None] = {}
        self.users_gone: dict[UserKey, None] = {}
        """Subscriptions whose held messages and letters of earlier bursts are gone."""
        self.held: dict[MessageKey, HeldRow | None] = {}
        self.returned: dict[MessageKey, int] = {}
        """Held messages of earlier bursts that are not leased any more, and when they are due."""
        self.letters: dict[MessageKey, NewLetter | None] = {}
        self.put_back: dict[MessageKey, None] = {}
        """Letters of earlier bursts that are not dead any more."""
        self.calendar: tuple[Step, ...] | None = None
        """The calendar, where it has changed."""
        self.delayed: dict[int, records.PublishDelayed | None] = {}
        self.last_delayed = 0
        """The greatest number of a delayed publish, even if it does not wait any more."""
        self.keys: dict[tuple[bytes, bytes], KeyRow | None] = {}
        self.slots = SlotChanges()
        self.keys_gone: dict[bytes, None] = {}
        """Topics whose keys of earlier bursts are gone."""

    def add(self, burst: Sequence[Record]) -> None:
        """Add records, in order."""
        for record in burst:
            _ADD[type(record)](self, record)

    def _calendar_set(self, record: records.CalendarSet) -> None:
        self.calendar = record.steps

    def _topic_began(self, record: records.TopicBegan) -> None:
        self._numbers[record.topic] = record.number
        self.topics_begun = max(self.topics_begun, record.number)
        self.topics[record.number] = TopicRow(record.number, record.topic, record.next_seq)
        if record.epoch:
            self.slots.set_epoch(record.number, record.epoch)

    def _topic_ended(self, record: records.TopicEnded) -> None:
        number = self._numbers.pop(record.topic)
        self.topics[number] = self.topic_settings[number] = None
        self.slots.set_epoch(number, "")
        self.keys_gone[record.topic] = None
        for key in self._keys_of.pop(record.topic, ()):
            self.keys.pop((record.topic, key), None)

    def _topic_changed(self, record: records.TopicChanged) -> None:
        number = self._numbers[record.topic]
        row = TopicSettingsRow(number, record.max_messages, record.max_bytes, record.max_age, record.drop_oldest)
        self.topic_settings[number] = None if row == (number, None, None, None, None) else row

    def _message_stored(self, record: records.MessageStored) -> None:
        self.last_piece = record.piece
        self.pieces[record.piece] = (self._numbers[record.topic], record)

    def _head_moved(self, record: records.HeadMoved) -> None:
        number = self._numbers[record.topic]
        self.topics[number] = TopicRow(number, record.topic, record.head)

    def _pieces_freed(self, record: records.PiecesFreed) -> None:
        # One that is new in this burst is never written.
        self.freed += [piece for piece in record.pieces if self.pieces.pop(piece, None) is None]

    def _subscription_set(self, record: records.SubscriptionSet) -> None:
        number = self._numbers[record.topic]
        self.subscriptions[number, record.user] = SubscriptionRow(number, record.user, record.position)

    def _subscription_ended(self, record: records.SubscriptionEnded) -> None:
        key = (self._numbers[record.topic], record.user)
        self.subscriptions[key] = self.settings[key] = None
        self.users_gone[key] = None
        for seq in self._touched.pop(key, ()):
            for rows in (self.held, self.returned, self.letters, self.put_back):
                rows.pop((*key, seq), None)
        self._apart.pop(key, None)

    def _settings_set(self, record: records.SettingsSet) -> None:
        number = self._numbers[record.topic]
        row = SettingsRow(number, record.user, record.expires_after, record.max_deliveries)
        self.settings[number, record.user] = row if row.expires_after or row.max_deliveries else None

    def _leased(self, record: records.Leased) -> None:
        number, user = self._numbers[record.topic], record.user
        self._touch((number, user), range(record.first, record.first + record.count))
        for seq in range(record.first, record.first + record.count):
            self.held[number, user, seq] = HeldRow(number, user, seq, record.attempt, record.until_us, 0)
            self.returned.pop((number, user, seq), None)

    def _returned(self, record: records.Returned) -> None:
        number, user = self._numbers[record.topic], record.user
        self._touch((number, user), record.seqs)
        for seq in record.seqs:
            key = (number, user, seq)
            fresh = self.held.get(key)
            if fresh is None:
                self.returned[key] = record.due_us
            else:
                self.held[key] = fresh._replace(until=0, due=record.due_us)

    def _finished(self, record: records.Finished) -> None:
        number, user = self._numbers[record.topic], record.user
        self._touch((number, user), record.seqs)
        apart = self._apart.get((number, user), ())
        for seq in record.seqs:
            key = (number, user, seq)
            self._not_held(key)
            if seq in apart:
                self._not_apart(key)
                self.letters[key] = None

    def _touch(self, user: UserKey, seqs: Iterable[int]) -> None:
        self._touched.setdefault(user, set()).update(seqs)

    def _not_apart(self, key: MessageKey) -> None:
        apart = self._apart.get(key[:2])
        if apart is not None:
            apart.discard(key[2])
            if not apart:
                del self._apart[key[:2]]

    def _not_held(self, key: MessageKey) -> None:
        self.held[key] = None
        self.returned.pop(key, None)
        self.put_back.pop(key, None)

    def _dead_lettered(self, record: records.DeadLettered) -> None:
        number, letter = self._numbers[record.topic], record.letter
        key = (number, record.user, letter.seq)
        self._touch(key[:2], (letter.seq,))
        self._not_held(key)
        self._not_apart(key)
        # Removed first, as with keys below: the order of rows is the order of dying.
        self.letters.pop(key, None)
        self.letters[key] = NewLetter(letter, dead=True)

    def _dead_ended(self, record: records.DeadEnded) -> None:
        number = self._numbers[record.topic]
        self._touch((number, record.user), record.seqs)
        for seq in record.seqs:
            self.letters[number, record.user, seq] = None

    def _dead_returned(self, record: records.DeadReturned) -> None:
        number, user = self._numbers[record.topic], record.user
        self._touch((number, user), record.seqs)
        for seq in record.seqs:
            key = (number, user, seq)
            self.held[key] = HeldRow(number, user, seq, 0, 0, 0)
            self._apart.setdefault(key[:2], set()).add(seq)
            fresh = self.letters.get(key)
            if fresh is None:
                self.put_back[key] = None
            else:
                self.letters[key] = fresh._replace(dead=False)

    def _publish_delayed(self, record: records.PublishDelayed) -> None:
        self.last_delayed = record.number
        self.delayed[record.number] = record

    def _delay_ended(self, record: records.DelayEnded) -> None:
        # Numbers are never used twice: one that is new in this burst is never written.
        if self.delayed.pop(record.number, None) is None:
            self.delayed[record.number] = None

    def _key_remembered(self, record: records.KeyRemembered) -> None:
        # Removed first: the order of rows is that of their times.
        self.keys.pop((record.topic, record.key), None)
        self._keys_of.setdefault(record.topic, set()).add(record.key)
        self.keys[record.topic, record.key] = KeyRow(
            record.topic, record.key, record.digest, record.at_us, record.subscribers, record.seq, record.due_ms
        )

    def _key_forgotten(self, record: records.KeyForgotten) -> None:
        self._keys_of.setdefault(record.topic, set()).add(record.key)
        self.keys[record.topic, record.key] = None


_ADD: dict[type[Record], Callable[[RowChanges, Any], None]] = {
    records.CalendarSet: RowChanges._calendar_set,
    records.TopicBegan: RowChanges._topic_began,
    records.TopicChanged: RowChanges._topic_changed,
    records.TopicEnded: RowChanges._topic_ended,
    records.MessageStored: RowChanges._message_stored,
    records.HeadMoved: RowChanges._head_moved,
    records.PieceDamaged: lambda changes, record: None,
    records.PiecesFreed: RowChanges._pieces_freed,
    records.SubscriptionSet: RowChanges._subscription_set,
    records.SubscriptionEnded: RowChanges._subscription_ended,
    records.SettingsSet: RowChanges._settings_set,
    records.Leased: RowChanges._leased,
    records.Returned: RowChanges._returned,
    records.Finished: RowChanges._finished,
    records.DeadLettered: RowChanges._dead_lettered,
    records.DeadEnded: RowChanges._dead_ended,
    records.DeadReturned: RowChanges._dead_returned,
    records.PublishDelayed: RowChanges._publish_delayed,
    records.DelayEnded: RowChanges._delay_ended,
    records.KeyRemembered: RowChanges._key_remembered,
    records.KeyForgotten: RowChanges._key_forgotten,
    **dict.fromkeys(SLOT_RECORDS, lambda changes, record: changes.slots.add(record)),
}
"""Of the class and not of an instance: bound methods would make a cycle, which waits for the garbage collector."""
