"""The source of a move: what it tells, and what ends without its target. Moves that go wrong: `tests/simulation`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from broker.dispatch.links import Question
from broker.dispatch.moves import Moves
from broker.slot_records import MoveSeen
from broker.state.slots import OWN
from broker.thresholds import DEFAULT, Thresholds
from common.cluster.slots import BrokerAddress, ClusterMap, slot_of
from common.errors import FanmailError
from common.protocol import move_ops as mv
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import BrokerDriver
from tests.support.mirror import MirrorStore
from tests.support.moved import ALL, own
from tests.support.table import table

T = b"t"
SLOT = slot_of(T)
THREE = ClusterMap("fanmail", 1, [BrokerAddress(f"b{n}", f"ipc:///b{n}") for n in range(3)])
Reply = Callable[[Op, Any], Any]


class Target:
    """Implements `Links` and `Link`: `reply` returns a result, an error, or None for no answer."""

    def __init__(self) -> None:
        self.up = self.answers = True
        self.asked: list[Op] = []
        self.reply: Reply = lambda op, args: {
            Op.OFFER: ops.Nothing(),
            Op.ADOPT: mv.Adopted(1, 2),
            Op.MOVE_ASK: mv.MoveOutcome(False),
        }[op]

    def to(self, broker: str) -> Any:
        return self if broker in ("b1", "b2") else None

    def ask(self, op: Op, args: Struct, body: bytes | None = None) -> Question:
        self.asked.append(op)
        answer = self.reply(op, args)
        if isinstance(answer, FanmailError):
            return Question(True, None, answer)
        return Question(answer is not None, answer)


class Source:
    """A broker that owns all slots, with a message in one of them."""

    def __init__(self, thresholds: Thresholds = DEFAULT) -> None:
        self.target = Target()
        self.broker = BrokerDriver(store=MirrorStore("0badcafe"), cluster_map=THREE, thresholds=thresholds)
        own(self.broker, ALL)
        self.broker.subscribe(T, b"u")
        self.broker.publish(T, b"1")
        self.moves = Moves(self.broker.dispatcher, self.target)
        self.moves.begin(self.broker.clock.now())

    def move(self, to: str = "b1", slot: int = SLOT) -> Any:
        return self.broker.ask(Op.MOVE, args=mv.MoveSlot(slot, to))

    def turn(self, seconds: float = 0.2) -> str:
        """Return the state of the last move."""
        self.broker.clock.advance(seconds)
        self.moves.turn(self.broker.clock.now())
        self.broker.commit()
        return self.moves.rows()[-1].state


@pytest.fixture
def source() -> Source:
    return Source()


def test_a_move_asks_first_then_freezes_then_sends_and_then_points_there(source: Source) -> None:
    assert source.move().result.state == "offering"
    assert source.turn() == "offering"
    assert source.broker.publish(T, b"2").code == "", "it is still in use"
    assert source.turn() == "leaving"
    assert source.target.asked == [Op.OFFER], "nothing leaves before the freeze is settled"
    assert source.broker.publish(T, b"3").code == "moving"
    assert source.turn() == "leaving"
    assert source.turn() == "left"
    assert source.target.asked == [Op.OFFER, Op.ADOPT]
    answer = source.broker.publish(T, b"4")
    assert (answer.code, dict(answer.fields)) == ("not-owner", {"slot": SLOT, "owner": "b1", "slot_epoch": 2})
    source.turn()
    assert source.broker.state.topics == {}
    assert source.move().result.state == "left"
    assert source.move("b2").code == "move-refused"


def test_a_refusal_of_the_offer_freezes_nothing(source: Source) -> None:
    source.target.reply = lambda op, args: FanmailError("move-refused", "no room")
    source.move()
    source.turn()
    assert source.turn() == "refused"
    assert source.moves.rows()[0].reason == "no room"
    assert source.broker.publish(T, b"2").code == ""


def test_a_refusal_later_is_an_abort_after_the_target_has_dropped_it(source: Source) -> None:
    source.move()
    source.turn(), source.turn()
    reply = source.target.reply
    source.target.reply = lambda op, args: FanmailError("move-refused", "full") if op is Op.ADOPT else reply(op, args)
    assert [source.turn() for _ in range(4)] == ["leaving", "asking", "asking", "refused"]
    assert source.target.asked[-1] is Op.MOVE_ASK
    assert source.broker.publish(T, b"2").code == ""


def test_a_target_that_is_silent_holds_the_slot_until_it_answers(source: Source) -> None:
    source.move()
    source.turn(), source.turn()
    source.target.up = False
    assert {source.turn(60) for _ in range(5)} == {"asking"}
    assert source.broker.publish(T, b"2").code == "moving"
    source.target.up = True
    source.target.reply = lambda op, args: mv.MoveOutcome(True, 3, "b2")
    source.turn()
    assert source.turn() == "left"
    assert dict(source.broker.publish(T, b"2").fields)["owner"] == "b2", "it has gone on from there"


@table("answer", [ops.Nothing(), mv.Adopted(2, 2), mv.Adopted(1), None])
def test_an_answer_that_makes_no_sense_is_no_progress(answer: Any) -> None:
    source = Source()
    source.move()
    source.turn(), source.turn()
    ask = source.target.ask
    source.target.ask = lambda *args: Question(True, answer) if args[0] is Op.ADOPT else ask(*args)  # type: ignore[method-assign]
    assert [source.turn(), source.turn()] == ["leaving", "asking"]
    source.target.reply = lambda op, args: mv.MoveOutcome(True, 1)
    assert [source.turn() for _ in range(4)] == ["asking"] * 4, "it has not gone anywhere with the epoch that it has"


def test_a_target_that_has_a_part_to_store_gets_one_more() -> None:
    source = Source(DEFAULT._replace(part_records=3))
    for number in range(8):
        source.broker.publish(T, b"%d" % number)
    sent: list[tuple[int, Question]] = []

    def ask(op: Op, args: Any, body: bytes | None = None) -> Question:
        question = Question(op is Op.OFFER, ops.Nothing())
        if op is Op.ADOPT:
            sent.append((args.n, question))
        return question

    source.target.ask = ask  # type: ignore[method-assign]
    source.move()
    for number in range(5):
        assert source.turn() == ("offering" if not number else "leaving")
    assert [n for n, _ in sent] == [1, 2]
    assert source.moves.wait_ms
    for n, question in sent:  # grows
        question.done, question.result = True, mv.Adopted(n, 2 * (n == 4))
        state = source.turn()
    assert ([n for n, _ in sent], state) == ([1, 2, 3, 4], "left")


@pytest.fixture
def large() -> Source:
    """A source with a slot that is worth a copy."""
    source = Source(DEFAULT._replace(copied_records=3))
    for number in range(2, 8):
        source.broker.publish(T, b"%d" % number)
    return source


def answer_parts(source: Source, last: int) -> list[mv.Adopt]:
    """Let the target take parts, up to the last one; return those that come."""
    sent: list[mv.Adopt] = []
    other = source.target.ask

    def ask(op: Op, args: Any, body: bytes | None = None) -> Question:
        if op is not Op.ADOPT:
            return other(op, args, body)
        sent.append(replace(args, body=body))
        return Question(True, mv.Adopted(args.n, 2 * args.last)) if args.n <= last else Question()

    source.target.ask = ask  # type: ignore[method-assign]
    return sent


def test_a_large_slot_is_in_use_while_it_is_copied(large: Source) -> None:
    sent = answer_parts(large, 9)
    large.move()
    large.turn()
    for number in range(8, 20):
        state = large.turn()
        assert large.broker.publish(T, b"%d" % number).code == ("" if state == "copying" else "moving")
        if state == "leaving":
            break
    assert state == "leaving"
    assert number > 10
    assert large.broker.state.slots.leaving[SLOT].move == sent[0].move
    assert not any(each.last for each in sent)
    copied = len(sent)
    assert large.turn() == "leaving"
    assert large.turn() == "left"
    (rest,) = sent[copied:]
    assert (rest.last, rest.n) == (True, copied + 1)
    assert large.moves.rows()[-1].bytes == sum(len(each.body) for each in sent)


def test_nothing_is_copied_before_the_id_of_the_move_is_settled(large: Source) -> None:
    sent = answer_parts(large, 9)
    large.move()
    large.turn()
    assert large.turn() == "copying"
    assert not sent
    large.broker.restart()
    assert large.broker.state.slots.seen[OWN] > 0


def test_what_fails_during_the_copy_freezes_nothing_and_is_dropped_by_the_target(large: Source) -> None:
    def refuse(op: Op, args: Any) -> Any:
        return FanmailError("move-refused", "full") if op is Op.ADOPT else ops.Nothing()

    large.target.reply = refuse
    large.move()
    states = [large.turn() for _ in range(4)]
    assert states == ["offering", "copying", "copying", "refused"]
    assert large.target.asked == [Op.OFFER, Op.ADOPT, Op.MOVE_ASK]
    assert large.moves.rows()[-1].reason == "full"
    assert large.broker.publish(T, b"9").code == ""


@table("how", ["abort", "down", "undescribed", "silence"])
def test_a_copy_ends_at_once_where_it_cannot_go_on(how: str) -> None:
    source = Source(DEFAULT._replace(copied_records=0))
    answer_parts(source, 0)
    source.move()
    source.turn(), source.turn(), source.turn()
    if how == "abort":
        assert source.broker.ask(Op.MOVE_ABORT, args=mv.AbortMove(SLOT)).result.state == "refused"
    elif how == "down":
        source.target.up = False
    elif how == "undescribed":
        source.target.to = lambda broker: None  # type: ignore[method-assign]
    else:
        job = source.moves._mover._jobs[SLOT]
        job.sent[0].question.done, job.sent[0].question.error = True, FanmailError("outcome-unknown")
    assert source.turn() == "refused"
    assert source.broker.publish(T, b"9").code == ""


def test_the_store_keeps_the_greatest_id_of_its_moves(large: Source) -> None:
    answer_parts(large, 9)
    large.move()
    large.turn(), large.turn()
    large.broker.dispatcher.context.emit(MoveSeen(OWN, 2**50))
    while large.turn() == "copying":
        pass
    assert large.broker.store.slots.seen[OWN] == 2**50  # type: ignore[attr-defined]
    records = [each for each in large.broker.store.load() if isinstance(each, MoveSeen)]
    assert records == [MoveSeen(OWN, 2**50)]


def test_the_operator_may_claim_what_is_frozen_for_a_target_that_is_lost(source: Source) -> None:
    source.move()
    source.turn(), source.turn()
    source.target.up = False
    source.turn()
    assert source.broker.ask(Op.CLAIM, args=mv.ClaimSlots([SLOT], 2)).code == "move-refused", "it may be there"
    assert source.broker.ask(Op.CLAIM, args=mv.ClaimSlots([SLOT], 3)).code == ""
    assert source.broker.bodies(T, b"u") == [b"1"]
    assert source.turn() == "refused"


def test_one_slot_at_a_time_goes_to_a_target_and_none_while_paused(source: Source) -> None:
    source.move()
    assert source.move(slot=(SLOT + 1) % 1024).code == "move-refused"
    assert source.move("b2", slot=(SLOT + 1) % 1024).code == ""
    assert source.move("b7", slot=(SLOT + 2) % 1024).code == "move-refused"
    source.broker.ask(Op.MOVES_PAUSE, args=mv.PauseMoves(True))
    assert source.move(slot=(SLOT + 2) % 1024).detail.startswith("moves are paused")
    assert source.move().code == "", "this one is under way"


def test_the_table_names_slots_and_what_is_in_them(source: Source) -> None:
    found = source.broker.ask(Op.SLOTS, args=mv.ListSlots(0)).result
    assert (found.broker, found.status, found.owned) == ("b0", "serving", [mv.SlotRun(0, 1023, 1)])
    assert (found.sizes, found.sizes_next) == ([mv.SlotSize(SLOT, 1, 1, 1)], 1024)
    version = found.version
    source.move()
    for _ in range(5):
        source.turn()
    found = source.broker.ask(Op.SLOTS, args=mv.ListSlots()).result
    assert found.version > version
    assert sum(run.last - run.first + 1 for run in found.owned) == 1023
    assert found.left == [mv.SlotPointer(SLOT, "b1", 2)]
