"""What the clients of a fault test did and saw, and the checker of the promises G1 to G5 over it.

Plain mode only: a `GET` is at most once, so a read whose outcome is unknown may have cost its user one message,
and no more. Bodies name messages: no two publishes of a test have the same one.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum


class Outcome(Enum):
    """What the client knows."""

    OK = "ok"
    FAILED = "failed"
    """Provably not executed: 503, 429 or a connection that was refused."""
    UNKNOWN = "unknown"


@dataclass
class Call:
    """One call of one client; times in seconds of one monotonic clock."""

    client: str
    topic: str
    invoked: float
    done: float = 0.0
    outcome: Outcome = Outcome.UNKNOWN


@dataclass
class Subscribe(Call):
    user: str = ""


@dataclass
class Publish(Call):
    body: bytes = b""
    msg_id: str = ""
    """Of the answer; "" where there was none or nobody was subscribed."""


@dataclass
class Take(Call):
    user: str = ""
    body: bytes | None = None
    """None: nothing was waiting."""
    msg_id: str = ""


@dataclass
class History:
    """Filled by many threads; read when they are done. A user of a topic is read by one client at a time."""

    subscribes: list[Subscribe] = field(default_factory=list)
    publishes: list[Publish] = field(default_factory=list)
    takes: list[Take] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def noting(self, call: Call) -> Iterator[None]:
        """Notes a call whatever becomes of it; the block makes the call and fills in what it saw."""
        notes: list[Call]
        notes = {Subscribe: self.subscribes, Publish: self.publishes, Take: self.takes}[type(call)]  # type: ignore[assignment]
        with self._lock:
            notes.append(call)
        try:
            yield
        finally:
            call.done = time.monotonic()


def violations(history: History, topics: set[str]) -> list[str]:
    """What contradicts the promises on `topics`, whose brokers lived all the time; empty when all is well.

    The last reads of every user must have emptied its queue: what was acknowledged and not delivered is lost.
    """
    found: list[str] = []
    published: dict[tuple[str, bytes], Publish] = {}
    for publish in history.publishes:
        if publish.topic in topics:
            if (publish.topic, publish.body) in published:
                found.append(f"the test published {publish.body!r} twice")
            published[publish.topic, publish.body] = publish
    takes: dict[tuple[str, str], list[Take]] = defaultdict(list)
    for take in history.takes:
        if take.topic in topics:
            takes[take.topic, take.user].append(take)
    subscribed = {(each.topic, each.user): each for each in history.subscribes if each.topic in topics}
    ids: dict[tuple[str, bytes], str] = {key: each.msg_id for key, each in published.items() if each.msg_id}
    for (topic, user), mine in takes.items():
        found += _of_user(f"{user} of {topic}", topic, mine, published, subscribed.get((topic, user)), ids)
    for key, subscription in subscribed.items():
        if subscription.outcome is Outcome.OK and key not in takes:
            found.append(f"{key[1]} of {key[0]} was never read")
    return found + _publisher_order(published)


def _of_user(
    who: str,
    topic: str,
    takes: list[Take],
    published: dict[tuple[str, bytes], Publish],
    subscription: Subscribe | None,
    ids: dict[tuple[str, bytes], str],
) -> list[str]:
    found: list[str] = []
    takes = sorted(takes, key=lambda take: take.invoked)
    if subscription is None:
        return [f"{who} was read without a subscription"]
    delivered: dict[bytes, Take] = {}
    last = 0
    for take in takes:
        if take.outcome is not Outcome.OK or take.body is None:
            continue
        publish = published.get((topic, take.body))
        if publish is None or publish.invoked > take.done:
            found.append(f"{who} got {take.body!r}, which nobody had published")
            continue
        if publish.outcome is Outcome.FAILED:
            found.append(f"{who} got {take.body!r}, whose publish was refused as not executed")
        if take.body in delivered:
            found.append(f"{who} got {take.body!r} twice")
        if publish.outcome is Outcome.OK and publish.done < subscription.invoked:
            found.append(f"{who} got {take.body!r}, which was published before the subscription")
        if ids.setdefault((topic, take.body), take.msg_id) != take.msg_id:
            found.append(f"{who} got {take.body!r} as {take.msg_id}, others know it by another id")
        seq = _seq(take.msg_id)
        if seq <= last:
            found.append(f"{who} got {take.body!r} ({seq}) after {last}: not in the order of the log")
        last = seq
        delivered[take.body] = take
    missing = [
        body
        for (name, body), publish in published.items()
        if name == topic
        and publish.outcome is Outcome.OK
        and subscription.outcome is Outcome.OK
        and publish.invoked > subscription.done
        and body not in delivered
    ]
    unknown = sum(take.outcome is Outcome.UNKNOWN for take in takes)
    if len(missing) > unknown:
        found.append(f"{who} lost {len(missing)} acknowledged messages, {unknown} reads are unknown: {missing[:5]}")
    seqs = [_seq(take.msg_id) for take in delivered.values()]
    holes = max(seqs) - min(seqs) + 1 - len(seqs) if seqs else 0
    if holes > unknown:
        found.append(f"{who} has {holes} holes in the sequence and {unknown} unknown reads")
    if takes[-1].outcome is not Outcome.OK or takes[-1].body is not None:
        found.append(f"{who} was not read to the end")
    return found


def _publisher_order(published: dict[tuple[str, bytes], Publish]) -> list[str]:
    """A publisher that waits for each answer sees its own order."""
    found: list[str] = []
    last: dict[tuple[str, str], Publish] = {}
    for publish in sorted(published.values(), key=lambda each: each.invoked):
        if not publish.msg_id:
            continue
        before = last.get((publish.client, publish.topic))
        if before is not None and _seq(before.msg_id) >= _seq(publish.msg_id):
            found.append(f"{publish.client} published {publish.body!r} after {before.body!r}, the log disagrees")
        last[publish.client, publish.topic] = publish
    return found


def _seq(msg_id: str) -> int:
    return int(msg_id.rpartition("-")[2])
