"""What a burst of records comes to: for each row that it touches, how it is in the end. No I/O here.

A message that is stored and read in the same burst is never written, and a place that moves a hundred times is
written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from broker import records
from broker.records import Record

Row = tuple[Any, ...]
UserKey = tuple[int, bytes]
"""Number of a topic, user."""
MessageKey = tuple[int, bytes, int]
"""Number of a topic, user, sequence number."""


class Burst:
    """Collects records; None stands for a row that is gone. `numbers` are those of the live topics by name, `apart` the
    letters that are held and not dead; both are kept up here.
    """

    def __init__(self, numbers: dict[bytes, int], apart: set[MessageKey]) -> None:
        self._numbers = numbers
        self._apart = apart
        self.topics: dict[int, Row | None] = {}
        self.topics_begun = 0
        """The greatest number of a topic that began, even if it has ended again."""
        self.pieces: dict[int, Row | None] = {}
        self.subscriptions: dict[UserKey, Row | None] = {}
        self.settings: dict[UserKey, Row | None] = {}
        self.users_gone: dict[UserKey, None] = {}
        """Whose held messages and letters of before are gone."""
        self.held: dict[MessageKey, Row | None] = {}
        self.returned: dict[MessageKey, int] = {}
        """Held messages of before that are not leased any more, and when they are due."""
        self.letters: dict[MessageKey, Row | None] = {}
        self.put_back: dict[MessageKey, None] = {}
        """Letters of before that are not dead any more."""
        self.delayed: dict[int, Row | None] = {}
        self.keys: dict[tuple[bytes, bytes], Row | None] = {}
        self.keys_gone: dict[bytes, None] = {}
        """Topics whose keys of before are gone."""
        self._take: dict[type[Record], Callable[[Any], None]] = {
            records.TopicBegan: self._topic_began,
            records.TopicEnded: self._topic_ended,
            records.MessageStored: self._message_stored,
            records.HeadMoved: self._head_moved,
            records.PiecesFreed: self._pieces_freed,
            records.SubscriptionSet: self._subscription_set,
            records.SubscriptionEnded: self._subscription_ended,
            records.SettingsSet: self._settings_set,
            records.Leased: self._leased,
            records.Returned: self._returned,
            records.Finished: self._finished,
            records.DeadLettered: self._dead_lettered,
            records.DeadEnded: self._dead_ended,
            records.DeadReturned: self._dead_returned,
            records.PublishDelayed: self._publish_delayed,
            records.DelayEnded: self._delay_ended,
            records.KeyRemembered: self._key_remembered,
            records.KeyForgotten: self._key_forgotten,
        }

    def add(self, burst: Sequence[Record]) -> None:
        """Takes in records, in order."""
        take = self._take
        for record in burst:
            take[type(record)](record)

    def _topic_began(self, record: records.TopicBegan) -> None:
        self._numbers[record.topic] = record.number
        self.topics_begun = max(self.topics_begun, record.number)
        self.topics[record.number] = (record.number, record.topic, record.next_seq)

    def _topic_ended(self, record: records.TopicEnded) -> None:
        self.topics[self._numbers.pop(record.topic)] = None
        self.keys_gone[record.topic] = None
        for key in [each for each in self.keys if each[0] == record.topic]:
            del self.keys[key]

    def _message_stored(self, record: records.MessageStored) -> None:
        size = len(record.headers) + len(record.body) + len(record.offsets)
        self.pieces[record.piece] = (
            record.piece,
            self._numbers[record.topic],
            record.seq,
            record.count,
            record.time,
            record.expires,
            size,
            record.headers,
            record.offsets,
            record.body,
        )

    def _head_moved(self, record: records.HeadMoved) -> None:
        number = self._numbers[record.topic]
        self.topics[number] = (number, record.topic, record.head)

    def _pieces_freed(self, record: records.PiecesFreed) -> None:
        _end_all(self.pieces, record.pieces)

    def _subscription_set(self, record: records.SubscriptionSet) -> None:
        number = self._numbers[record.topic]
        self.subscriptions[number, record.user] = (number, record.user, record.position)

    def _subscription_ended(self, record: records.SubscriptionEnded) -> None:
        key = (self._numbers[record.topic], record.user)
        self.subscriptions[key] = self.settings[key] = None
        self.users_gone[key] = None
        for rows in (self.held, self.returned, self.letters, self.put_back):
            for each in [each for each in rows if each[:2] == key]:
                del rows[each]
        self._apart.difference_update([each for each in self._apart if each[:2] == key])

    def _settings_set(self, record: records.SettingsSet) -> None:
        number = self._numbers[record.topic]
        row = (number, record.user, record.expires_after, record.max_deliveries)
        self.settings[number, record.user] = row if any(row[2:]) else None

    def _leased(self, record: records.Leased) -> None:
        number, user = self._numbers[record.topic], record.user
        for seq in range(record.first, record.first + record.count):
            self.held[number, user, seq] = (number, user, seq, record.attempt, record.until, 0)
            self.returned.pop((number, user, seq), None)

    def _returned(self, record: records.Returned) -> None:
        number, user = self._numbers[record.topic], record.user
        for seq in record.seqs:
            key = (number, user, seq)
            fresh = self.held.get(key)
            if fresh is None:
                self.returned[key] = record.due
            else:
                self.held[key] = (*fresh[:4], 0, record.due)

    def _finished(self, record: records.Finished) -> None:
        number, user = self._numbers[record.topic], record.user
        for seq in record.seqs:
            key = (number, user, seq)
            self._not_held(key)
            if key in self._apart:
                self._apart.discard(key)
                self.letters[key] = None

    def _not_held(self, key: MessageKey) -> None:
        self.held[key] = None
        self.returned.pop(key, None)
        self.put_back.pop(key, None)

    def _dead_lettered(self, record: records.DeadLettered) -> None:
        number, letter = self._numbers[record.topic], record.letter
        key = (number, record.user, letter.seq)
        self._not_held(key)
        self._apart.discard(key)
        fields = (letter.time, letter.attempt, letter.expires, letter.headers, letter.body)
        # Taken out first, as with keys below: the order of rows is that of the last dying.
        self.letters.pop(key, None)
        self.letters[key] = (*key, 1, *fields)

    def _dead_ended(self, record: records.DeadEnded) -> None:
        number = self._numbers[record.topic]
        for seq in record.seqs:
            self.letters[number, record.user, seq] = None

    def _dead_returned(self, record: records.DeadReturned) -> None:
        number, user = self._numbers[record.topic], record.user
        for seq in record.seqs:
            key = (number, user, seq)
            self.held[key] = (number, user, seq, 0, 0, 0)
            self._apart.add(key)
            fresh = self.letters.get(key)
            if fresh is None:
                self.put_back[key] = None
            else:
                self.letters[key] = (*key, 0, *fresh[4:])

    def _publish_delayed(self, record: records.PublishDelayed) -> None:
        self.delayed[record.number] = (
            record.number,
            record.topic,
            record.due,
            record.ttl,
            record.count,
            record.headers,
            record.offsets,
            record.body,
        )

    def _delay_ended(self, record: records.DelayEnded) -> None:
        _end_all(self.delayed, (record.number,))

    def _key_remembered(self, record: records.KeyRemembered) -> None:
        fields = (record.digest, record.at, record.subscribers, record.seq, record.due)
        # Taken out first: the order of rows is that of their times.
        self.keys.pop((record.topic, record.key), None)
        self.keys[record.topic, record.key] = (record.topic, record.key, *fields)

    def _key_forgotten(self, record: records.KeyForgotten) -> None:
        self.keys[record.topic, record.key] = None


def _end_all(rows: dict[int, Row | None], ids: Iterable[int]) -> None:
    """Rows whose ids are never used twice: one that is new in this burst need not be written at all."""
    for each in ids:
        if rows.pop(each, None) is None:
            rows[each] = None
