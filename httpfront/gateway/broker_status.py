"""What a front knows of one process of a broker: whether it is reachable, its incarnation, its clock. No sockets here.

States:

    down       -> connected        the handshake is done; a PING is sent
    connected  -> up               a PONG names the right cluster and broker, and the broker is ready, not loading
    connected  -> standby          the same, and the process is a candidate that follows the log
    standby    -> up               the same, and it owns the log
    up         -> standby          another candidate knows of a later term: this one is deposed, whatever it says
    up         -> leaving          a reply says that the broker drains; a GOODBYE is sent
    any        -> down             the connection is lost, or PINGs stay unanswered

Requests are sent only to a broker that is `up`, and each names the incarnation that answered last.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.wire import BrokerState, ReplyFrame

log = logging.getLogger("fanmail.front")

PING_INTERVAL_S = 1.0
"""Time between two PINGs to one broker."""
SILENCE_S = 3.0
"""Time that a PING may stay without any answer; after it the broker's loop is stuck, or the network path is cut."""
HUNG_UP = "closed by this front"
CLOCK_SAMPLES = 16
"""Readings of the broker's clock, of which the largest offset counts: a reading that waited in a queue is too small."""


class BrokerStatus:
    """One process of a broker as seen by one gateway. Belongs to the hub's thread."""

    def __init__(self, cluster: str, broker: str, host: str = "", changed: Callable[[], object] = lambda: None) -> None:
        """`host` is that of a candidate. `changed` is called after each change of `up`, `standby` or `term`."""
        self.cluster, self.broker, self.host = cluster, broker, host
        self.up = False
        self.standby = False
        """Whether this is a candidate that follows the log and does not own it."""
        self.term = 0
        """Greatest term of the log that the process has named."""
        self.least_term = 0
        """Term below which the process is deposed."""
        self.unproven = False
        """Whether the process says that nobody has checked that the servers of its log sync every write."""
        self.slots_version = 0
        """Changes when the slots of the broker change; 0 where it does not say."""
        self.must_ping = False
        """Whether what was heard calls for a PING at once."""
        self.incarnation = 0
        self.connected = False
        self.loading = False
        """Whether the broker is reading its store."""
        self.max_body = 0
        """Bytes of the largest body that the broker takes; 0 where it does not say."""
        self.taken = 0
        """Bytes of replies received over this connection."""
        self.windows = (0, 0)
        """Bytes of bodies and of answers that may be in flight; 0 where the broker does not say."""
        self.owes_goodbye = False
        """Whether the broker drains and has not been told yet that nothing more will be sent."""
        self._said_goodbye, self._heard_at, self._next_ping = False, 0.0, 0.0
        self._offsets: deque[int] = deque(maxlen=CLOCK_SAMPLES)
        self._offset = 0
        self._asked_at: float | None = None
        """When the oldest PING was sent after which nothing was heard."""
        self._pinged_at: float | None = None
        """When the oldest PING was sent that no PONG has answered."""
        self._state = -1
        """The state in the last frame."""
        self._changed = changed
        self.round_trip: float | None = None
        """Seconds between the last PING and its PONG; None while the broker is not connected."""

    @property
    def name(self) -> str:
        """`b0`, or `b0@h1` for a candidate: the name in the log."""
        return f"{self.broker}@{self.host}" if self.host else self.broker

    def connection_made(self, now: float) -> None:
        """Record that the ZMTP handshake is done. `now` is in monotonic seconds, here and below."""
        self.connected = True
        self._asked_at = self._pinged_at = None
        self._next_ping = now

    def connection_lost(self, why: str = "connection lost") -> None:
        """Record that nothing more will arrive over this connection."""
        self._change(False, why)
        self.connected = self.loading = self.standby = self.must_ping = False
        self._state = -1
        self.incarnation = 0
        self.round_trip = None
        self.owes_goodbye = self._said_goodbye = False
        self._offsets.clear()

    def ping_due(self, now: float) -> bool:
        """Return whether a PING is to be sent now."""
        return self.connected and now >= self._next_ping

    def pinged(self, now: float) -> None:
        """Record that a PING was sent."""
        if self._asked_at is None:
            self._asked_at = now
        if self._pinged_at is None:
            self._pinged_at = now
        self.must_ping = False
        self._next_ping = now + PING_INTERVAL_S

    def heard(self, frame: ReplyFrame, now: float) -> None:
        """Record a reply frame: the broker is alive, and its clock was at least `frame.clock`."""
        self._asked_at = None
        self._heard_at = now
        self.taken = frame.sent
        if frame.state != self._state:
            self._state = frame.state
            self.must_ping, self._next_ping = True, now
        if frame.incarnation != self.incarnation:
            self._change(False, "a new incarnation answers")
            self.must_ping, self._next_ping = True, now
            self.incarnation = frame.incarnation
            self._said_goodbye = False
            self._offsets.clear()
        if frame.term > self.term:
            self.term = frame.term
            self._changed()
        self._offsets.append(frame.clock - math.ceil(now * 1e6))
        self._offset = max(self._offsets)
        if frame.state == BrokerState.DRAINING and not self._said_goodbye:
            self._change(False, "the broker drains")
            self.owes_goodbye = self._said_goodbye = True

    def pong(self, pong: ops.Pong, state: int) -> None:
        """Record the answer to a PING, which came in the frame that was heard last."""
        self.must_ping = False
        if self._pinged_at is not None:
            self.round_trip, self._pinged_at = self._heard_at - self._pinged_at, None
        if (pong.cluster, pong.broker) != (self.cluster, self.broker):
            log.error(
                "another broker answers at this endpoint",
                extra={"wanted": f"{self.cluster}/{self.broker}", "found": f"{pong.cluster}/{pong.broker}"},
            )
            self._change(False, "wrong broker")
            self.standby = False
            return
        self.loading = state == BrokerState.LOADING
        self.unproven, self.slots_version = pong.unproven, pong.slots_version
        if not self.connected:
            return
        if state == BrokerState.READY and self.term >= self.least_term:
            self.max_body = pong.max_body
            self.windows = (pong.body_window, pong.answer_window)
            self.standby = False
            self._change(True, "ready")
        elif state in (BrokerState.READY, BrokerState.STANDBY):
            self._stand_by("another candidate owns the log")

    def depose(self, term: int) -> None:
        """Record that a candidate has named this term of the log: with a smaller one this process is not its owner."""
        self.least_term = term
        if self.up and self.term < term:
            self._stand_by("another candidate knows of a later term")

    def check_silence(self, now: float) -> None:
        """Notice a broker that does not answer; a front that was too busy to ask proves nothing."""
        if self.up and self._asked_at is not None and now > self._asked_at + SILENCE_S:
            self._change(False, "no answer")

    def deadline(self, at: float) -> int:
        """Convert monotonic seconds of the front into microseconds of the broker's clock.

        Never later than that moment: the broker's clock was read before the reply was heard. So a request can only
        expire early.
        """
        return int(at * 1e6) + self._offset

    def _stand_by(self, why: str) -> None:
        self._change(False, why)
        if not self.standby:
            self.standby = True
            self._changed()

    def _change(self, up: bool, why: str) -> None:
        if up != self.up:
            level = logging.INFO if up or why == HUNG_UP else logging.WARNING
            log.log(level, "broker up" if up else "broker down", extra={"broker": self.name, "why": why})
            self.up = up
            self._changed()


def unreachable(status: BrokerStatus) -> FanmailError:
    """Return the error for a request that cannot be sent to its broker now."""
    if status.loading:
        return FanmailError("loading", f"broker {status.broker} of this topic is reading its store")
    return FanmailError("broker-down", f"broker {status.broker} of this topic is not reachable")
