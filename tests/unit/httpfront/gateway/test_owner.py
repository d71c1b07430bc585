"""Which candidate a front uses, told with made-up frames."""

from __future__ import annotations

from common.protocol import ops
from common.protocol.wire import BrokerState, ReplyFrame
from httpfront.gateway.broker_status import BrokerStatus
from httpfront.gateway.owner import Owner

READY, STANDBY, DRAINING = BrokerState.READY, BrokerState.STANDBY, BrokerState.DRAINING


class Pair:
    """The candidates of b0 on two hosts, each an incarnation of its own."""

    def __init__(self) -> None:
        self.h1, self.h2 = (BrokerStatus("fanmail", "b0", host, lambda: self.choose()) for host in ("h1", "h2"))
        self.owner = Owner([self.h1, self.h2])
        self.incarnations = {"h1": 1, "h2": 2}

    def choose(self) -> None:
        self.owner.choose()

    def says(self, status: BrokerStatus, state: int, term: int, pong: bool = True) -> None:
        """A reply frame arrives, by default with the answer to a PING."""
        if not status.connected:
            status.connection_made(1.0)
        status.heard(ReplyFrame(1, self.incarnations[status.host], 0, state, 1, [], 0, term), 1.0)
        if pong:
            status.pong(ops.Pong("fanmail", "b0"), state)

    @property
    def used(self) -> str:
        """The host that requests go to, "" where there is none."""
        return self.owner.status.host if self.owner.status.up else ""


def test_nobody_is_used_before_a_candidate_owns_the_log() -> None:
    pair = Pair()
    assert pair.used == ""
    pair.says(pair.h1, STANDBY, 0)
    pair.says(pair.h2, STANDBY, 0)
    assert (pair.used, pair.h1.standby, pair.h2.standby) == ("", True, True)
    pair.says(pair.h2, READY, 1)
    assert (pair.used, pair.h2.standby) == ("h2", False)


def test_an_owner_that_announces_itself_is_asked_at_once_who_it_is() -> None:
    pair = Pair()
    pair.says(pair.h2, STANDBY, 4)
    pair.h2.pinged(1.0)
    assert not pair.h2.ping_due(1.0)
    pair.incarnations["h2"] = 3
    pair.says(pair.h2, READY, 5, pong=False)
    assert pair.h2.must_ping
    assert pair.h2.ping_due(1.0)
    assert pair.used == ""
    pair.says(pair.h2, READY, 5)
    assert not pair.h2.must_ping
    assert pair.used == "h2"


def test_an_owner_is_left_as_soon_as_any_candidate_names_a_later_term() -> None:
    pair = Pair()
    pair.says(pair.h1, READY, 5)
    pair.says(pair.h2, STANDBY, 5)
    assert pair.used == "h1"
    pair.says(pair.h2, STANDBY, 6, pong=False)
    assert pair.used == ""
    pair.says(pair.h1, READY, 5)
    assert pair.used == ""
    pair.says(pair.h2, READY, 6)
    assert pair.used == "h2"


def test_a_front_never_goes_back_to_a_former_term() -> None:
    pair = Pair()
    pair.says(pair.h1, READY, 5)
    pair.says(pair.h2, READY, 6)
    assert pair.used == "h2"
    pair.h2.connection_lost()
    pair.says(pair.h1, READY, 5)
    assert pair.used == ""
    pair.says(pair.h1, STANDBY, 4)  # a smaller term than it has named before changes nothing
    assert pair.owner.term == 6
    pair.incarnations["h1"] = 7
    pair.says(pair.h1, READY, 7)
    assert pair.used == "h1"


def test_an_owner_that_stops_is_followed_by_the_other_one() -> None:
    pair = Pair()
    pair.says(pair.h1, READY, 5)
    pair.says(pair.h2, STANDBY, 5)
    pair.says(pair.h1, DRAINING, 5)
    assert pair.used == ""
    assert pair.h1.owes_goodbye
    pair.says(pair.h2, READY, 6)
    assert pair.used == "h2"


def test_a_known_term_outlives_a_new_description() -> None:
    pair = Pair()
    pair.owner = Owner([pair.h1, pair.h2], 9)
    pair.says(pair.h1, READY, 8)
    assert pair.used == ""
    pair.says(pair.h1, READY, 9)
    assert pair.used == "h1"


def test_a_broker_without_a_log_has_no_term_and_is_used_when_it_is_ready() -> None:
    alone = BrokerStatus("fanmail", "b0")
    alone.connection_made(1.0)
    alone.heard(ReplyFrame(1, 7, 0, READY, 1, []), 1.0)
    alone.pong(ops.Pong("fanmail", "b0"), READY)
    assert alone.up
    assert alone.name == "b0"
