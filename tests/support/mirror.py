"""Stores for tests: one that keeps live state as a durable one must, and one that fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from broker import records as rec
from broker.errors import StoreError
from broker.records import Content, DeadLetter, Record
from broker.slot_records import (
    MoveSeen,
    Owns,
    SlotComing,
    SlotLeaving,
    SlotLeft,
    SlotRecord,
    StoreProven,
    bitmap_of,
)
from broker.state.slots import Slots
from broker.store.base import ANY_PIECE, UNLIMITED_BYTES, Backup
from common.clock import NEW, Mark


@dataclass
class HeldRow:
    """A message that was leased and is not acknowledged."""

    attempt: int
    until: int = 0
    due: int = 0
    letter: DeadLetter | None = None
    """The message, if it was put back from the dead letters: the log may not have it any more."""


@dataclass
class KeptUser:
    """The live state of one subscription."""

    position: int
    settings: rec.SettingsSet | None = None
    held: dict[int, HeldRow] = field(default_factory=dict)
    dead: dict[int, DeadLetter] = field(default_factory=dict)
    """In the order in which they became dead letters."""

    @property
    def rows(self) -> int:
        return 1 + (self.settings is not None) + len(self.held) + len(self.dead)


@dataclass
class KeptTopic:
    """The live state of one topic."""

    number: int
    next_seq: int
    epoch: str = ""
    changed: rec.TopicChanged | None = None
    pieces: dict[int, rec.MessageStored] = field(default_factory=dict)
    """Messages and batches by their first number, in order."""
    users: dict[bytes, KeptUser] = field(default_factory=dict)

    def wanted(self) -> dict[int, rec.MessageStored]:
        """Without pieces at the head that everybody has read: they were dropped, and would be freed in a later turn."""
        held = (seq for user in self.users.values() for seq, row in user.held.items() if row.letter is None)
        floor = min((*(user.position for user in self.users.values()), *held), default=0)
        return {first: piece for first, piece in self.pieces.items() if first + piece.payload.count > floor}

    @property
    def rows(self) -> int:
        return 1 + (self.changed is not None) + len(self.pieces) + sum(user.rows for user in self.users.values())


class MirrorStore:
    """A stand-in for a durable store, which keeps exactly what is alive, derived from the records alone.

    A `lazy` one does not return bodies when it is loaded.
    """

    durable = True
    fenced = False
    stored_piece = ANY_PIECE
    fileno = None
    synced_us = 0
    lost = ()
    clock = NEW

    def __init__(self, store_id: str, lazy: bool = False) -> None:
        self._store_id = store_id
        self._lazy = lazy
        self._pieces: dict[int, rec.MessageStored] = {}
        """By number."""
        self._topics_begun = 0
        self.topics: dict[bytes, KeptTopic] = {}
        self.keys: dict[tuple[bytes, bytes], rec.KeyRemembered] = {}
        """By topic and key, oldest first."""
        self.delayed: dict[int, rec.PublishDelayed] = {}
        self.calendar: rec.CalendarSet | None = None
        self.slots = Slots()

    @property
    def rows(self) -> int:
        """The number of rows.

        There is one per topic, piece, subscription, setting, held message, dead letter, delayed publish and key.
        """
        return sum(topic.rows for topic in self.topics.values()) + len(self.keys) + len(self.delayed)

    def load(self) -> Iterator[Record]:
        yield rec.StoreOpened(self._store_id, self._topics_begun, max(self._pieces, default=0))
        if self.calendar is not None:
            yield self.calendar
        yield from slot_records_of(self.slots)
        for name, topic in self.topics.items():
            wanted = topic.wanted()
            yield rec.TopicBegan(name, topic.number, next(iter(wanted), topic.next_seq), topic.epoch)
            if topic.changed is not None:
                yield topic.changed
            yield from map(self._given, wanted.values())
            for user, kept in topic.users.items():
                yield from _load_user(name, user, kept)
        yield from self.keys.values()
        yield from self.delayed.values()

    def begin(self, records: Sequence[Record], clock: Mark = NEW, cuts: Sequence[int] = ()) -> None:
        assert records, "commit is never called with none"
        for record in records:
            self._keep(record)

    def settled(self) -> bool:
        return True

    def read(self, piece: int) -> Content:
        kept = self._pieces[piece]
        return Content(kept.payload.headers, kept.payload.offsets, kept.payload.body)

    def writable_bytes(self) -> int:
        return UNLIMITED_BYTES

    def reclaim(self) -> bool:
        """Do nothing, as nothing is left over."""
        return False

    def backup(self, name: str) -> tuple[Path, Backup]:
        raise StoreError("there is no file")

    def close(self) -> None:
        """Do nothing, as nothing is open."""

    def _given(self, record: rec.MessageStored) -> rec.MessageStored:
        if not self._lazy:
            return record
        payload = rec.Payload(b"", b"", record.payload.count)
        return replace(record, payload=payload, stored=record.payload.size)

    def _keep(self, record: Record) -> None:
        match record:
            case rec.CalendarSet():
                self.calendar = record
            case rec.PublishDelayed(number=number):
                assert number > max(self.delayed, default=0), "a number that waits is not given out again"
                self.delayed[number] = record
            case rec.DelayEnded(number=number):
                del self.delayed[number]
            case rec.KeyRemembered(topic=name, key=key):
                assert (name, key) not in self.keys, "a key is forgotten before it is used again"
                self.keys[name, key] = record
            case rec.KeyForgotten(topic=name, key=key):
                del self.keys[name, key]
            case rec.TopicBegan(topic=name, number=number, next_seq=next_seq, epoch=epoch):
                assert name not in self.topics
                assert number > self._topics_begun, "a number is never given out again"
                self.topics[name] = KeptTopic(number, next_seq, epoch)
                self._topics_begun = number
            case rec.TopicChanged(topic=name):
                self.topics[name].changed = None if record == rec.TopicChanged(name) else record
            case rec.PiecesFreed(pieces=pieces):
                for piece in pieces:
                    freed = self._pieces.pop(piece)
                    topic = self.topics.get(freed.topic)
                    if topic is not None and topic.pieces.get(freed.seq) is freed:  # not one of its next life
                        del topic.pieces[freed.seq]
            case rec.TopicEnded(topic=name):
                assert not self.topics[name].users
                del self.topics[name]
                for named in [named for named in self.keys if named[0] == name]:
                    del self.keys[named]
            case _ if isinstance(record, SlotRecord):
                self.slots.changes()[type(record)](record)
            case _:
                self._keep_of_topic(self.topics[record.topic], record)

    def _keep_of_topic(self, topic: KeptTopic, record: Record) -> None:
        match record:
            case rec.MessageStored(seq=seq, payload=rec.Payload(count=count)):
                assert seq == topic.next_seq, "no gaps"
                assert record.piece > max(self._pieces, default=0), "numbers of pieces grow"
                self._pieces[record.piece] = record
                topic.pieces[seq] = record
                topic.next_seq += count
            case rec.PieceDamaged():
                pass  # found again when it is read
            case rec.HeadMoved(head=head):
                assert head in topic.pieces or head == topic.next_seq, "pieces go as a whole"
            case rec.SubscriptionSet(user=user, position=position):
                topic.users.setdefault(user, KeptUser(position)).position = position
            case rec.SubscriptionEnded(user=user):
                del topic.users[user]
            case _:
                _keep_of_user(topic.users[record.user], record)


def _keep_of_user(user: KeptUser, record: Record) -> None:
    match record:
        case rec.SettingsSet(expires_after=expires_after, max_deliveries=max_deliveries):
            user.settings = record if expires_after or max_deliveries else None
        case rec.Leased(first=first, count=count, attempt=attempt, until_us=until):
            for seq in range(first, first + count):
                row = user.held.setdefault(seq, HeldRow(attempt))
                row.attempt, row.until, row.due = attempt, until, 0
        case rec.Returned(seqs=seqs, due_us=due):
            for seq in seqs:
                user.held[seq].until, user.held[seq].due = 0, due
        case rec.Finished(seqs=seqs):
            for seq in seqs:
                del user.held[seq]
        case rec.DeadLettered(letter=letter):
            user.held.pop(letter.seq, None)  # one that has come with its slot was never held here
            assert letter.seq not in user.dead
            user.dead[letter.seq] = letter
        case rec.DeadEnded(seqs=seqs):
            for seq in seqs:
                del user.dead[seq]
        case rec.DeadReturned(seqs=seqs):
            for seq in seqs:
                assert seq not in user.held
                letter = user.dead.pop(seq)
                user.held[seq] = HeldRow(letter.attempt, letter=letter)
        case _:
            raise AssertionError(f"not a change: {record}")


def slot_records_of(slots: Slots) -> Iterator[Record]:
    """The records that rebuild the slots of a broker."""
    if slots.unproven:
        yield StoreProven(False)
    for epoch in sorted(set(slots.epochs.values())) or [1] * slots.known:
        yield Owns(bitmap_of([slot for slot, of in slots.epochs.items() if of == epoch]), epoch)
    yield from (SlotLeaving(slot, *it) for slot, it in slots.leaving.items())
    yield from (SlotLeft(slot, it.to, it.move, it.epoch) for slot, it in slots.left.items())
    yield from (SlotComing(slot, *it) for slot, it in slots.coming.items())
    yield from (MoveSeen(source, move) for source, move in slots.seen.items())


def _load_user(name: bytes, user: bytes, kept: KeptUser) -> Iterator[Record]:
    yield rec.SubscriptionSet(name, user, kept.position)
    if kept.settings is not None:
        yield kept.settings
    back = {seq: row.letter for seq, row in kept.held.items() if row.letter is not None}
    for letter in (*kept.dead.values(), *back.values()):
        yield rec.DeadLettered(name, user, letter)
    if back:
        yield rec.DeadReturned(name, user, tuple(back))
    for seq, row in kept.held.items():
        if row.attempt:
            yield rec.Leased(name, user, seq, 1, row.attempt, row.until or row.due or 1)
            if not row.until:
                yield rec.Returned(name, user, (seq,), row.due)


class FailingStore(MirrorStore):
    """A store on a full disk: every commit fails."""

    def begin(self, records: Sequence[Record], clock: Mark = NEW, cuts: Sequence[int] = ()) -> None:
        raise StoreError("no space left on the device")
