"""What a session sends, repeats and settles: its state, run without sockets and with a clock of its own."""

from __future__ import annotations

import base64
import itertools
import json
from collections import deque
from typing import Any

import pytest

from fanmail import (
    CursorLost,
    Denied,
    FanmailError,
    Gap,
    LeaseLost,
    Message,
    NoSubscription,
    OutcomeUnknown,
    Refused,
    Retries,
    ServerFault,
    TooLarge,
    Unavailable,
)
from fanmail.flow import Environment
from fanmail.session import ops
from fanmail.session.ops import Op
from fanmail.session.reads import Delivery, Loop, Read, SessionReadOptions
from fanmail.session.state import SessionState

CUT = OutcomeUnknown("cut")


class Play:
    """A state, its clock, and what became of its operations."""

    def __init__(self, retries: Retries = Retries(total=30.0), is_open: bool = True) -> None:  # noqa: B008 - frozen
        self.now = 1000.0
        keys = (f"key-{n}" for n in itertools.count(1))
        self.state = SessionState(retries, Environment(lambda: self.now, lambda: 1.0, lambda: next(keys)))
        self.results: dict[int, Any] = {}
        """By the number of the operation, counted from 0."""
        self._count = 0
        if is_open:
            self.state.opened()

    def begin(self, op: Op[Any]) -> None:
        number, self._count = self._count, self._count + 1

        def settle(result: Any, error: FanmailError | None) -> None:
            assert number not in self.results, "settled twice"
            self.results[number] = error or result

        self.state.submit(self.state.new_pending(op, settle))

    def sent(self) -> list[dict[str, Any]]:
        """Take the output."""
        return [json.loads(each) for each in self.state.take_output()]

    def say(self, **members: Any) -> None:
        self.state.receive(json.dumps(members))

    def ok(self, op: dict[str, Any], **members: Any) -> None:
        self.say(op="ok", ref=op["ref"], **members)

    def refuse(self, op: dict[str, Any], status: int, code: str = "", **members: Any) -> None:
        self.say(op="error", ref=op["ref"], status=status, code=code, detail="no", **members)

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.state.release_due()

    def reconnect(self) -> list[dict[str, Any]]:
        """Lose the connection, open another one, and take its output."""
        self.state.lost(CUT)
        self.state.opened()
        return self.sent()


class Mailbox:
    """A read and what its loop gets."""

    def __init__(self, play: Play, **options: Any) -> None:
        self.items: deque[Any] = deque()
        self.read = Read("t", "u", SessionReadOptions(**options))
        self.read.put = self.items.append
        self.loop, self.play = Loop(self.read), play
        play.state.open_read(self.read)

    def say(self, *seqs: int, receipts: bool = False) -> None:
        for seq in seqs:
            more = {"receipt": f"e-{seq}.1"} if receipts else {}
            about = {"id": f"e-{seq}", "time": "2026-01-01T00:00:00.000Z", "attempt": 1, "type": "a/b", "text": "x"}
            self.play.say(op="message", topic="t", user="u", **about, **more)

    def take(self) -> Message:
        while (message := self.loop.open(self.items.popleft())) is None:
            pass
        return message

    def handle(self, message: Message) -> None:
        if self.loop.is_handled(message, not self.items):
            self.play.state.confirm(self.read)


def refs(sent: list[dict[str, Any]]) -> list[int]:
    return [each["ref"] for each in sent]


def bodies(sent: list[dict[str, Any]]) -> list[str]:
    return [each["text"] for each in sent]


def publish(play: Play, *texts: str, topic: str = "t", key: str | None = None) -> None:
    for text in texts:
        play.begin(ops.publish(topic, text, key=key))


