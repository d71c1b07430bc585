"""Turns of the loop: what runs in which order, and who switches to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from greenlet import getcurrent

from httpfront.hub import TURN_S, Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    yield made
    made.close()


class Epoll:
    """Reports nothing; remembers how long it was to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        self.waits.append(timeout)
        return []

    def close(self) -> None: ...


def turns(hub: Hub, count: int) -> None:
    left = iter(range(count))
    hub.run(lambda: next(left, None) is None)


def parked(hub: Hub, seen: list[Any], number: int, calls: dict[int, Any]) -> Callable[[], None]:
    def work() -> None:
        calls[number] = getcurrent()
        seen.append(("asked", number))
        seen.append((hub.park(), number))

    return work


def test_those_resumed_together_run_in_order(hub: Hub) -> None:
    """With idle greenlets to start, and without."""
    for _ in range(2):
        seen: list[Any] = []
        calls: dict[int, Any] = {}
        for number in range(3):
            hub.spawn(parked(hub, seen, number, calls))
        hub.spawn(lambda seen=seen: seen.append("whole"))
        turns(hub, 1)
        assert seen == [("asked", 0), ("asked", 1), ("asked", 2), "whole"]
        calls[1] = _Place(hub, calls[1], seen)
        hub.resume_all([(calls[number], "answer") for number in range(3)])
        assert seen[4:] == [("answer", 0), "between", ("answer", 1), ("answer", 2)]


class _Place:
    """Stands for a greenlet, as a place in a `Gather` does: no greenlet with work may wait in it."""

    def __init__(self, hub: Hub, greenlet: Any, seen: list[Any]) -> None:
        self.hub, self.greenlet, self.seen = hub, greenlet, seen

    def switch(self, value: object) -> object:
        self.seen.append("between")
        self.hub.resume(self.greenlet, value)
        return None


def test_a_failure_ends_one_request_only(hub: Hub) -> None:
    seen: list[Any] = []
    calls: dict[int, Any] = {}

    def fails() -> None:
        calls[9] = getcurrent()
        hub.park()
        raise ValueError("as a bug would")

    for work in (parked(hub, seen, 0, calls), fails, parked(hub, seen, 1, calls)):
        hub.spawn(work)
    turns(hub, 1)
    hub.resume_all([(calls[0], "a"), (calls[9], None), (calls[1], "b")])
    assert seen[2:] == [("a", 0), ("b", 1)]


def test_what_ends_a_turn_comes_after_the_work_of_each_turn_and_needs_no_event(hub: Hub) -> None:
    seen: list[str] = []
    hub.each_turn(lambda: seen.append("each"))
    hub.spawn(lambda: hub.end_turn_with(lambda: seen.append("end")))
    hub.end_turn_with(lambda: hub.end_turn_with(lambda: seen.append("next end")))
    hub._epoll.close()
    hub._epoll = epoll = Epoll()  # type: ignore[assignment]
    turns(hub, 3)
    assert seen == ["each", "end", "each", "next end", "each"]
    assert epoll.waits == [0, 0, TURN_S]
    seen.clear()

    def spawns() -> None:
        seen.append("first")
        hub.spawn(lambda: seen.append("second"))

    hub.spawn(spawns)
    turns(hub, 1)
    assert seen == ["first", "each"], "what a spawned one spawns is for the next turn"


def test_what_is_put_off_runs_after_what_others_send_and_sends_in_the_same_turn(hub: Hub) -> None:
    seen: list[str] = []
    hub.each_turn(lambda: seen.append("each"))

    def much() -> None:
        seen.append("much")
        hub.end_turn_with(lambda: seen.append("its end"))
        hub.put_off(lambda: seen.append("more"))

    hub.put_off(much)
    hub.spawn(lambda: hub.end_turn_with(lambda: seen.append("end")))
    hub._epoll.close()
    hub._epoll = epoll = Epoll()  # type: ignore[assignment]
    turns(hub, 1)
    assert seen == ["each", "end", "much", "each", "its end"]
    turns(hub, 1)
    assert seen[5:] == ["each", "more", "each"]
    assert epoll.waits == [0, 0]


def test_what_is_due_later_runs_once_and_ends_the_wait(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    now, seen, epoll = [100.0], list[str](), Epoll()
    monkeypatch.setattr("httpfront.hub.time.monotonic", lambda: now[0])
    hub._epoll.close()
    hub._epoll = epoll  # type: ignore[assignment]
    hub.after(0.02, lambda: seen.append("second"))
    hub.after(0.01, lambda: seen.append("first"))
    turns(hub, 1)
    assert (seen, [round(wait, 3) for wait in epoll.waits]) == ([], [0.01])
    now[0] += 0.03
    turns(hub, 2)
    assert (seen, epoll.waits[1:]) == (["first", "second"], [TURN_S, TURN_S])
