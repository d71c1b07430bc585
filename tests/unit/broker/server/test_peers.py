"""The fronts of a broker, and what waits for one that reads slowly."""

from __future__ import annotations

from broker.server.peers import FORGET_AFTER_US, MAX_WAITING, Peers


def peers_with(*ids: bytes) -> Peers:
    peers = Peers()
    for each in ids:
        peers.heard(each, 0, goodbye=False)
    return peers


def test_a_peer_is_expected_until_it_says_goodbye() -> None:
    peers = peers_with(b"a", b"b")
    assert sorted(peers.expected()) == [b"a", b"b"]
    peers.heard(b"a", 1, goodbye=True)
    assert peers.expected() == [b"b"]
    peers.heard(b"a", 2, goodbye=False)
    assert peers.expected() == [b"b"], "a goodbye holds"


def test_messages_wait_in_order_until_they_are_sent() -> None:
    peers = peers_with(b"a", b"b")
    assert not peers.any_blocked
    for number in range(3):
        assert peers.keep(b"a", [b"%d" % number, b"body"])
    assert peers.any_blocked
    assert peers.blocked() == [b"a"]
    assert (peers.is_blocked(b"a"), peers.is_blocked(b"b")) == (True, False)
    for number in range(3):
        assert peers.is_blocked(b"a")
        assert peers.first_waiting(b"a") == [b"%d" % number, b"body"]
        assert peers.first_waiting(b"a") == [b"%d" % number, b"body"], "looking takes nothing"
        peers.sent_first(b"a")
    assert not peers.any_blocked
    assert peers.blocked() == []


def test_who_has_waited_longest_comes_first() -> None:
    ids = [b"%d" % n for n in range(9, 0, -1)]
    peers = peers_with(*sorted(ids))
    for each in ids:
        peers.keep(each, [b"1"])
    peers.keep(ids[0], [b"2"])
    assert peers.blocked() == ids
    peers.sent_first(ids[1])
    assert peers.blocked() == [ids[0], *ids[2:]]


def test_what_waits_for_one_peer_is_bounded() -> None:
    peers = peers_with(b"a", b"b")
    half = bytes(MAX_WAITING // 2)
    assert peers.keep(b"a", [half])
    assert peers.keep(b"a", [half[1:], b"x"])
    assert not peers.keep(b"a", [b"x"])
    assert peers.keep(b"b", [b"x"]), "each peer has its own bound"
    peers.sent_first(b"a")
    assert peers.keep(b"a", [b"x"])
    assert peers.forget(b"a") == 2, "the refused one was never kept"


def test_which_requests_lose_their_answers_is_told() -> None:
    told: list[str] = []
    peers = Peers(told.extend)
    for peer in (b"a", b"b"):
        peers.heard(peer, 0, goodbye=False)
    peers.keep(b"a", [bytes(MAX_WAITING)], ["r1", "r2"])
    peers.keep(b"a", [b"x"], ["r3"])
    assert told == ["r3"], "there is no room for it"
    peers.sent_first(b"a")
    peers.keep(b"a", [b"x"], ["r4"])
    peers.keep(b"a", [b"x"], ["r5", "r6"])
    peers.keep(b"gone", [b"x"], ["r7"])
    peers.forget(b"a")
    assert told == ["r3", "r7", "r4", "r5", "r6"]


def test_a_peer_that_is_gone_takes_what_waited_with_it() -> None:
    peers = peers_with(b"a", b"b")
    peers.keep(b"a", [b"1"])
    peers.keep(b"a", [b"2"])
    peers.keep(b"b", [b"3"])
    assert peers.forget(b"a") == 2
    assert peers.blocked() == [b"b"]
    assert peers.expected() == [b"b"]
    assert peers.forget(b"a") == 0
    assert peers.forget(b"never heard of") == 0
    peers.heard(b"a", 5, goodbye=False)
    assert not peers.is_blocked(b"a")
    assert peers.keep(b"a", [bytes(MAX_WAITING)]), "a new connection begins with nothing"


def test_a_peer_that_has_been_silent_for_long_is_forgotten() -> None:
    peers = peers_with(b"silent", b"alive", b"edge")
    peers.keep(b"silent", [b"1"])
    peers.heard(b"alive", 2, goodbye=False)
    peers.heard(b"edge", 1, goodbye=False)
    assert peers.forget_silent(FORGET_AFTER_US) == 0
    assert len(peers.expected()) == 3
    assert peers.forget_silent(FORGET_AFTER_US + 1) == 1
    assert sorted(peers.expected()) == [b"alive", b"edge"]
    assert not peers.any_blocked


def test_a_goodbye_is_no_reason_to_drop_what_waits() -> None:
    peers = peers_with(b"a")
    peers.keep(b"a", [b"1"])
    peers.heard(b"a", 1, goodbye=True)
    assert peers.is_blocked(b"a")
    assert peers.expected() == []