def test_operations_are_encoded_as_the_protocol_says() -> None:
    play = Play()
    headers = {"Meta-Colour": "grün", "Content-Language": "de"}
    play.begin(ops.publish("t", "ä\0", type="text/plain", headers=headers, ttl=1.5, delay=2))
    play.begin(ops.publish("t", b"\xff", key=""))
    play.begin(ops.subscribe("t", "u", max_deliveries=5))
    first, second, third = play.sent()
    meta = {"meta-colour": "grün", "content-language": "de"}
    about = {"op": "publish", "topic": "t"}
    assert first == about | {"text": "ä\0", "type": "text/plain", "meta": meta, "ttl": 1.5, "delay": 2, "key": "key-1",
                             "ref": 1}  # fmt: skip
    assert second == about | {"base64": "/w==", "ref": 2}
    assert third == {"op": "subscribe", "topic": "t", "user": "u", "max_deliveries": 5, "ref": 3}
    play.ok(first, due="2026-01-01T00:00:00.000Z")
    play.ok(second, id="e-1", subscribers=2, replayed=True)
    play.ok(third, created=True)
    assert play.results[0].due.year == 2026
    assert (play.results[1].id, play.results[1].subscribers, play.results[1].replayed) == ("e-1", 2, True)
    assert play.results[2] is True


@pytest.mark.parametrize("text", ["\0", "\n", '"', '{"a":"b"}\n', 'ä\\"'])
def test_a_body_is_sent_as_text_or_as_base64_whichever_is_shorter(text: str) -> None:
    play = Play()
    for body in (text, text * 3000, text + "a" * 9000):
        play.begin(ops.publish("t", body, key=""))
    small, escaped, plain = play.sent()
    assert (small["text"], plain["text"]) == (text, text + "a" * 9000)
    assert base64.b64decode(escaped["base64"]).decode() == text * 3000
    assert "text" not in escaped


@pytest.mark.parametrize(
    ("headers", "key"),
    [({"Colour": "red"}, None), ({"Meta-A": "a\nb"}, None), ({}, "a\nb"), ({"Meta-A": "\ud800"}, None)],
)
def test_what_no_message_can_carry_is_refused_before_it_is_sent(headers: dict[str, str], key: str | None) -> None:
    play = Play()
    with pytest.raises(ValueError, match=r"Meta-|header|surrogates"):
        play.begin(ops.publish("t", "x", headers=headers, key=key))
    assert play.state.is_idle


def test_a_cut_repeats_what_was_under_way_first_in_order_and_under_the_same_keys() -> None:
    play = Play()
    publish(play, "1", "2")
    before = play.sent()
    publish(play, "3")
    after = play.reconnect()
    assert after[:2] == before
    assert bodies(after) == ["1", "2", "3"]
    for each in after:
        play.ok(each, id="e-1", subscribers=1)
    assert len(play.results) == 3
    assert play.state.is_idle


def test_a_publish_without_a_key_is_not_repeated() -> None:
    play = Play()
    publish(play, "1", "2", key="")
    play.ok(play.sent()[0], id="e-1", subscribers=1)
    publish(play, "3", key="")
    assert bodies(play.reconnect()) == ["3"], "what was not sent is not unknown"
    assert isinstance(play.results[1], OutcomeUnknown)


def test_after_503_a_topic_waits_until_everything_under_way_is_answered() -> None:
    play = Play(Retries(base=1.0))
    publish(play, "1", "2", "3")
    first, second, third = play.sent()
    play.refuse(first, 503, retry_after=2)
    publish(play, "4")
    publish(play, "other", topic="s")
    assert bodies(play.sent()) == ["other"], "other topics go on"
    play.refuse(second, 503)
    play.refuse(third, 504)
    assert play.sent() == []
    assert play.state.next_due() == play.now + 3
    play.pause(3)
    assert bodies(play.sent()) == ["1", "2", "3", "4"]


