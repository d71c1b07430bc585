"""Freed pieces are deleted in groups of consecutive numbers, by statements that touch no other piece."""

from __future__ import annotations

import random

import apsw
import pytest

from broker.store.sqlite.deletion_queue import DELETE, GROUP, DeletionQueue

PIECES = range(1, 4 * GROUP)


def delete(db: apsw.Connection, queue: DeletionQueue, most: int) -> None:
    groups = queue.oldest(most)
    db.executemany(DELETE.format("rows"), [(each.first, each.last, each.mask) for each in groups])
    queue.remove(groups)


@pytest.mark.parametrize("size", [1, 3, GROUP])
def test_exactly_the_pieces_that_were_added_are_deleted(size: int) -> None:
    rng = random.Random(size)
    for share in (0.02, 0.3, 0.9, 1):
        db = apsw.Connection(":memory:")
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY)")
        db.executemany("INSERT INTO rows VALUES (?)", [(piece,) for piece in PIECES])
        freed = [piece for piece in PIECES if rng.random() < share]
        kept = set(PIECES) - set(freed)
        rng.shuffle(freed)
        queue = DeletionQueue(size)
        while freed or queue:
            queue.add(freed[:20])
            del freed[:20]
            delete(db, queue, 2)
            assert kept <= {id_ for (id_,) in db.execute("SELECT id FROM rows")}
        assert {id_ for (id_,) in db.execute("SELECT id FROM rows")} == kept


def test_the_longest_waiting_group_comes_first_with_all_that_was_added_to_it() -> None:
    queue = DeletionQueue(3)
    queue.add([7, 3, 6, 5])
    assert [list(group.pieces()) for group in queue.oldest(9)] == [[6, 7], [3, 5]]
    queue.remove(queue.oldest(1))
    queue.add([8, 4])
    assert [list(group.pieces()) for group in queue.oldest(9)] == [[3, 4, 5], [8]]
    assert len(queue) == 2
