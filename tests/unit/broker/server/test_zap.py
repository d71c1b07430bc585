"""What a broker answers when libzmq asks about a client, and that nothing asked there can end it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import zmq
from zmq.utils import z85

from broker.server.zap import DOMAIN, MOST_A_TURN, REPORT_EVERY_US, VERSION, ZAP_ENDPOINT, ZapAuthenticator
from common.keys.curve import new_pair

LISTED, STRANGER = new_pair(), new_pair()
QUESTION = [VERSION, b"1", DOMAIN, b"10.0.0.9", b"", b"CURVE", z85.decode(LISTED.public)]


class Asked:
    """A zap, and the side of libzmq that asks."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.counters: Counter[str] = Counter()
        self.zap = ZapAuthenticator(self._context, new_pair(), self.counters)
        self._router = self._context.socket(zmq.ROUTER)
        self.zap.guard(self._router)
        self.zap.admit({"web1": LISTED.public.decode()})
        self.sockets: list[zmq.Socket[bytes]] = []

    def socket(self) -> zmq.Socket[bytes]:
        self.sockets.append(self._context.socket(zmq.REQ))
        self.sockets[-1].connect(ZAP_ENDPOINT)
        return self.sockets[-1]

    def ask(self, frames: list[bytes]) -> list[bytes]:
        asking = self.socket()
        asking.send_multipart(frames)
        self.zap.turn()
        return asking.recv_multipart(zmq.NOBLOCK)

    def close(self) -> None:
        for each in (self._router, *self.sockets):
            each.close(linger=0)
        self.zap.close()
        self._context.term()


@pytest.fixture
def asked() -> Iterator[Asked]:
    each = Asked()
    yield each
    each.close()


def changed(place: int, value: bytes) -> list[bytes]:
    return [*QUESTION[:place], value, *QUESTION[place + 1 :]]


def test_who_is_listed_is_let_in_under_the_own_key(asked: Asked) -> None:
    assert asked.ask(QUESTION) == [VERSION, b"1", b"200", b"OK", LISTED.public, b""]
    assert not asked.counters


@pytest.mark.parametrize(
    "question",
    [
        changed(0, b"2.0"),
        changed(2, b""),
        changed(2, b"other"),
        changed(5, b"NULL"),
        changed(5, b"PLAIN"),
        changed(6, z85.decode(STRANGER.public)),
        changed(6, LISTED.public),
        changed(6, b""),
        changed(6, QUESTION[6][:31]),
        changed(3, b"\xff\xfe"),
        QUESTION[:6],
        [*QUESTION, b"more"],
        QUESTION[:2],
        [b""],
    ],
)
def test_everything_else_is_refused(asked: Asked, question: list[bytes]) -> None:
    answer = asked.ask(question)
    if question[3:4] == [b"\xff\xfe"]:
        assert answer[2] == b"200", "the address is of no account"
    else:
        assert answer[:3] == [VERSION, question[1] if len(question) > 1 else b"", b"400"]
    assert asked.ask(QUESTION)[2] == b"200", "and the next is answered"


def test_nobody_is_let_in_who_was_taken_out(asked: Asked) -> None:
    asked.zap.admit({"web2": STRANGER.public.decode()})
    assert asked.ask(QUESTION)[2] == b"400"
    assert asked.ask(changed(6, z85.decode(STRANGER.public)))[2] == b"200"
    assert asked.counters == {"refused.key": 1}


def test_a_turn_answers_a_limited_number_and_the_next_continues(asked: Asked) -> None:
    asking = [asked.socket() for _ in range(MOST_A_TURN + 10)]
    for each in asking:
        each.send_multipart(QUESTION)
    for answered in (MOST_A_TURN, MOST_A_TURN + 10):
        asked.zap.turn()
        assert sum(each.poll(0) > 0 for each in asking) == answered


def test_the_refused_are_reported_now_and_then(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    unlisted = changed(6, z85.decode(STRANGER.public))
    for mono in (0, REPORT_EVERY_US // 2, REPORT_EVERY_US - 1, REPORT_EVERY_US):
        for number in range(10):
            asked.ask([*unlisted[:3], b"10.0.0.%d" % number, *unlisted[4:]])
        asked.zap.report(mono)
    asked.zap.report(3 * REPORT_EVERY_US)
    lines = [each for each in caplog.records if each.message == "connections refused"]
    assert [vars(each)["count"] for each in lines] == [10, 30]
    assert vars(lines[0])["unlisted_keys_from"] == [f"10.0.0.{number}" for number in range(5)]
    assert STRANGER.public.decode() not in caplog.text