def test_what_is_retried_too_long_fails_and_says_if_it_may_be_executed() -> None:
    play = Play(Retries(total=1.0, base=1.0))
    publish(play, "1", topic="a")
    publish(play, "2", topic="b")
    one, two = play.sent()
    play.refuse(one, 503)
    play.refuse(two, 503)
    assert [type(each) for each in play.results.values()] == [Unavailable, Unavailable]
    play = Play(Retries(total=1.0, base=0.6))
    publish(play, "1")
    play.refuse(*play.sent(), 504)
    play.pause(0.6)
    play.refuse(*play.sent(), 503)
    assert isinstance(play.results[0], OutcomeUnknown)
    assert play.state.is_idle


def test_other_errors_are_told_at_once() -> None:
    play = Play()
    for status, code, kind in (
        (429, "topic-full", Refused),
        (413, "body-too-large", TooLarge),
        (403, "forbidden", Denied),
    ):
        publish(play, "x")
        play.refuse(*play.sent(), status, code)
        found = play.results[len(play.results) - 1]
        assert isinstance(found, kind)
        assert found.code == code


def test_an_unsubscribe_whose_answer_was_lost_is_done_when_the_subscription_is_gone() -> None:
    play = Play()
    play.begin(ops.unsubscribe("t", "u"))
    play.sent()
    play.refuse(*play.reconnect(), 404, "no-subscription")
    play.begin(ops.unsubscribe("t", "u"))
    play.refuse(*play.sent(), 404, "no-subscription")
    assert play.results[0] is None
    assert isinstance(play.results[1], NoSubscription)


def test_what_waits_for_a_connection_too_long_fails() -> None:
    play = Play(Retries(total=5.0), is_open=False)
    publish(play, "1")
    box = Mailbox(play)
    play.state.lanes.expire(play.now + 4, Unavailable("refused"))
    assert not play.results
    play.state.lanes.expire(play.now + 5, Unavailable("refused"))
    assert isinstance(play.results[0], Unavailable)
    with pytest.raises(Unavailable):
        box.take()
    assert play.state.is_idle


def test_a_close_for_its_size_fails_the_largest_only() -> None:
    play = Play()
    publish(play, "1", "2" * 99, "3")
    play.sent()
    play.state.lost(TooLarge("closed with 1009"))
    play.state.lanes.refuse_largest(TooLarge("closed with 1009"))
    play.state.opened()
    assert bodies(play.sent()) == ["1", "3"]
    assert isinstance(play.results[1], TooLarge)


@pytest.mark.parametrize("text", ["<html>", "[]", "{}", '{"op": "ok", "ref": 99}', '{"op": "message"}'])
def test_what_is_not_from_fanmail_is_an_error(text: str) -> None:
    play = Play()
    Mailbox(play)
    with pytest.raises(ServerFault, match="not from Fanmail"):
        play.state.receive(text)


def test_what_a_later_server_adds_is_ignored() -> None:
    Play().say(op="news", anything=1)


def test_messages_are_acknowledged_in_parts_of_the_window_and_when_none_waits() -> None:
    play = Play()
    box = Mailbox(play, window=8)
    play.ok(*play.sent())
    box.say(1, 2, 3)
    for _ in range(2):
        box.handle(box.take())
    (ack,) = play.sent()
    assert (ack["op"], ack["id"]) == ("ack", "e-2")
    box.handle(box.take())
    assert play.sent() == [], "one acknowledgement at a time"
    play.ok(ack)
    (ack,) = play.sent()
    assert ack["id"] == "e-3"


def test_an_acknowledgement_that_fails_is_repeated_or_the_window_would_stay_full() -> None:
    play = Play(Retries(base=1.0))
    box = Mailbox(play, window=1)
    play.ok(*play.sent())
    box.say(1)
    box.handle(box.take())
    play.refuse(*play.sent(), 503)
    play.pause(1)
    (ack,) = play.sent()
    assert ack["id"] == "e-1"


