"""Who may connect to a broker over TCP: owners of listed keys (CURVE, ZeroMQ RFC 26), asked through ZAP (RFC 27).

libzmq asks this side about every client that has proved that it owns its key. It asks over an inproc socket that is
answered in the broker's loop, so neither can end without the other. The socket is bound before the ROUTER exists, and
with ZAP_ENFORCE_DOMAIN libzmq refuses everybody while nobody answers.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

import zmq
from zmq.utils import z85

from common.keys.curve import KeyPair
from common.protocol import stats

log = logging.getLogger("fanmail.broker")

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
VERSION = b"1.0"
DOMAIN = b"fanmail"
MOST_A_TURN = 64
"""Handshakes answered per turn of the loop, so that a flood of them does not delay connected fronts."""
REPORT_EVERY_US = 10_000_000
"""Microseconds between two lines of the log about refused connections."""
MOST_ADDRESSES = 5
"""Addresses named in such a line."""
FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
"""Peers that do not know this broker's key, or do not speak CURVE. Those that ZAP refuses are counted there."""


class ZapAuthenticator:
    """Answers libzmq's requests for authentication. Belongs to the loop's thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: KeyPair, counters: Counter[str]) -> None:
        """Bind the ZAP socket. Nobody is admitted before `admit`."""
        self._keys = keys
        self._counters = counters
        self._admitted: dict[str, str] = {}
        """Public keys to names."""
        self._addresses: dict[str, None] = {}
        """The first few addresses that were refused since the last report."""
        self._refused = 0
        self._next_report = 0
        self._zap = context.socket(zmq.REP)
        self._zap.setsockopt(zmq.LINGER, 0)
        self._zap.bind(ZAP_ENDPOINT)
        self._monitor: zmq.Socket[bytes] | None = None

    def guard(self, router: zmq.Socket[bytes]) -> None:
        """Close a ROUTER that is not bound yet to all but the admitted."""
        router.setsockopt(zmq.CURVE_SERVER, 1)
        router.setsockopt(zmq.CURVE_SECRETKEY, self._keys.secret)
        router.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        router.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self._monitor = router.get_monitor_socket(FAILED)

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """Return what the loop has to poll."""
        return [each for each in (self._zap, self._monitor) if each is not None]

    def admit(self, fronts: Mapping[str, str]) -> None:
        """Admit these fronts, names to public keys, and from now on refuse all others, connected or not."""
        before, self._admitted = self._admitted, {key: name for name, key in fronts.items()}
        if before and before != self._admitted:
            log.info("fronts that may connect have changed", extra={"fronts": sorted(fronts)})

    def admits(self, first: zmq.Frame) -> bool:
        """Return whether a message, given its first frame, came from a front that is still admitted."""
        try:
            if first.get("User-Id") in self._admitted:
                return True
        except zmq.ZMQError:  # no such property: it did not come through a handshake
            pass
        self._counters[stats.REFUSED("removed")] += 1
        return False

    def turn(self) -> None:
        """Answer libzmq, and count those who failed before it asked."""
        try:
            for _ in range(MOST_A_TURN):
                self._zap.send_multipart(self._answer(self._zap.recv_multipart(zmq.NOBLOCK)), zmq.NOBLOCK)
        except zmq.Again:
            pass
        assert self._monitor is not None
        try:
            for _ in range(MOST_A_TURN):
                self._monitor.recv_multipart(zmq.NOBLOCK)
                self._refuse("handshake")
        except zmq.Again:
            pass

    def report(self, mono: int) -> None:
        """Log refused connections, at most once per `REPORT_EVERY_US`."""
        if self._refused and mono >= self._next_report:
            self._next_report = mono + REPORT_EVERY_US
            extra = {"count": self._refused, "unlisted_keys_from": list(self._addresses)}
            log.warning("connections refused", extra=extra)
            self._refused = 0
            self._addresses.clear()

    def close(self) -> None:
        """Close the sockets; to be called after the ROUTER is closed."""
        if self._monitor is not None:
            self._monitor.close(linger=0)
        self._zap.close(linger=0)

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        """Return the reply to a ZAP request; refuse a malformed one."""
        request_id = frames[1] if len(frames) > 1 else b""
        if len(frames) == 7 and frames[0] == VERSION and frames[2] == DOMAIN and frames[5] == b"CURVE":
            key = frames[6]
            name = z85.encode(key).decode() if len(key) == 32 else ""
            if name in self._admitted:
                return [VERSION, request_id, b"200", b"OK", name.encode(), b""]
            self._refuse("key", frames[3].decode("ascii", "backslashreplace"))
        return [VERSION, request_id, b"400", b"not admitted", b"", b""]

    def _refuse(self, why: str, address: str = "") -> None:
        self._counters[stats.REFUSED(why)] += 1
        self._refused += 1
        if address and len(self._addresses) < MOST_ADDRESSES:
            self._addresses[address] = None
