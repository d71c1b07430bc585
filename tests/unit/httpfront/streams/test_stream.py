"""One stream between a broker and a connection that the test plays."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import pytest
from msgspec import Raw

from common.errors import FanmailError
from common.protocol import ops, wire
from common.protocol.ops import Op
from httpfront.budget import Account, Budget
from httpfront.formats.stream_lines import StreamLines
from httpfront.gateway.call import Answer
from httpfront.gateway.gateway import Gateway
from httpfront.streams import stream as stream_module
from httpfront.streams import table as table_module
from httpfront.streams.origin import StreamOrigin
from httpfront.streams.stream import PATIENCE_S, SILENCE_S, UNSENT_BYTES, Stream
from httpfront.streams.table import LARGE_READS, StreamTable
from tests.support.table import table

EPOCH = "0badcafe1"


class Asked(NamedTuple):
    op: Op
    args: Any
    waiting: Any
    lasts_s: float


@dataclass
class Broker:
    """In the place of `Gateway`: it notes what it is asked."""

    calls: list[Asked] = field(default_factory=list)
    error: FanmailError | None = None

    def start(
        self, op: Op, topic: bytes, user: bytes, args: Any, waiting: Any, of_request: str, lasts_s: float = 0
    ) -> Any:
        assert (topic, user, of_request) == (b"t", b"u", "r1")
        if self.error is not None:
            raise self.error
        self.calls.append(Asked(op, args, waiting, lasts_s))
        return NamedCall(len(self.calls))

    result_of = Gateway.result_of

    def take(self, op: Op) -> Asked:
        """Return the only call that was not answered."""
        (asked,) = self.calls
        self.calls.clear()
        assert asked.op is op
        return asked


class NamedCall(NamedTuple):
    id: int


@dataclass
class Client:
    """In the place of the connection. It takes everything, or nothing while `stalled`."""

    account: Account
    written: int = 0
    unsent: int = 0
    taken: bool = True
    """Whether the client's side acknowledges what is sent."""
    stalled: bool = False
    lines: list[Any] = field(default_factory=list)
    ended: str = ""

    def delivered(self) -> int:
        return self.written if self.taken else 0

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.written += len(data)
        self.lines += [json.loads(line) for line in data.split(b"\n") if line]
        if self.stalled:
            self.unsent += len(data)

    def end(self, reason: str) -> None:
        self.ended = reason

    @property
    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines if "id" in line]

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(line["event"], line.get("code", "")) for line in self.lines if "event" in line]