def test_after_a_cut_a_read_continues_after_what_was_handled_and_repeats_nothing() -> None:
    play = Play()
    box = Mailbox(play, after="e-0")
    (op,) = play.sent()
    assert op["after"] == "e-0"
    play.ok(op)
    box.say(1, 2, 3)
    box.handle(box.take())
    in_hand = box.take()
    (op,) = play.reconnect()
    assert (op["op"], op["after"]) == ("read", "e-1")
    play.ok(op)
    box.say(2, 3, 4)
    box.handle(in_hand)
    assert [box.take().id, box.take().id] == ["e-3", "e-4"]


def test_a_read_that_was_not_answered_is_begun_again_with_the_cursor_of_then() -> None:
    play = Play()
    box = Mailbox(play)
    assert "after" not in play.sent()[0]
    box.say(1)
    box.handle(box.take())
    sent = play.reconnect()
    assert [each["after"] for each in sent if each["op"] == "read"] == ["e-1"]


def test_leased_messages_that_nobody_has_got_are_given_back_after_a_cut() -> None:
    play = Play()
    box = Mailbox(play, mode="lease", lease=30)
    play.ok(*play.sent())
    box.say(1, 2, receipts=True)
    mine = box.take()
    sent = play.reconnect()
    assert [(each["op"], each.get("receipt")) for each in sent] == [("nack", "e-2.1"), ("read", None)]
    box.say(3, receipts=True)
    assert box.take().id == "e-3", "the one that was given back is not shown"
    play.begin(ops.acknowledge(mine))
    play.refuse(*play.sent(), 409, "lease-lost")
    assert isinstance(play.results[0], LeaseLost)


def test_leases_are_extended_until_they_are_acknowledged_or_the_read_ends() -> None:
    play = Play()
    box = Mailbox(play, mode="lease", lease=30)
    play.ok(*play.sent())
    box.say(1, 2, receipts=True)
    first = box.take()
    play.pause(9.9)
    assert play.sent() == []
    assert play.state.next_due() <= play.now + 5
    play.pause(5)
    assert [(each["op"], each["receipt"], each["ref"]) for each in play.sent()] == [
        ("extend", "e-1.1", None), ("extend", "e-2.1", None)]  # fmt: skip
    play.begin(ops.acknowledge(first))
    assert [each["op"] for each in play.sent()] == ["ack"]
    play.pause(10.1)
    assert [each["receipt"] for each in play.sent()] == ["e-2.1"]
    play.state.stop_read(box.read, lambda *_: None)
    assert [each["op"] for each in play.sent()] == ["nack", "stop"], "nobody has got the second one"
    play.pause(30)
    assert play.sent() == []


def test_what_comes_while_a_read_stops_is_given_back() -> None:
    play = Play()
    box = Mailbox(play, mode="lease")
    play.ok(*play.sent())
    play.state.stop_read(box.read, lambda *_: None)
    box.say(1, receipts=True)
    stop, nack = play.sent()
    assert (stop["op"], nack["receipt"]) == ("stop", "e-1.1")


def test_the_end_of_a_loop_acknowledges_what_was_handled() -> None:
    play = Play()
    box = Mailbox(play)
    play.ok(*play.sent())
    box.say(1, 2, 3)
    box.handle(box.take())
    box.take()
    stopped: list[Any] = []
    play.state.stop_read(box.read, lambda *result: stopped.append(result))
    ack, stop = play.sent()
    assert (ack["op"], ack["id"], stop["op"]) == ("ack", "e-1", "stop")
    play.ok(ack)
    play.ok(stop)
    assert stopped == [(None, None)]
    assert play.state.is_idle


def test_a_read_that_has_not_begun_stops_when_it_has() -> None:
    play = Play()
    stopped: list[Any] = []
    for answer in (play.ok, lambda op: play.refuse(op, 404, "no-subscription")):
        box = Mailbox(play)
        (read,) = play.sent()
        play.state.stop_read(box.read, lambda *result: stopped.append(result))
        assert play.sent() == []
        answer(read)
        for stop in play.sent():
            assert stop["op"] == "stop"
            play.ok(stop)
    assert stopped == [(None, None)] * 2
    assert play.state.is_idle


