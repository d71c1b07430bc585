"""What is delivered where the copy that answers lags, has a gap, or does not answer: the leader decides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from broker.replica.engine.names import StreamName
from broker.replica.engine.outbox import Outbox
from broker.replica.engine.threaded_log import LostError
from broker.replica.jetstream import api, feed
from broker.replica.jetstream.feed import Feed
from broker.replica.jetstream.fetching import Found
from broker.replica.jetstream.health import Health
from broker.replica.log import Entries, Event, Missing

NAME = StreamName("fanmail", "b0", bytes(8))
SILENT_S = 0.02


class Servers:
    """A stream with a copy that may lag, and a leader."""

    def __init__(self, leader: dict[int, bytes], first: int = 1) -> None:
        self.leader, self.first = leader, first
        self.copy = dict(leader)
        self.answers = True
        self.deleted = False
        self.asked = 0

    async def direct(self, first: int) -> Found:
        if not self.answers:
            raise ConnectionError
        behind = [(each, self.copy[each]) for each in sorted(self.copy) if each >= first]
        return [each for index, each in enumerate(behind) if each[0] == behind[0][0] + index]

    async def from_leader(self, position: int) -> bytes | None:
        self.asked += 1
        return self.leader.get(position)

    async def describe(self) -> api.Described:
        if self.deleted:
            raise api.RequestError(api.ApiError(404, api.NO_STREAM, "stream not found"))
        return api.Described(state=api.Positions(self.first, max(self.leader, default=0)), created="then")


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    for name, seconds in (("SILENT_S", SILENT_S), ("AGAIN_S", 0.001), ("SHORTEST_S", 0.001), ("LONGEST_S", 0.001)):
        monkeypatch.setattr(feed, name, seconds)
    monkeypatch.setattr("broker.replica.jetstream.health.GONE_S", 0.0)
    outbox = Outbox()
    yield outbox
    outbox.close()


def followed(servers: Servers, outbox: Outbox, first: int, last: int) -> list[Event]:
    """Follow until the entry `last`, or until nothing is followed any more; return what was delivered."""

    async def run() -> list[Event]:
        clock = asyncio.get_running_loop().time
        task = asyncio.create_task(Feed(servers, Health(NAME, clock), outbox, clock).follow(first))  # type: ignore[arg-type]
        events: list[Event] = []
        async with asyncio.timeout(20):
            while not task.done() and not any(
                isinstance(each, Entries) and each.entries[-1][0] >= last for each in events
            ):
                await asyncio.sleep(0.001)
                events += outbox.take()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and (error := task.exception()):
            raise error
        return events + outbox.take()

    return asyncio.run(run())


def entries(events: list[Event]) -> Found:
    return [entry for each in events if isinstance(each, Entries) for entry in each.entries]


STORED = {n: b"entry %d" % n for n in range(1, 9)}


def test_a_copy_that_has_all_is_read_without_the_leader(outbox: Outbox) -> None:
    servers = Servers(STORED)
    assert entries(followed(servers, outbox, 3, 8)) == [(n, STORED[n]) for n in range(3, 9)]
    assert servers.asked == 0


def test_a_copy_that_lags_is_not_waited_for(outbox: Outbox) -> None:
    servers = Servers(STORED)
    servers.copy = {n: STORED[n] for n in (1, 2, 3)}
    assert entries(followed(servers, outbox, 1, 8)) == [(n, STORED[n]) for n in range(1, 9)]
    assert servers.asked >= 5


@pytest.mark.parametrize("lacking", [(1,), (4,), (1, 5)])
def test_a_gap_in_a_copy_is_filled_by_the_leader(outbox: Outbox, lacking: tuple[int, ...]) -> None:
    servers = Servers(STORED)
    servers.copy = {n: data for n, data in STORED.items() if n not in lacking}
    assert entries(followed(servers, outbox, 1, 8)) == [(n, STORED[n]) for n in range(1, 9)]


def test_a_copy_that_does_not_answer_is_replaced_by_the_leader(outbox: Outbox) -> None:
    servers = Servers(STORED)
    servers.answers = False
    assert entries(followed(servers, outbox, 1, 8)) == [(n, STORED[n]) for n in range(1, 9)]


def test_what_was_purged_is_missing_and_nothing_is_followed_then(outbox: Outbox) -> None:
    servers = Servers({n: STORED[n] for n in (5, 6, 7, 8)}, first=5)
    assert followed(servers, outbox, 3, 8) == [Missing(3, 5, 8)]


def test_an_entry_that_even_the_leader_lacks_is_missing(outbox: Outbox) -> None:
    servers = Servers({n: data for n, data in STORED.items() if n != 4})
    events = followed(servers, outbox, 1, 8)
    assert entries(events) == [(n, STORED[n]) for n in (1, 2, 3)]
    assert events[-1] == Missing(4, 1, 8)


def test_a_stream_that_is_gone_is_lost(outbox: Outbox) -> None:
    servers = Servers({})
    servers.deleted = True
    with pytest.raises(LostError, match="has no stream"):
        followed(servers, outbox, 1, 1)


def test_no_more_is_fetched_than_the_reader_takes(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "AHEAD_BYTES", 10)
    servers = Servers(STORED)

    async def run() -> tuple[int, int]:
        clock = asyncio.get_running_loop().time
        source = Feed(servers, Health(NAME, clock), outbox, clock)  # type: ignore[arg-type]
        task = asyncio.create_task(source.follow(1))
        while not outbox.held_bytes:
            await asyncio.sleep(0.001)
        servers.copy[9] = servers.leader[9] = b"entry 9"
        await asyncio.sleep(5 * SILENT_S)
        before = outbox.take()
        source.taken()
        async with asyncio.timeout(20):
            while not outbox.held_bytes:
                await asyncio.sleep(0.001)
        task.cancel()
        return entries(before)[-1][0], entries(outbox.take())[-1][0]

    assert asyncio.run(run()) == (8, 9)


def test_what_was_followed_before_ends_though_its_cancellation_is_lost(outbox: Outbox) -> None:
    servers = Servers(STORED)

    async def run() -> None:
        clock = asyncio.get_running_loop().time
        source = Feed(servers, Health(NAME, clock), outbox, clock)  # type: ignore[arg-type]
        task = asyncio.create_task(source.follow(1))
        while not outbox.held_bytes:
            await asyncio.sleep(0.001)
        source.unfollow()
        async with asyncio.timeout(20):
            await task

    asyncio.run(run())
