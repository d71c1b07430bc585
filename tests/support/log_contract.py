"""The contract of a replicated log, for every engine: a test class with a fixture `engine` inherits `LogContract`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import pytest

from broker.replica.log import (
    Appended,
    Entries,
    Event,
    Full,
    Inspected,
    Log,
    Missing,
    Purged,
    Refused,
    Reported,
    Unknown,
)

Kind = TypeVar("Kind", bound=Event)


class Engine(Protocol):
    """One fresh, empty log of an engine."""

    def open(self) -> Log:
        """Return another access to the log."""
        ...

    def open_other(self) -> Log:
        """Return an access to another log of the same broker, with an id of its own and one entry, b"entry 1"."""
        ...

    def limit(self, most_bytes: int) -> None:
        """Limit the log to this number of bytes; called before anything is appended."""
        ...

    def pass_time(self) -> bool:
        """Let something happen; return False after some ten seconds in which it was called again and again."""
        ...

    def cut(self, log: Log) -> None:
        """Take the connection away from one access, which gets a new one by itself."""
        ...


class Access:
    """A log and what it has said, for tests."""

    def __init__(self, engine: Engine, log: Log | None = None) -> None:
        self.engine = engine
        self.log = log or engine.open()
        self.said: list[Event] = []

    def wait(self, kind: type[Kind], fits: Callable[[Kind], bool] = lambda event: True) -> Kind:
        """Return the next event of a kind; the others stay."""
        while True:
            self.said += self.log.events()
            for event in self.said:
                if isinstance(event, kind) and fits(event):
                    self.said.remove(event)
                    return event
            assert self.engine.pass_time(), f"no {kind.__name__} but {self.said}"

    def result(self) -> Event:
        """Return the result of an append."""
        return self.wait(Appended | Refused | Full | Unknown)  # type: ignore[arg-type]

    def append(self, data: bytes, expected: int) -> Event:
        self.log.append(data, expected)
        return self.result()

    def fill(self, count: int, expected: int = 0) -> None:
        for n in range(expected, expected + count):
            assert self.append(b"entry %d" % (n + 1), n) == Appended(n + 1)

    def entries(self, first: int, last: int) -> list[tuple[int, bytes]]:
        """Return what is delivered from one position to another, without repeats; it may not have a gap."""
        found: list[tuple[int, bytes]] = []
        while first + len(found) <= last:
            for position, data in self.wait(Entries).entries:
                assert position <= first + len(found), "a gap"
                if position == first + len(found):
                    found.append((position, data))
        return found

    def found(self, position: int) -> bytes:
        """Return the entry that was read, which must not be missing."""
        answer = self.wait(Entries | Missing, lambda event: _about(event) == position)  # type: ignore[arg-type]
        assert isinstance(answer, Entries)
        return answer.entries[0][1]

    def quiet(self) -> list[Event]:
        """Return what was said when much time has passed."""
        for _ in range(20):
            if not self.engine.pass_time():
                break
        self.said += self.log.events()
        return self.said


def _about(event: Event) -> int:
    if isinstance(event, Entries):
        return event.entries[0][0]
    assert isinstance(event, Missing)
    return event.position


def numbered(first: int, last: int) -> list[tuple[int, bytes]]:
    return [(n, b"entry %d" % n) for n in range(first, last + 1)]


class LogContract:
    """What every log does."""

    @pytest.fixture
    def one(self, engine: Engine) -> Access:
        return Access(engine)

    @pytest.fixture
    def two(self, engine: Engine) -> Access:
        return Access(engine)

    def test_positions_begin_with_1_and_grow_by_1(self, one: Access) -> None:
        one.fill(3)

    def test_an_append_that_expects_another_position_changes_nothing(self, one: Access, two: Access) -> None:
        one.fill(3)
        for wrong in (0, 1, 2, 4, 2**40):
            refused = two.append(b"too late", wrong)
            assert isinstance(refused, Refused)
            assert refused.last in (0, 3)
        assert two.append(b"entry 4", 3) == Appended(4)
        one.log.follow(1)
        assert one.entries(1, 4) == numbered(1, 4)

    def test_of_two_appends_behind_the_same_entry_one_succeeds(self, one: Access, two: Access) -> None:
        one.fill(1)
        for n in range(1, 6):
            one.log.append(b"of one", n)
            two.log.append(b"of two", n)
            results = [one.result(), two.result()]
            assert sum(isinstance(each, Appended) for each in results) == 1
            assert sum(isinstance(each, Refused) for each in results) == 1

    def test_entries_are_delivered_in_order_to_who_follows(self, one: Access, two: Access) -> None:
        one.fill(5)
        two.log.follow(2)
        assert two.entries(2, 5) == numbered(2, 5)
        one.fill(40, 5)
        assert two.entries(6, 45) == numbered(6, 45)
        two.log.follow(44)
        assert two.entries(44, 45) == numbered(44, 45)

    def test_who_follows_what_is_not_there_yet_is_delivered_it(self, one: Access, two: Access) -> None:
        two.log.follow(3)
        one.fill(4)
        assert two.entries(3, 4) == numbered(3, 4)

    def test_nothing_is_delivered_to_who_has_ended_following(self, one: Access, two: Access) -> None:
        one.fill(1)
        two.log.follow(1)
        two.entries(1, 1)
        two.log.unfollow()
        two.quiet()
        two.said.clear()
        one.fill(2, 1)
        assert not [each for each in two.quiet() if isinstance(each, Entries)]

    def test_an_entry_is_read_by_its_position(self, one: Access, two: Access) -> None:
        one.fill(5)
        two.log.read(3)
        assert two.found(3) == b"entry 3"

    def test_a_read_behind_the_end_says_where_the_end_is(self, one: Access, two: Access) -> None:
        two.log.read(1)
        assert two.wait(Missing).last == 0
        one.fill(2)
        two.log.read(3)
        assert two.wait(Missing) == Missing(3, 1, 2)

    def test_a_read_sees_what_was_acknowledged_before_it(self, one: Access, two: Access) -> None:
        """Also where it asks a server that lags."""
        for n in range(20):
            one.fill(1, n)
            two.log.read(n + 1)
            assert two.found(n + 1) == b"entry %d" % (n + 1)

    def test_positions_go_on_when_entries_are_purged(self, one: Access, two: Access) -> None:
        one.fill(5)
        one.log.purge(4)
        assert one.wait(Purged) == Purged(4)
        one.fill(1, 5)
        two.log.follow(4)
        assert two.entries(4, 6) == numbered(4, 6)
        one.log.purge(2)
        one.log.purge(7)
        assert one.wait(Purged, lambda event: event.first == 7)
        one.fill(2, 6)
        two.log.read(7)
        assert two.found(7) == b"entry 7"

    def test_the_owner_of_an_old_log_changes_nothing_in_a_new_one(self, engine: Engine, one: Access) -> None:
        one.fill(5)
        old = Access(engine, engine.open_other())
        old.fill(4, 1)
        old.log.purge(5)
        assert old.wait(Purged) == Purged(5)
        one.log.follow(1)
        assert one.entries(1, 5) == numbered(1, 5)

    @pytest.mark.parametrize("call", ["read", "follow"])
    def test_what_is_purged_is_missing(self, one: Access, two: Access, call: str) -> None:
        one.fill(5)
        one.log.purge(4)
        one.wait(Purged)
        getattr(two.log, call)(2)
        assert two.wait(Missing) == Missing(2, 4, 5)

    def test_bytes_are_delivered_as_they_are(self, one: Access, two: Access) -> None:
        entries = [bytes(range(256)), b"\r\n+OK\r\n" * 9, b"\0", bytes(700_000)]
        for n, data in enumerate(entries):
            assert one.append(data, n) == Appended(n + 1)
        two.log.follow(1)
        assert [data for _, data in two.entries(1, 4)] == entries

    def test_a_full_log_refuses_and_goes_on_after_a_purge(self, engine: Engine, one: Access) -> None:
        engine.limit(400_000)
        n = 0
        while one.append(bytes(50_000), n) == Appended(n + 1):
            n += 1
            assert n < 20
        assert n >= 4
        assert one.append(bytes(50_000), n) == Full()
        one.log.purge(n)
        one.wait(Purged)
        assert one.append(bytes(50_000), n) == Appended(n + 1)

    def test_the_others_are_told_what_one_reports(self, one: Access, two: Access) -> None:
        one.quiet()
        two.quiet()
        one.log.report(b"\x00small")
        assert two.wait(Reported).data == b"\x00small"

    def test_it_says_what_is_known_of_it(self, one: Access) -> None:
        one.fill(5)
        one.log.purge(3)
        one.wait(Purged)
        one.log.inspect()
        info = one.wait(Inspected).info
        assert (info.first, info.last) == (3, 5)
        assert info.bytes > 0
        assert info.problems == ()

    def test_an_append_is_cleared_up_after_the_connection_was_lost(self, engine: Engine, one: Access) -> None:
        """The append is answered, or unknown; then the log itself tells, and goes on."""
        one.fill(1)
        one.log.append(b"entry 2", 1)
        engine.cut(one.log)
        result = one.result()
        for position in (2, 3):  # the connection may be lost behind the first answer
            while result != Appended(position) and not isinstance(result, Refused):
                assert isinstance(result, Unknown)
                assert engine.pass_time()
                result = one.append(b"entry %d" % position, position - 1)
            if position == 2:
                result = one.append(b"entry 3", 2)
        one.log.follow(1)
        assert one.entries(1, 3) == numbered(1, 3)

    def test_who_follows_is_delivered_everything_after_the_connection_was_lost(
        self, engine: Engine, one: Access, two: Access
    ) -> None:
        two.log.follow(1)
        one.fill(2)
        two.entries(1, 2)
        engine.cut(two.log)
        one.fill(20, 2)
        assert two.entries(3, 22) == numbered(3, 22)

    def test_it_may_be_closed_twice_and_with_an_append_under_way(self, one: Access, two: Access) -> None:
        one.fill(1)
        one.log.append(b"entry 2", 1)
        one.log.close()
        one.log.close()
        two.log.read(1)
        two.wait(Entries)
