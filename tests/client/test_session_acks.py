"""Acknowledgements of leases that wait together are sent as one operation, and each has its own result."""

from __future__ import annotations

import asyncio
from typing import Any

from fanmail import AsyncClient, BadRequest, Client, LeaseLost, Message, NoSubscription, OutcomeUnknown, Retries
from fanmail.session import ops
from fanmail.session.pending import MAX_TOGETHER
from tests.client.fake_sessions import FakeSessions, Members, ok, problem
from tests.client.test_session_state import Play


def leased(number: int, user: str = "u", epoch: str = "e") -> Message:
    return Message(f"{epoch}-{number}", b"", receipt=f"{epoch}-{number}.1", topic="t", user=user)


def acknowledge(play: Play, *numbers: int, user: str = "u", epoch: str = "e") -> None:
    for number in numbers:
        play.begin(ops.acknowledge(leased(number, user, epoch)))


def receipts(sent: list[Members]) -> list[Any]:
    """Return what each operation acknowledges or gives back."""
    return [each.get("receipts", each.get("receipt")) for each in sent]


def test_those_that_wait_together_are_sent_as_one_and_each_has_its_result() -> None:
    play = Play()
    acknowledge(play, 1, 2, 3, 3)
    acknowledge(play, 4, user="v")
    one, other = play.sent()
    assert one == {"op": "ack", "topic": "t", "user": "u", "receipts": ["e-1.1", "e-2.1", "e-3.1", "e-3.1"], "ref": 1}
    assert other == {"op": "ack", "topic": "t", "user": "v", "receipt": "e-4.1", "ref": 5}
    play.ok(other)
    assert play.results == {4: None}
    play.ok(one, lost=["e-3.1"])
    assert [type(play.results[number]) for number in range(4)] == [type(None), type(None), LeaseLost, LeaseLost]
    assert (play.results[2].code, play.results[2].status) == ("lease-lost", 409)
    assert play.state.is_idle


def test_the_order_with_other_operations_on_the_mailbox_is_kept() -> None:
    play = Play()
    acknowledge(play, 1, 2)
    play.begin(ops.give_back(leased(3)))
    acknowledge(play, 4)
    play.begin(ops.acknowledge(Message("e-9", b"", topic="t", user="u")))
    assert receipts(play.sent()) == [["e-1.1", "e-2.1"], "e-3.1", "e-4.1", None]
    acknowledge(play, 5)
    assert receipts(play.sent()) == ["e-5.1"], "it does not wait for the answer to the others"


def test_no_more_is_sent_as_one_than_a_server_takes() -> None:
    play = Play()
    acknowledge(play, *range(MAX_TOGETHER + 5))
    assert [len(each) for each in receipts(play.sent())] == [MAX_TOGETHER, 5]
    acknowledge(play, *range(500), epoch="f" * 64)
    assert [sum(map(len, each)) < 24 * 1024 for each in receipts(play.sent())] == [True, True]


def test_an_error_is_of_all_and_they_are_retried_together() -> None:
    play = Play(Retries(base=1.0))
    acknowledge(play, 1, 2)
    play.refuse(*play.sent(), 503)
    acknowledge(play, 3)
    play.pause(1)
    again, behind = play.sent()
    assert receipts([again, behind]) == [["e-1.1", "e-2.1"], "e-3.1"]
    assert receipts(play.reconnect()) == [["e-1.1", "e-2.1"], "e-3.1"], "a cut changes nothing"
    play.refuse(again, 404, "no-subscription")
    assert [type(each) for each in play.results.values()] == [NoSubscription, NoSubscription]
    play = Play(Retries(total=0))
    acknowledge(play, 1, 2)
    play.sent()
    play.reconnect()
    assert [type(each) for each in play.results.values()] == [OutcomeUnknown, OutcomeUnknown]


def test_a_server_that_takes_no_lists_gets_each_alone_until_the_next_connection() -> None:
    play = Play()
    acknowledge(play, 1, 2)
    play.refuse(*play.sent(), 400, "bad-op")
    acknowledge(play, 3)
    alone = play.sent()
    assert receipts(alone) == ["e-1.1", "e-2.1", "e-3.1"]
    play.ok(alone[0])
    play.refuse(alone[1], 400, "bad-parameter")
    play.ok(alone[2])
    assert [type(play.results[number]) for number in range(3)] == [type(None), BadRequest, type(None)]
    acknowledge(play, 4, 5)
    assert receipts(play.sent()) == ["e-4.1", "e-5.1"]
    assert receipts(play.reconnect()) == [["e-4.1", "e-5.1"]]


def lose_second(connection: Any, op: Members) -> None:
    lost = [each for each in op.get("receipts", [op.get("receipt")]) if each == "e-2.1"]
    if lost and "receipt" in op:
        problem(connection, op, 409, "lease-lost")
    else:
        ok(connection, op, **({"lost": lost} if lost else {}))


def test_what_is_acknowledged_without_waiting_goes_together() -> None:
    async def run(url: str) -> list[Any]:
        async with AsyncClient(url) as client, client.session() as session:
            found = await asyncio.gather(*map(session.acknowledge, map(leased, (1, 2, 3))), return_exceptions=True)
        return [type(each) for each in found]

    with FakeSessions(ack=lose_second) as server:
        assert asyncio.run(run(server.url)) == [type(None), LeaseLost, type(None)]
        assert receipts(server.ops("ack")) == [["e-1.1", "e-2.1", "e-3.1"]]


def test_threads_get_the_same_results_whatever_goes_together() -> None:
    with FakeSessions(ack=lose_second) as server, Client(server.url) as client, client.session() as session:
        done = [session.acknowledge_soon(leased(number)) for number in (1, 2, 3)]
        assert [type(each.exception(timeout=20)) for each in done] == [type(None), LeaseLost, type(None)]
        sent = [each for op in server.ops("ack") for each in op.get("receipts", [op.get("receipt")])]
        assert sent == ["e-1.1", "e-2.1", "e-3.1"]
