"""The checker of the promises G1 to G6 over a history. Its negative controls are in `tests/e2e/test_history.py`.

Nothing acknowledged is lost: what was acknowledged, less what was delivered, what is still queued and what was dropped
with a reason, is empty. Nothing is delivered that was not published, nothing twice unless its mode of reading allows
it, nothing out of the order of the log, and no user gets what was published before they subscribed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tests.e2e.history import Ack, History, Outcome, Publish, Subscribe, Take, Unsubscribe
from tests.e2e.rules import RULES

Key = tuple[str, str]
"""A topic, and a user or another thing that is unique in it."""
SHOWN = 5
"""Bodies named in one line."""


@dataclass
class Aside:
    """What happened to messages that their user has not read, by topic and user."""

    queued: Mapping[Key, Collection[bytes]] = field(default_factory=dict)
    """Still stored, as in a copy of the store. Such users need not have read everything."""
    dropped: Mapping[Key, int] = field(default_factory=dict)
    """The number of messages that the server dropped and reported, with the reason."""
    expired: Collection[tuple[str, bytes]] = ()
    """Topics and bodies of messages whose ttl has passed, which need not be delivered or redelivered."""


@dataclass
class _Published:
    """Every message by topic and body."""

    calls: dict[tuple[str, bytes], Publish] = field(default_factory=dict)
    ids: dict[tuple[str, bytes], str] = field(default_factory=dict)
    bodies: dict[Key, bytes] = field(default_factory=dict)
    """By topic and id."""
    found: list[str] = field(default_factory=list)

    def add(self, publish: Publish) -> None:
        for number, body in enumerate(publish.bodies):
            if (publish.topic, body) in self.calls:
                self.found.append(f"the test published {body!r} twice")
            self.calls[publish.topic, body] = publish
            if publish.msg_id:
                epoch, _, first = publish.msg_id.rpartition("-")
                self.known(publish.topic, body, f"{epoch}-{int(first) + number}")

    def known(self, topic: str, body: bytes, msg_id: str) -> None:
        """Record the id of a message that a response has named."""
        if self.ids.setdefault((topic, body), msg_id) != msg_id:
            self.found.append(f"{body!r} of {topic} is {msg_id}, and was {self.ids[topic, body]} to others")
        if self.bodies.setdefault((topic, msg_id), body) != body:
            self.found.append(f"{msg_id} of {topic} is {body!r}, and was {self.bodies[topic, msg_id]!r} to others")


@dataclass
class _Reader:
    """The calls of one user of one topic."""

    topic: str
    user: str
    takes: list[Take] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    subscribe: Subscribe | None = None
    unsubscribe: Unsubscribe | None = None

    @property
    def who(self) -> str:
        return f"{self.user} of {self.topic}"


def violations(history: History, topics: Collection[str], aside: Aside | None = None) -> list[str]:
    """Return what contradicts the promises on `topics`, whose state was never lost. It is empty if all is well.

    The last reads of every user must have emptied its queue, except for what `aside` accounts for.
    """
    published = _Published()
    for publish in history.publishes:
        if publish.topic in topics:
            published.add(publish)
    found: list[str] = []
    for reader in _readers(history, topics).values():
        found += _of_user(reader, published, aside or Aside())
    return published.found + found + _publisher_order(published)


def _readers(history: History, topics: Collection[str]) -> dict[Key, _Reader]:
    readers: dict[Key, _Reader] = {}

    def reader(call: Subscribe | Unsubscribe | Take | Ack) -> _Reader:
        return readers.setdefault((call.topic, call.user), _Reader(call.topic, call.user))

    for subscribe in history.subscribes:
        if subscribe.topic in topics:
            reader(subscribe).subscribe = subscribe
    for unsubscribe in history.unsubscribes:
        if unsubscribe.topic in topics:
            reader(unsubscribe).unsubscribe = unsubscribe
    for take in sorted(history.takes, key=lambda each: each.invoked):
        if take.topic in topics:
            reader(take).takes.append(take)
    for ack in history.acks:
        if ack.topic in topics:
            reader(ack).acks.append(ack)
    return readers


def _of_user(reader: _Reader, published: _Published, aside: Aside) -> list[str]:
    who, subscribe = reader.who, reader.subscribe
    if subscribe is None:
        return [f"{who} was read without a subscription"]
    if not reader.takes:
        unread = subscribe.outcome is Outcome.OK and reader.unsubscribe is None
        return [f"{who} was never read"] if unread else []
    rule = RULES[reader.takes[0].mode](who, reader.acks)
    found: list[str] = []
    delivered: dict[bytes, int] = {}
    epochs = set()
    for take in reader.takes:
        if take.outcome is Outcome.OK and take.body is not None:
            judged = _judge(take, who, subscribe, published)
            found += judged
            if not judged:
                delivered.setdefault(take.body, seq_of(take.msg_id))
                epochs.add(take.msg_id.rpartition("-")[0])
        found += rule.judge(take)
    expired = {body for topic, body in aside.expired if topic == reader.topic}
    if reader.unsubscribe is None:
        stay = expired.union(aside.queued.get((reader.topic, reader.user), ()))
        found += rule.at_the_end({published.ids.get((reader.topic, body), "") for body in stay})
    if len(epochs) > 1:
        found.append(f"{who} got messages of {len(epochs)} lives of the topic within one subscription")
    queued = aside.queued.get((reader.topic, reader.user))
    for body in queued or ():
        call = published.calls.get((reader.topic, body))
        if call is None or call.outcome is Outcome.FAILED:
            found.append(f"{body!r} is queued for {who}, and nobody has published it")
    may_be_lost = rule.may_be_lost
    if reader.unsubscribe is not None:  # what was in transit then need not have been redelivered
        may_be_lost = sum(take.most for take in reader.takes if take.outcome is Outcome.UNKNOWN)
    most = may_be_lost + aside.dropped.get((reader.topic, reader.user), 0)
    most += len(expired - delivered.keys())
    found += _lost(reader, subscribe, published, delivered, queued or (), most)
    last = reader.takes[-1]
    read_out = last.outcome is Outcome.OK and last.body is None
    if not read_out and queued is None and reader.unsubscribe is None:
        found.append(f"{who} was not read to the end")
    return found


def _judge(take: Take, who: str, subscribe: Subscribe, published: _Published) -> list[str]:
    """Return what is wrong with one delivery in any mode of reading."""
    assert take.body is not None
    publish = published.calls.get((take.topic, take.body))
    if publish is None or publish.invoked > take.done:
        return [f"{who} got {take.body!r}, which nobody had published"]
    found = []
    if publish.outcome is Outcome.FAILED:
        found.append(f"{who} got {take.body!r}, whose publish was refused as not executed")
    if publish.outcome is Outcome.OK and publish.done < subscribe.invoked:
        found.append(f"{who} got {take.body!r}, which was published before the subscription")
    published.known(take.topic, take.body, take.msg_id)
    return found


def _lost(
    reader: _Reader,
    subscribe: Subscribe,
    published: _Published,
    delivered: dict[bytes, int],
    queued: Collection[bytes],
    most: int,
) -> list[str]:
    """Return the lost messages, except that up to `most` may be missing."""
    found: list[str] = []
    there = set(delivered) | set(queued)
    missing = [
        body
        for (topic, body), publish in published.calls.items()
        if topic == reader.topic
        and publish.outcome is Outcome.OK
        and subscribe.outcome is Outcome.OK
        and publish.invoked > subscribe.done
        and body not in there
    ]
    if len(missing) > most and reader.unsubscribe is None:
        found.append(f"{reader.who} lost {len(missing)} acknowledged messages, {most} may be: {missing[:SHOWN]}")
    ids = published.ids
    seqs = set(delivered.values()) | {seq_of(ids[reader.topic, each]) for each in queued if (reader.topic, each) in ids}
    holes = max(seqs) - min(seqs) + 1 - len(seqs) if seqs else 0
    most += sum((reader.topic, each) not in ids for each in queued)  # they are still stored
    if holes > most:
        found.append(f"{reader.who} has {holes} holes in the sequence, {most} may be")
    return found


def _publisher_order(published: _Published) -> list[str]:
    """Return violations of a publisher's order.

    A publisher that waits for each response sees its own order in one life of a topic. Ids of a batch are consecutive
    by definition.
    """
    found: list[str] = []
    last: dict[tuple[str, str, str], Publish] = {}
    calls = {id(each): each for each in published.calls.values()}
    for publish in sorted(calls.values(), key=lambda each: each.invoked):
        if not publish.msg_id:
            continue
        log = (publish.client, publish.topic, publish.msg_id.rpartition("-")[0])
        before = last.get(log)
        if before is not None and seq_of(before.msg_id) + len(before.bodies) > seq_of(publish.msg_id):
            found.append(f"{publish.client} published {publish.bodies[0]!r} later, the log disagrees")
        last[log] = publish
    return found


def seq_of(msg_id: str) -> int:
    """Return the place in the log that an id names."""
    return int(msg_id.rpartition("-")[2])


def deliveries(history: History) -> dict[Key, list[Take]]:
    """Return what each user of each topic got, in order."""
    found: dict[Key, list[Take]] = defaultdict(list)
    for take in sorted(history.takes, key=lambda each: each.invoked):
        if take.outcome is Outcome.OK and take.body is not None:
            found[take.topic, take.user].append(take)
    return found