def test_a_mailbox_is_read_once_at_a_time() -> None:
    play = Play()
    first = Mailbox(play)
    play.ok(*play.sent())
    with pytest.raises(ValueError, match="already"):
        Mailbox(play).take()
    play.state.stop_read(first.read, lambda *_: None)
    Mailbox(play)
    (stop,) = play.sent()
    play.ok(stop)
    assert [each["op"] for each in play.sent()] == ["read"], "it begins when the other one has ended"


def test_gaps_and_ends_are_told() -> None:
    play, told = Play(), list[Gap]()
    box = Mailbox(play, on_gap=told.append)
    play.ok(*play.sent(), position="e-0")
    play.say(op="gap", topic="t", user="u", **{"from": "e-1", "position": "e-5"})
    box.say(5)
    assert box.take().id == "e-5"
    assert told == [Gap("e-1", "e-5")]
    for position in ("e-6", "e-9"):
        play.say(op="gap", topic="t", user="u", **{"from": "e-4", "position": position})
    box.say(9)
    box.take()
    assert told[1:] == [Gap("e-6", "e-9")], "what came over another connection is not missed"
    play.say(op="end", topic="t", user="u", status=503, code="unavailable", detail="gone")
    (again,) = play.sent()
    assert again["op"] == "read", "a broker that is away is no end"
    play.ok(again)
    play.say(op="end", topic="t", user="u", status=404, code="no-subscription", detail="gone")
    with pytest.raises(NoSubscription, match="Subscribe again"):
        box.take()
    box = Mailbox(play, after="old-7")
    for op in play.sent():
        play.refuse(op, 410, "cursor-lost", oldest="e-1")
    with pytest.raises(CursorLost):
        box.take()


def test_a_loop_that_takes_slowly_is_not_sent_everything() -> None:
    play = Play()
    box = Mailbox(play, mode="take", window=4)
    play.ok(*play.sent())
    box.say(*range(1, 8))
    assert play.sent() == []
    box.say(8, 9)
    (stop,) = play.sent()
    assert stop["op"] == "stop"
    for _ in range(6):
        box.handle(box.take())
    assert play.sent() == []
    play.ok(stop)
    assert play.sent() == [], "three wait still"
    assert play.reconnect() == []
    box.handle(box.take())
    (read,) = play.sent()
    assert (read["op"], read["mode"]) == ("read", "take")
    play.ok(read)
    box.say(10)
    assert [box.take().id for _ in range(3)] == ["e-8", "e-9", "e-10"]


@pytest.mark.parametrize("answered", [True, False])
def test_a_loop_ends_while_its_read_is_paused(answered: bool) -> None:
    play = Play()
    box = Mailbox(play, mode="take", window=1)
    play.ok(*play.sent())
    box.say(1, 2)
    (stop,) = play.sent()
    if answered:
        play.ok(stop)
    stopped: list[Any] = []
    play.state.stop_read(box.read, lambda *result: stopped.append(result))
    for each in [*play.sent(), *([] if answered else [stop])]:
        play.ok(each)
    assert stopped == [(None, None)]
    assert play.state.is_idle


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="mode is 'leased'"):
        Read("t", "u", SessionReadOptions(mode="leased"))  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("options", "name"),
    [({"lease": 5}, "lease"), ({"mode": "take", "lease": 5}, "lease"), ({"mode": "lease", "after": "0"}, "after")],
)
def test_an_option_of_another_mode_is_refused(options: SessionReadOptions, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is for mode {name}"):
        Read("t", "u", options)


def test_a_message_that_is_withdrawn_is_passed_over() -> None:
    loop = Loop(Read("t", "u", {}))
    assert loop.open(Delivery(Message("e-1", b""), is_void=True)) is None
