"""A topic: one log of messages and the positions of its subscribers in it.

One body is stored however many subscribers there are. Readers are counted per piece: `Piece.readers` is the
number of subscriptions whose next message lies in it, `Topic.tail_readers` that of those who have everything.
A piece is freed when the head of the log passes it, which is when no reader stands at or before it; so
publishing costs the same for any number of subscribers, and every step is O(1) amortised.

A reader stands at `Subscription.floor`. Where the head is moved over readers (a ceiling, an end of life), they
count at the new head: a place below the head means the head.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter

from broker.ages import SECOND, Seconds
from broker.index import Index
from broker.piece import MESSAGE_COST, Piece
from broker.records import TopicChanged
from broker.subscription import Subscription
from broker.thresholds import DEFAULT, Thresholds
from broker.topic_settings import TopicSettings


class Topic:
    """The log and the subscriptions of one topic. Changed by `State.apply` only."""

    __slots__ = (
        "_head",
        "_peak",
        "_pieces",
        "bytes",
        "changed",
        "epoch",
        "freed",
        "head_seq",
        "index",
        "name",
        "next_seq",
        "number",
        "seconds",
        "settings",
        "subscriptions",
        "tail_readers",
        "thresholds",
        "ttls",
    )

    def __init__(
        self,
        name: bytes,
        number: int,
        epoch: str,
        next_seq: int,
        settings: TopicSettings,
        freed: list[Piece] | None = None,
        seconds: Seconds | None = None,
        thresholds: Thresholds = DEFAULT,
    ) -> None:
        """`freed` takes the pieces that are let go of; in `seconds` all that are stored are counted."""
        self.thresholds = thresholds
        self.freed = freed
        self.seconds = {} if seconds is None else seconds
        self.name = name
        self.settings = settings
        self.changed: TopicChanged | None = None
        """What the operator has set for this topic alone; a part of `settings`. Persists."""
        self.number = number
        self.epoch = epoch
        self.next_seq = next_seq
        self.head_seq = next_seq
        """Sequence number of the oldest stored message, `next_seq` where there is none."""
        self.subscriptions: dict[bytes, Subscription] = {}
        self.index: Index[bytes] | None = None
        """Of many subscriptions the users in order."""
        self._peak = 0
        """The most subscriptions since their dictionary was made."""
        self.tail_readers = 0
        self.bytes = 0
        """Content bytes of the stored messages."""
        self.ttls = 0
        """Stored pieces that expire."""
        self._pieces: list[Piece] = []
        self._head = 0
        """Index of the oldest live piece; before it the list holds freed ones."""

    @property
    def messages(self) -> int:
        """How many messages are stored; those of a batch as long as one of them is wanted."""
        return self.next_seq - self.head_seq

    @property
    def pieces_stored(self) -> int:
        """How many pieces they are stored in."""
        return len(self._pieces) - self._head

    @property
    def head_piece(self) -> Piece | None:
        """The oldest stored piece."""
        return self._pieces[self._head] if self._head < len(self._pieces) else None

    @property
    def head_deadline(self) -> int | None:
        """When the oldest piece is too old, milliseconds of the broker's time; None where it never is."""
        piece, max_age = self.head_piece, self.settings.max_age
        if piece is None or not (piece.expires or max_age):
            return None
        ends = piece.time + max_age if max_age else piece.expires
        return min(ends, piece.expires) if piece.expires else ends

    def pending(self, subscription: Subscription) -> int:
        """How many messages may be handed out to a user; expired ones may be among them."""
        return self.next_seq - max(subscription.position, self.head_seq) + subscription.returned

    def next_unexpired(self, seq: int, now: int) -> int:
        """The first message from `seq` on, or from the head, that may be handed out; `next_seq` where there is none."""
        seq = max(seq, self.head_seq)
        if not self.ttls or seq == self.next_seq:
            return seq
        for piece in self.pieces(seq):
            if not piece.expires or piece.expires > now:
                return max(seq, piece.first)
        return self.next_seq

    def head_for(self, messages: int, size: int) -> tuple[int, int]:
        """Where the head must be so that at most so many messages of at most `size` bytes are stored, and how many
        bytes of memory that frees.
        """
        head, left, freed = self.head_seq, self.bytes, 0
        for index in range(self._head, len(self._pieces)):
            if self.next_seq - head <= messages and left <= size:
                break
            piece = self._pieces[index]
            head = piece.end
            left -= piece.size
            freed += piece.size + MESSAGE_COST
        return head, freed

    def piece(self, seq: int) -> Piece:
        """The piece that holds a stored message."""
        return self._pieces[self._index(seq)]

    def pieces(self, seq: int) -> Iterator[Piece]:
        """The piece that holds a stored message, and all after it."""
        for index in range(self._index(seq), len(self._pieces)):
            yield self._pieces[index]

    def append(
        self,
        time: int,
        headers: bytes,
        body: bytes,
        count: int = 1,
        offsets: bytes = b"",
        expires: int = 0,
        number: int = 0,
        stored: int | None = None,
    ) -> Piece:
        """One piece at `next_seq`; whoever had everything waits for it now. With `stored` its body and offsets are in
        the store, and this is its size.
        """
        if stored is None:
            size = len(headers) + len(body) + len(offsets)
            piece = Piece(self.next_seq, count, time, headers, body, offsets, self.tail_readers, expires, number, size)
        else:
            piece = Piece(self.next_seq, count, time, headers, None, b"", self.tail_readers, expires, number, stored)
        self._pieces.append(piece)
        second = time // SECOND
        self.seconds[second] = self.seconds.get(second, 0) + 1
        self.tail_readers = 0
        self.ttls += expires > 0
        self.bytes += piece.size
        self.next_seq += count
        return piece

    def _index(self, seq: int) -> int:
        pieces = self._pieces
        # No piece is empty, so it lies no further back than this; where no batch came since, exactly there.
        index = max(self._head, len(pieces) - (self.next_seq - seq))
        if not pieces[index].first <= seq < pieces[index].first + pieces[index].count:
            index = bisect_right(pieces, seq, index, key=attrgetter("first")) - 1
        return index

    def place(self, user: bytes, position: int) -> int:
        """Puts a user's subscription at a position, new or moved. Returns how many messages that freed."""
        subscription = self.subscriptions.get(user)
        if subscription is None:
            self._enter(position)
            self.subscriptions[user] = Subscription(position)
            if self.index is not None:
                self.index.add(user)
            elif len(self.subscriptions) > self.thresholds.few:
                self.index = Index(self.subscriptions, self.thresholds)
            self._peak = max(self._peak, len(self.subscriptions))
            return 0
        if subscription.ledger is None:  # most are so, and this is done for every message that is read
            before, subscription.position = subscription.position, position
            self._enter(position)
            return self._leave(before)
        before = subscription.floor
        subscription.position = position
        return self.stand(subscription, before)

    def stand(self, subscription: Subscription, before: int) -> int:
        """The subscription's floor was at `before`. Returns how many messages its moving freed."""
        floor = subscription.floor
        if floor == before:
            return 0
        self._enter(floor)
        return self._leave(before)

    def move_head(self, head: int) -> int:
        """Lets go of all pieces below `head`, the first message of a piece or `next_seq`; their readers stand there
        now. Returns how many messages that freed.
        """
        readers = 0
        for index in range(self._head, len(self._pieces)):
            piece = self._pieces[index]
            if piece.first >= head:
                break
            readers += piece.readers
            piece.readers = 0
        if head == self.next_seq:
            self.tail_readers += readers
        else:
            self.piece(head).readers += readers
        return self.free_head()

    def remove(self, user: bytes) -> int:
        """Ends a user's subscription. Returns how many messages that freed."""
        position = self.subscriptions.pop(user).floor
        if self.index is not None:
            self.index.remove(user)
        if len(self.subscriptions) * 8 < self._peak and self._peak > self.thresholds.compact:
            self.subscriptions = dict(self.subscriptions)  # a dictionary never shrinks by itself
            self._peak = len(self.subscriptions)
        return self._leave(position)

    def _enter(self, position: int) -> None:
        if position < self.head_seq:
            position = self.head_seq
        if position == self.next_seq:
            self.tail_readers += 1
        else:
            self.piece(position).readers += 1

    def _leave(self, position: int) -> int:
        if position < self.head_seq:
            position = self.head_seq
        if position == self.next_seq:
            self.tail_readers -= 1
            return 0
        piece = self.piece(position)
        piece.readers -= 1
        return self.free_head() if piece.readers == 0 and piece is self._pieces[self._head] else 0

    def free_head(self) -> int:
        """Lets go of the oldest pieces up to the first that has a reader. Returns how many messages that freed."""
        pieces = self._pieces
        head, end = self._head, len(pieces)
        freed = 0
        seconds, let_go = self.seconds, self.freed
        while head < end:
            piece = pieces[head]
            if piece.readers:
                break
            self.bytes -= piece.size
            if piece.expires:
                self.ttls -= 1
            freed += piece.count
            second = piece.time // SECOND
            left = seconds[second] - 1
            if left:
                seconds[second] = left
            else:
                del seconds[second]
            if let_go is not None:
                let_go.append(piece)
            pieces[head] = _FREED
            head += 1
        self.head_seq += freed
        if head == end:
            pieces.clear()
            self._head = 0
        elif head >= self.thresholds.compact and head * 2 >= end:
            del pieces[:head]
            self._head = 0
        else:
            self._head = head
        return freed


_FREED = Piece(0, 0, 0, b"", b"", b"", 0)
