"""The log of a topic beside a list that is walked from end to end, on random histories with blocks of three."""

from __future__ import annotations

import random
from typing import Any

from broker.records import Payload
from broker.state.garbage import Garbage
from broker.state.message_log import MessageLog
from broker.state.piece import MESSAGE_COST, Piece
from tests.support.table import table
from tests.support.tiny import TINY


class Walked:
    """The same, without sums: `pieces` are first, count, size, expires, damaged; `readers` are places."""

    def __init__(self) -> None:
        self.pieces: list[list[int]] = []
        self.next_seq = 1
        self.readers: list[int] = []

    @property
    def head(self) -> int:
        return self.pieces[0][0] if self.pieces else self.next_seq

    def free(self) -> None:
        while self.pieces and not any(self.place(each) < sum(self.pieces[0][:2]) for each in self.readers):
            self.pieces.pop(0)

    def place(self, reader: int) -> int:
        return max(reader, self.head)

    def next_unexpired(self, seq: int, wall: int) -> int:
        for first, count, _, expires, _ in self.pieces:
            if first + count > seq and not 0 < expires <= wall:
                return max(first, seq)
        return self.next_seq

    def head_for(self, messages: int, size: int) -> tuple[int, int]:
        kept, freed = [*self.pieces], 0
        while kept and (self.next_seq - kept[0][0] > messages or sum(each[2] for each in kept) > size):
            freed += kept.pop(0)[2] + MESSAGE_COST
        return kept[0][0] if kept else self.next_seq, freed

    def damaged_between(self, seq: int, end: int) -> int:
        spans = ((max(first, seq), min(first + count, end)) for first, count, *_, damaged in self.pieces if damaged)
        return sum(max(0, stop - start) for start, stop in spans)


def compare(log: MessageLog, walked: Walked, rng: random.Random) -> None:
    assert (log.head_seq, log.next_seq, log.pieces_stored) == (walked.head, walked.next_seq, len(walked.pieces))
    assert log.bytes == sum(each[2] for each in walked.pieces)
    assert log.ttls == sum(each[3] > 0 for each in walked.pieces)
    places = [walked.place(each) for each in walked.readers]
    assert log.tail_readers == places.count(log.next_seq)
    for first, count, *_ in walked.pieces:
        piece = log.piece(rng.randrange(first, first + count))
        assert (piece.first, piece.readers) == (first, sum(first <= each < first + count for each in places))
    limits = rng.randrange(12), rng.randrange(60)
    assert log.head_for(*limits) == walked.head_for(*limits)
    seq, end = sorted(rng.randrange(log.head_seq, log.next_seq + 1) for _ in range(2))
    assert log.damaged_between(seq, end) == walked.damaged_between(seq, end)
    wall = rng.randrange(60)
    assert log.next_unexpired(seq, wall) == walked.next_unexpired(seq, wall)
    if seq < log.next_seq:
        firsts = [first for first, count, *_ in walked.pieces if first + count > seq]
        assert [piece.first for piece in log.pieces(seq)] == firsts


def step(log: MessageLog, walked: Walked, rng: random.Random) -> None:
    what = rng.choice(("append", "append", "append", "move", "move", "enter", "leave", "head", "damage"))
    if what == "append" and walked.readers:
        count, size, expires = rng.choice((1, 1, 1, 4)), rng.randrange(9), rng.choice((0, 0, rng.randrange(2, 60)))
        log.append(rng.randrange(5000), Payload(b"", bytes(size), count, b""), expires)
        walked.pieces.append([walked.next_seq, count, size, expires, 0])
        walked.next_seq += count
    elif what == "enter":
        walked.readers.append(rng.choice((walked.next_seq, rng.randrange(1, walked.next_seq + 1))))
        log.enter(walked.readers[-1])
    elif what == "move" and walked.readers:
        index, position = rng.randrange(len(walked.readers)), rng.randrange(1, walked.next_seq + 1)
        log.move(walked.readers[index], position)
        walked.readers[index] = position
    elif what == "leave" and walked.readers:
        log.leave(walked.readers.pop(rng.randrange(len(walked.readers))))
    elif what == "head":
        head = rng.choice([*(each[0] for each in walked.pieces[1:]), walked.next_seq])
        if head > walked.head:
            log.move_head(head)
            walked.pieces = [each for each in walked.pieces if each[0] >= head]
    elif what == "damage" and walked.pieces:
        piece = rng.choice(walked.pieces)
        assert log.mark_damaged(piece[0])
        piece[3:] = [1, 1]
    walked.free()


@table("seed", range(150))
def test_a_log_says_what_a_list_says(seed: int) -> None:
    rng, garbage = random.Random(seed), Garbage()
    log, walked = MessageLog(1, garbage, TINY), Walked()
    for _ in range(80):
        step(log, walked, rng)
        compare(log, walked, rng)
        garbage.collect(rng.randrange(3))
        assert sum(garbage.seconds.values()) == log.pieces_stored + garbage.pieces
    log.move_head(log.next_seq) if log.messages else None
    garbage.collect(1000)
    assert (garbage.pieces, garbage.bytes, garbage.seconds) == (0, 0, {})


class Noted(list[Piece]):
    """A list that notes which of its places are looked at."""

    def __init__(self, pieces: list[Piece]) -> None:
        super().__init__(pieces)
        self.seen: set[Any] = set()

    def __getitem__(self, place: Any) -> Any:
        self.seen.add(place)
        return super().__getitem__(place)


def test_the_head_moves_past_one_message_without_a_look_at_those_that_are_gone() -> None:
    log = MessageLog(1, Garbage())
    for _ in range(1000):
        log.append(0, Payload(b"", b"", 1, b""))
    log.enter(1)
    log.move_head(400)
    pieces = log._blocks[0].pieces = Noted(log._blocks[0].pieces)
    log.move_head(401)
    assert (log.head_seq, log.piece(401).readers) == (401, 1)
    assert {each for each in pieces.seen if 0 <= each < 399} == set()