class Scene:
    """One stream that was just opened at position 1, on a clock that the test advances."""

    def __init__(self, confirm_s: float | None, monkeypatch: pytest.MonkeyPatch, budget: Budget | None = None) -> None:
        self.now = 1000.0
        for module in (stream_module, table_module):
            monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.broker = Broker()
        self.client = Client(Account(budget or Budget(2**30), lambda: None))
        self.table = StreamTable(cast(Gateway, self.broker), 10)
        self.refusal: FanmailError | None = None
        opened = ops.StreamOpened(7, EPOCH, 1)
        origin = StreamOrigin((b"t", b"u"), StreamLines(), confirm_s, opened, 1, "r1", lambda: self.refusal)
        self.stream = Stream(self.table, origin, self.client)
        self.table.add(self.stream)
        self.stream.start(b"\n")

    def answer(self, op: Op, result: Any = None, error: FanmailError | None = None) -> Any:
        """Answer the only open call. Return its arguments."""
        asked = self.broker.take(op)
        asked.waiting.switch(Answer(error, None if error else Raw(wire.pack_result(result))))
        return asked.args

    def deliver(self, *bodies: bytes, first: int = 1, position: int = 1, pending: int = 0) -> Any:
        """Wake the stream and answer its read."""
        self.answer(Op.WAIT, ops.WaitResult(True, 0))
        return self.give(*bodies, first=first, position=position, pending=pending)

    def give(self, *bodies: bytes, first: int = 1, position: int = 1, pending: int = 0) -> Any:
        frames = b"".join(len(each).to_bytes(4, "big") + each for each in bodies)
        runs = [ops.Run(first, len(bodies), 1_700_000_000_000, b"", frames)] if bodies else []
        return self.answer(Op.FETCH, ops.Batch(EPOCH, pending, runs, position))

    def elapse(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.now += 0.25
            self.table.tick()

    @property
    def waits(self) -> int:
        """The place that the stream waits for."""
        asked = self.broker.take(Op.WAIT)
        self.broker.calls.append(asked)
        return int(asked.args.place)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    return lambda confirm_s=None, **more: Scene(confirm_s, monkeypatch, **more)


def test_a_stream_waits_reads_and_waits_behind_what_it_read(play: Callable[..., Scene]) -> None:
    scene = play()
    assert scene.waits == 1
    asked = scene.deliver(b"1", b"2")
    assert (asked.place, asked.epoch, asked.after, asked.lease) == (1, EPOCH, False, 0)
    assert scene.client.texts == ["1", "2"]
    assert scene.waits == 3
    scene.answer(Op.WAIT, ops.WaitResult(False, 0))
    assert scene.waits == 3, "its time was up"
    assert scene.client.account.bytes == 0


def test_more_is_read_once_the_client_has_taken_what_there_was(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.client.stalled = True
    scene.deliver(b"1", pending=5)
    assert scene.broker.calls == []
    scene.client.unsent, scene.client.stalled = 0, False
    scene.stream.flushed()
    assert scene.give(b"2", first=2).place == 2
    assert scene.waits == 3


def test_no_more_is_rendered_than_may_be_unsent(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.client.stalled = True
    scene.deliver(*[b"\x01" * 20_000] * 4)
    assert scene.client.written < UNSENT_BYTES + 6 * 20_000 + 1000
    seen = len(scene.client.texts)
    assert 0 < seen < 4
    scene.client.unsent = 0
    scene.stream.flushed()
    assert scene.broker.take(Op.FETCH).args.place == seen + 1, "the rest is read again"


def test_missed_messages_are_announced(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.deliver(b"5", first=5, position=5)
    assert scene.client.lines[0] == {"event": "gap", "from": f"{EPOCH}-1", "position": f"{EPOCH}-5"}
    assert scene.client.texts == ["5"]
    scene.deliver(first=0, position=9)
    assert scene.client.events == [("gap", ""), ("gap", "")]
    assert scene.waits == 9


@table(
    ("code", "event"),
    [
        ("no-subscription", ("end", "no-subscription")),
        ("leases-out", ("error", "leases-out")),
        ("internal", ("error", "internal")),
    ],
)
def test_what_lasts_ends_the_stream(play: Callable[..., Scene], code: str, event: tuple[str, str]) -> None:
    scene = play()
    scene.answer(Op.WAIT, error=FanmailError(code, "why"))
    assert scene.client.events == [event]
    assert (scene.client.ended, scene.table.open, scene.table.ended[event[0]]) == (event[0], 0, 1)
    assert scene.broker.take(Op.CANCEL).args == ops.Cancel(0, 7)


@table("code", ["broker-down", "outcome-unknown", "draining", "wrong-incarnation"])
def test_a_lost_broker_is_asked_again_and_the_stream_opened_anew(play: Callable[..., Scene], code: str) -> None:
    scene = play()
    scene.deliver(b"1")
    scene.answer(Op.WAIT, error=FanmailError(code, "why"))
    scene.elapse(2)
    scene.answer(Op.STREAM, ops.StreamOpened(8, EPOCH, 1))
    assert scene.broker.calls.pop(0).args == ops.Cancel(0, 7), "a broker that was there all the time forgets the former"
    assert (scene.client.events, scene.waits) == ([], 2)
    scene.answer(Op.WAIT, error=FanmailError(code, "why"))
    scene.elapse(2)
    scene.answer(Op.STREAM, ops.StreamOpened(8, "another", 1))
    assert scene.client.events == [("end", "no-subscription")], "the topic began again"


def test_a_stream_that_fails_ends(play: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    scene = play()
    monkeypatch.setattr(stream_module, "bodies", lambda frames: 1 // 0)
    scene.deliver(b"1")
    assert scene.client.events == [("error", "internal")]
    assert scene.client.ended == "error"
    assert (scene.table.open, scene.table.reading) == (0, 0)


def test_a_broker_that_stays_away_ends_the_stream(play: Callable[..., Scene]) -> None:
    scene = play()
    asked = scene.broker.take(Op.WAIT)
    scene.broker.error = FanmailError("broker-down", "why")
    asked.waiting.switch(Answer(scene.broker.error))
    scene.elapse(PATIENCE_S - 1)
    assert scene.client.events == []
    scene.elapse(10)
    assert scene.client.events == [("error", "broker-down")]


def test_a_message_too_large_for_the_room_is_asked_for_with_its_size(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.answer(Op.WAIT, ops.WaitResult(True, 0))
    scene.answer(Op.FETCH, error=FanmailError("answer-too-large", "", size=500_000))
    assert scene.client.account.bytes == 500_000
    assert scene.give(b"x" * 500_000).room == 500_000
    assert (scene.client.account.bytes, len(scene.client.texts), scene.table.reading) == (0, 1, 0)


def test_few_large_messages_are_read_at_a_time_and_small_ones_go_on() -> None:
    table = StreamTable(cast(Gateway, Broker()), 10)
    began: list[int] = []

    class Reading:
        def __init__(self, size: int) -> None:
            self.size = size

        def read(self) -> None:
            table.read_began(self.size)
            began.append(self.size)

    for _ in range(LARGE_READS + 1):
        table.want_read(cast(Stream, Reading(2**20)), large=True)
    table.want_read(cast(Stream, Reading(0)))
    assert began == [2**20] * LARGE_READS + [0]
    table.read_ended(2**20)
    table.start_reads()
    assert began[-1] == 2**20


def test_a_full_front_makes_streams_wait_for_their_turn(play: Callable[..., Scene]) -> None:
    budget = Budget(2**20)
    scene = play(budget=budget)
    budget.used = 2**20
    scene.answer(Op.WAIT, ops.WaitResult(True, 0))
    assert (scene.broker.calls, scene.table.reading) == ([], 0)
    budget.used = 0
    scene.elapse(2)
    scene.give(b"1")
    assert scene.client.texts == ["1"]


def test_silence_is_broken_by_an_empty_line(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.elapse(10)
    scene.deliver(b"1")
    before = scene.client.written
    scene.elapse(SILENCE_S - 1)
    assert scene.client.written == before
    scene.elapse(2)
    assert scene.client.written == before + 1


@table("silent", [True, False])
def test_a_key_that_is_not_valid_any_more_ends_the_stream(play: Callable[..., Scene], silent: bool) -> None:
    scene = play()
    scene.refusal = FanmailError("unauthorized", "gone")
    if silent:
        scene.elapse(SILENCE_S + 1)
    else:
        scene.answer(Op.WAIT, ops.WaitResult(True, 0))
    assert (scene.client.texts, scene.client.events) == ([], [("end", "unauthorized")])


def test_a_key_that_ends_while_a_message_is_read_gets_none(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.answer(Op.WAIT, ops.WaitResult(True, 0))
    scene.refusal = FanmailError("unauthorized", "gone")
    scene.give(b"secret")
    assert (scene.client.texts, scene.client.events) == ([], [("end", "unauthorized")])


def confirmed(scene: Scene) -> list[tuple[int, int]]:
    """Take the confirmations out of the open calls: sequence number and stream."""
    found = [each for each in scene.broker.calls if each.op is Op.CONFIRM]
    scene.broker.calls = [each for each in scene.broker.calls if each.op is not Op.CONFIRM]
    for each in found:
        each.waiting.switch(Answer(None, Raw(wire.pack_result(ops.Confirmed(True)))))
    return [(each.args.seq, each.args.stream) for each in found]


def test_a_client_that_confirms_itself_is_not_confirmed_for(play: Callable[..., Scene]) -> None:
    scene = play(None)
    scene.deliver(b"1")
    scene.elapse(100)
    assert confirmed(scene) == []


def test_what_was_delivered_long_enough_ago_is_confirmed_once(play: Callable[..., Scene]) -> None:
    scene = play(30.0)
    scene.deliver(b"1", b"2")
    scene.elapse(29)
    assert confirmed(scene) == []
    scene.elapse(2)
    assert confirmed(scene) == [(2, 7)]
    scene.elapse(100)
    assert confirmed(scene) == []


def test_what_is_not_delivered_is_not_confirmed(play: Callable[..., Scene]) -> None:
    scene = play(5.0)
    scene.client.taken = False
    scene.deliver(b"1")
    scene.elapse(60)
    assert confirmed(scene) == []
    scene.client.taken = True
    scene.elapse(2)
    assert confirmed(scene) == [(1, 7)]


def test_confirmations_are_sent_once_per_second_at_most(play: Callable[..., Scene]) -> None:
    scene, sent = play(0.0), 0
    for n in range(1, 41):
        scene.deliver(b"%d" % n, first=n)
        scene.elapse(0.25)
        sent += len(confirmed(scene))
    assert 5 <= sent <= 11


def test_a_confirmation_that_was_lost_is_sent_again(play: Callable[..., Scene]) -> None:
    scene = play(1.0)
    scene.deliver(b"1")
    scene.elapse(2.5)
    (lost,) = [each for each in scene.broker.calls if each.op is Op.CONFIRM]
    scene.broker.calls.remove(lost)
    lost.waiting.switch(Answer(FanmailError("outcome-unknown", "")))
    scene.elapse(10)
    assert confirmed(scene)[0] == (1, 7)


def test_a_client_that_is_gone_leaves_nothing(play: Callable[..., Scene]) -> None:
    scene = play(0.0)
    scene.deliver(b"1")
    scene.stream.gone("client")
    assert (scene.table.open, scene.table.ended["client"], scene.table.reading) == (0, 1, 0)
    assert [each.op for each in scene.broker.calls] == [Op.WAIT, Op.CANCEL]
    assert scene.broker.calls[1].args == ops.Cancel(1, 7)
    late = scene.broker.calls[0]
    late.waiting.switch(Answer(None, Raw(wire.pack_result(ops.WaitResult(True, 0)))))
    scene.elapse(60)
    assert scene.client.texts == ["1"]


def test_an_answer_for_a_client_that_is_gone_gives_its_turn_to_others(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.answer(Op.WAIT, ops.WaitResult(True, 0))
    assert scene.table.reading == 1
    scene.stream.gone("client")
    assert scene.broker.calls.pop().args == ops.Cancel(0, 7)
    scene.give(b"1")
    assert (scene.client.texts, scene.table.reading) == ([], 0)


def test_a_drain_ends_streams_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(None, monkeypatch)
    others = []
    for _ in range(7):
        client = Client(Account(Budget(2**30), lambda: None))
        stream = Stream(scene.table, scene.stream._origin, client)
        scene.table.add(stream)
        stream.start(b"\n")
        others.append(client)
    scene.table.drain(10)
    with pytest.raises(FanmailError, match="stopping"):
        scene.table.begin_opening()
    counts = []
    for _ in range(8):
        scene.elapse(1.25)
        counts.append(scene.table.open)
    assert counts[-1] == 0
    assert len(set(counts)) > 4, "spread"
    assert others[0].events == [("error", "draining")]


def test_there_is_room_for_so_many_streams(play: Callable[..., Scene]) -> None:
    table_ = play().table
    for _ in range(9):
        table_.begin_opening()
    with pytest.raises(FanmailError, match="limit of 10 streams"):
        table_.begin_opening()
    table_.end_opening()
    with suppress(FanmailError):
        table_.begin_opening()
        return
    raise AssertionError("the place was given back")
