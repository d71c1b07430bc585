"""What is seen of one fault: how long nothing is served, and whether a former owner still answers."""

from __future__ import annotations

from contextlib import suppress
from http.client import HTTPException

import zmq

from common.errors import ERRORS
from common.protocol import ops
from common.protocol.ops import Op
from tests.e2e.cluster import PATIENCE, Client, Peer, wait_for

PATIENT_S = 0.5
"""How long a client waits for one answer before it asks again."""
LEFT_MS = 2000
"""Milliseconds that a former owner has for its answers."""
REQUESTS = (Op.PUBLISH, Op.SUBSCRIBE, Op.TAKE, Op.UNSUBSCRIBE)
"""What writes, what promises and may write nothing, and what reads."""


def await_served(port: int, topic: str) -> None:
    """Wait until a publish to a topic, with nobody there, is answered with 200."""
    wait_for(lambda: _served(port, topic), f"{topic} to be served again", 3 * PATIENCE)


def _served(port: int, topic: str) -> bool:
    client = Client(port, PATIENT_S)
    try:
        return client.publish(topic, b"probe").status == 200
    except (OSError, HTTPException):
        return False
    finally:
        client.close()


def ask_paused(peer: Peer, topic: str) -> None:
    """Send requests of all kinds to a candidate that does not run: they are there when it runs again."""
    for op in REQUESTS:
        publish = op is Op.PUBLISH
        peer.send([(op, topic, "" if publish else "late", ops.Publish(b"", b"late") if publish else None)])


def answers(peer: Peer) -> list[str]:
    """Return which of these requests a candidate has executed, by its own words."""
    peer.socket.setsockopt(zmq.RCVTIMEO, LEFT_MS)
    found = []
    with suppress(zmq.Again):
        while True:
            found += [f"{each.code or each.result}" for each in peer.receive() if executed(each.code)]
    return found


def executed(code: str) -> bool:
    """Return whether a reply with this code tells something of the state."""
    return not code or ERRORS[code].status < 500
