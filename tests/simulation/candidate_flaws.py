"""Negative controls: what a broken candidate, broker or log would do. Each must be found within a few seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from broker.errors import DeposedError
from broker.replica.appender import Appender, Result
from broker.replica.candidate import Candidate, Role
from broker.replica.entry import Entry, Kind
from broker.replica.log import Unknown
from broker.replica.reader import LogReader
from broker.replica.watch import Watch
from common.clock import Mark
from tests.simulation.candidates import Call, Process
from tests.support.memory_log import Breach, SharedLog


@contextmanager
def _breach(**switches: Any) -> Iterator[None]:
    """A log that always has these defects."""
    create = SharedLog.__init__

    def flawed(self: SharedLog, *arguments: Any) -> None:
        create(self, *arguments)
        self.breach = Breach(**switches)

    with patch.object(SharedLog, "__init__", flawed):
        yield


def append_anywhere() -> AbstractContextManager[Any]:
    """The log does not look at the expected position."""
    return _breach(ignores_expected=True)


def answer_late() -> AbstractContextManager[Any]:
    """The log tells the result of an append when it has said that it will not."""
    return _breach(late_answers=True)


def _counting(flawed: Callable[[LogReader, Entry, bool], bool]) -> AbstractContextManager[Any]:
    counts = LogReader._counts
    return patch.object(LogReader, "_counts", lambda self, entry: flawed(self, entry, counts(self, entry)))


def count_any_number() -> AbstractContextManager[Any]:
    """An entry of the present term counts, whatever its number."""
    return _counting(lambda self, entry, right: right or (entry.kind is Kind.BATCH and entry.term == self.at.term))


def count_any_term() -> AbstractContextManager[Any]:
    """An entry of an earlier term counts."""
    return _counting(lambda self, entry, right: right or entry.term < self.at.term)


@contextmanager
def _answering(at_once: Callable[[Call], bool]) -> Iterator[None]:
    begin = Process._begin

    def flawed(self: Process, new: list[str], mark: Mark) -> None:
        for call, answer in self.begun:
            if at_once(call):
                call.done(answer)
        self.begun = [each for each in self.begun if not at_once(each[0])]
        if new or self.begun:
            begin(self, new, mark)

    with patch.object(Process, "_begin", flawed):
        yield


def read_without_an_entry() -> AbstractContextManager[Any]:
    """An owner answers what changes nothing from its state, as a broker without a log does."""
    return _answering(lambda call: not call.value)


def answer_at_once() -> AbstractContextManager[Any]:
    """An owner answers when its entry is sent."""
    return _answering(lambda call: bool(call.value))


@contextmanager
def take_unknown_for_done() -> Iterator[None]:
    """An append that was not answered is not repeated."""
    answered = Appender.answered

    def flawed(self: Appender, event: Result, now: float) -> bool:
        if isinstance(event, Unknown) and self.kind is Kind.BATCH:
            self.give_up()
            return True
        return answered(self, event, now)

    with patch.object(Appender, "answered", flawed):
        yield


@contextmanager
def go_on_after_release() -> Iterator[None]:
    """An owner that is unsure of its RELEASE goes on."""
    answered, serve = Candidate._answered, Process._serve

    def flawed(self: Candidate, event: Result, now: float) -> None:
        if isinstance(event, Unknown) and self._appender.kind is Kind.RELEASE:
            self._appender.give_up()
        else:
            answered(self, event, now)

    def once(self: Process) -> None:
        serve(self)
        self.releases = None if self.candidate._appender.kind is Kind.RELEASE else self.releases

    with patch.object(Candidate, "_answered", flawed), patch.object(Process, "_serve", once):
        yield


def purge_what_is_read() -> AbstractContextManager[Any]:
    """An owner purges what it has itself."""
    return patch.object(Process, "_purgeable", lambda self: self.candidate.position.position)


def store_what_is_not_applied() -> AbstractContextManager[Any]:
    """A store takes how far the log was read for how far it was applied."""
    return patch.object(Candidate, "position", property(lambda self: self._reader.at))


@contextmanager
def hear_only_what_counts() -> Iterator[None]:
    """An entry that does not count is no sign of life."""
    took, heard, counted = LogReader.take, Watch.heard, [True]

    def take(self: LogReader, position: int, data: bytes) -> Entry | None:
        entry = took(self, position, data)
        counted[0] = entry is not None
        return entry

    def hear(self: Watch, now: float) -> None:
        if counted[0]:
            heard(self, now)

    with patch.object(LogReader, "take", take), patch.object(Watch, "heard", hear):
        yield


@contextmanager
def heartbeat_of_a_thread() -> Iterator[None]:
    """A thread of its own appends heartbeats, also while the loop of the owner hangs."""
    create = Process.__init__

    def flawed(self: Process, *arguments: Any) -> None:
        create(self, *arguments)

        def beat() -> None:
            if self.ended:
                return
            if self.world.now < self.frozen_until and self.candidate.role is Role.OWNER:
                try:
                    self.candidate.turn()
                except DeposedError:
                    return
                if self.candidate.heartbeat_due:
                    self.candidate.append(b"", Mark(1, 0, "", 0))
            self.world.after(0.1, beat)

        beat()

    with patch.object(Process, "__init__", flawed):
        yield


FLAWS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "append anywhere": append_anywhere,
    "answer late": answer_late,
    "count any number": count_any_number,
    "count any term": count_any_term,
    "read without an entry": read_without_an_entry,
    "answer at once": answer_at_once,
    "take unknown for done": take_unknown_for_done,
    "go on after release": go_on_after_release,
    "purge what is read": purge_what_is_read,
    "store what is not applied": store_what_is_not_applied,
    "hear only what counts": hear_only_what_counts,
    "heartbeat of a thread": heartbeat_of_a_thread,
}
