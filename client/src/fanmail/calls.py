"""Every call of the HTTP API: a function each, from its arguments to a `Call`.

`Client` and `AsyncClient` have a method for each of these functions, with the same arguments; what a method returns is
the `T` of the `Call[T]` here. In the examples `client` is a `Client`. All of them raise `Unavailable` (not executed) or
`OutcomeUnknown` when the retries end, and the other errors of `fanmail.errors` at once. Times are seconds.

Names of topics and users are any text of 1 to 255 bytes of UTF-8; they are percent-encoded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fanmail import answers
from fanmail.message import Acknowledged, DeadLetters, Fetched, Frames, Message, Published, Standing
from fanmail.targets import header, path, query_of
from fanmail.values import Call, Headers, Request

FRAMES = "application/vnd.fanmail.frames"
NDJSON = "application/x-ndjson"
MOST_BATCH = 10_000
"""Messages of a batch, by default."""
MOST_BATCH_BYTES = 8 * 1024 * 1024
FRAME_HEAD = 4
_OF_EACH = {"content-encoding": "Msg-Encoding"}
"""Headers of the messages that would speak of the whole batch."""


def publish(
    topic: str,
    body: bytes | str = b"",
    *,
    type: str | None = None,
    headers: Mapping[str, str] | None = None,
    ttl: float | None = None,
    delay: float | None = None,
    key: str | None = None,
) -> Call[Published]:
    """Publishes one message; a `str` goes as UTF-8.

    `type` is its Content-Type. `headers` travel with it: `Meta-*`, `ce-*`, `traceparent`, `tracestate`,
    `Content-Encoding`, `Content-Language`; ValueError for any other, and for what no header can carry. `ttl`: it is not
    handed out after so long. `delay`: it is published so much later.

    It is stored once, however often it is tried: with the idempotency `key`, or one that is made here. A key is kept
    for 10 minutes by default. With `key=""` none is sent: cheaper for the broker, and after a 504 or a lost connection
    `OutcomeUnknown` is raised at once. Raises `Refused` at a ceiling.

    >>> client.subscribe("news", "alice")
    True
    >>> client.publish("news", "hello", type="text/plain", headers={"Meta-Colour": "red"}).subscribers
    1
    >>> client.publish("nobody-listens", b"hello").id is None
    True
    """
    fields = _kept(type, headers)
    return _publish(topic, _bytes(body), {"ttl": ttl, "delay": delay}, fields, key)


def publish_many(
    topic: str,
    bodies: Iterable[bytes | str],
    *,
    type: str | None = None,
    headers: Mapping[str, str] | None = None,
    ttl: float | None = None,
    delay: float | None = None,
    key: str | None = None,
) -> Call[Published]:
    """Publishes a batch, all or nothing, in order, with ids one after the other; the rest is as with `publish`.

    At most 10,000 messages and 8 MiB by default (`BadRequest`, `TooLarge`); `batches` cuts more into such pieces.

    >>> client.publish_many("news", [f"line {n}" for n in range(1000)]).count
    1000
    """
    body = answers.packed([_bytes(each) for each in bodies])
    query = {"batch": "frames", "ttl": ttl, "delay": delay}
    fields = [(_OF_EACH.get(name.lower(), name), value) for name, value in _kept(type, headers)]
    return _publish(topic, body, query, tuple(fields), key)


def batches(
    bodies: Iterable[bytes], most: int = MOST_BATCH, most_bytes: int = MOST_BATCH_BYTES
) -> Iterator[list[bytes]]:
    """Cuts any number of messages into lists for `publish_many`: at most `most` messages and `most_bytes` each.

    >>> [len(batch) for batch in batches([b"x"] * 25, most=10)]
    [10, 10, 5]
    """
    batch: list[bytes] = []
    size = 0
    for body in bodies:
        if batch and (len(batch) == most or size + len(body) + FRAME_HEAD > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += len(body) + FRAME_HEAD
    if batch:
        yield batch


def subscribe(
    topic: str, user: str, *, expires_after: float | None = None, max_deliveries: int | None = None
) -> Call[bool]:
    """Subscribes a user; whether it was not subscribed before (not certain after retries). Again is harmless.

    `expires_after`: unsubscribed after so long without a request, 0: never. `max_deliveries`: a message that was leased
    so often and not acknowledged becomes a dead letter, 0: no limit. What is not named stays as it was.
    """
    return Call(Request("POST", path(topic, user) + _settings(expires_after, max_deliveries)), answers.created)


def configure(
    topic: str, user: str, *, expires_after: float | None = None, max_deliveries: int | None = None
) -> Call[None]:
    """Changes settings of a subscription, as `subscribe` has them. Raises `NoSubscription`."""
    return Call(Request("PATCH", path(topic, user) + _settings(expires_after, max_deliveries)), answers.nothing)


def unsubscribe(topic: str, user: str) -> Call[None]:
    """Ends a subscription; its unread messages are let go. Raises `NoSubscription`, but not where a try whose answer
    was lost has ended it.
    """
    return Call(Request("DELETE", path(topic, user)), answers.nothing, gone_is_done=True)


def stand(topic: str, user: str) -> Call[Standing]:
    """How a subscription stands; takes nothing. Raises `NoSubscription`.

    >>> client.stand("news", "alice").pending
    1001
    """
    return Call(Request("HEAD", path(topic, user)), answers.standing)


head = stand


def fetch(
    topic: str,
    user: str,
    most: int = 100,
    *,
    after: str | None = None,
    lease: float | None = None,
    wait: float = 0,
) -> Call[Fetched]:
    """The next messages, at most `most` (with 1 the cheapest way), none if none waits for `wait` seconds.

    Without `after` and `lease` they are *taken*, at most once: where the answer is lost `OutcomeUnknown` is raised, and
    they may be gone. `after`: everything up to this id is done, and nothing is taken ("0": nothing is done yet); raises
    `CursorLost`, `LeasesOut`. `lease`: lent for so long, each with a `receipt` for `acknowledge`; raises `Refused` when
    too many are lent. Raises `NoSubscription`.

    >>> [message.text for message in client.fetch("news", "alice", 2, after="0")]
    ['hello', 'line 0']
    """
    query = {"max": most if most != 1 else None, "after": after, "lease": lease, "wait": wait or None}
    request = Request("GET", path(topic, user) + query_of(query), (("Accept", NDJSON if most != 1 else "*/*"),))
    read = answers.one if most == 1 else answers.several
    repeatable = after is not None or lease is not None
    return Call(request, lambda response: read(response, topic, user), repeatable, patience=wait)


def receive(
    topic: str, user: str, *, after: str | None = None, lease: float | None = None, wait: float = 0
) -> Call[Message | None]:
    """The next message, or None: `fetch` of one.

    >>> message = client.receive("news", "alice")
    >>> message.text, message.type, message.headers
    ('hello', 'text/plain', {'meta-colour': 'red'})
    """
    found = fetch(topic, user, 1, after=after, lease=lease, wait=wait)
    return found.then(lambda fetched: fetched.messages[0] if fetched.messages else None)


def fetch_frames(
    topic: str, user: str, most: int = 1000, *, after: str | None = None, wait: float = 0
) -> Call[Frames | None]:
    """As `fetch`, the fastest way: bodies only, of messages that follow each other and have the same headers.

    >>> frames = client.fetch_frames("news", "alice", 3, after="0")
    >>> frames.bodies, frames.more
    ((b'line 0', b'line 1', b'line 2'), 997)
    """
    query = {"max": most, "after": after, "wait": wait or None}
    request = Request("GET", path(topic, user) + query_of(query), (("Accept", FRAMES),))
    return Call(request, answers.frames, after is not None, patience=wait)


def advance(topic: str, user: str, after: str) -> Call[None]:
    """Everything up to and with this id is done. Raises `CursorLost`, `LeasesOut`, `NoSubscription`."""
    return fetch(topic, user, 1, after=after).then(lambda _: None)


def acknowledge(message: Message) -> Call[None]:
    """A leased message is done. Raises `LeaseLost` where somebody else has got it meanwhile.

    >>> message = client.receive("news", "alice", lease=30)
    >>> client.extend(message, 60)
    >>> client.acknowledge(message)
    """
    return Call(Request("DELETE", _receipt(message)), answers.nothing)


def acknowledge_many(messages: Iterable[Message]) -> Call[list[Acknowledged]]:
    """Many leased messages of one user are done, 1 to 10,000: a result for each, in order. ValueError for none."""
    lent = list(messages)
    if not lent:
        raise ValueError("no messages to acknowledge")
    if any((each.topic, each.user) != (lent[0].topic, lent[0].user) for each in lent):
        raise ValueError("messages of several users cannot be acknowledged together")
    acks = path(lent[0].topic, lent[0].user) + "/acks"
    body = "\n".join([each.receipt for each in lent]).encode()
    return Call(Request("POST", acks, (("Content-Type", "text/plain"),), body), answers.acknowledged)


def extend(message: Message, lease: float) -> Call[None]:
    """A lease lasts so long from now. Raises `LeaseLost`."""
    return Call(Request("PATCH", _receipt(message) + query_of({"lease": lease})), answers.nothing)


def give_back(message: Message, delay: float = 0) -> Call[None]:
    """A leased message goes out again, to anybody, now or after `delay`. Raises `LeaseLost`."""
    return Call(Request("PATCH", _receipt(message) + query_of({"lease": 0, "delay": delay or None})), answers.nothing)


def dead(topic: str, user: str, most: int = 100, *, after: str | None = None) -> Call[DeadLetters]:
    """A page of dead letters in the order of their ids, behind `after`; takes nothing. Raises `NoSubscription`."""
    target = path(topic, user) + "/dead" + query_of({"max": most, "after": after})
    return Call(Request("GET", target), lambda response: answers.dead_letters(response, topic, user))


def put_back_dead(topic: str, user: str) -> Call[int]:
    """All dead letters whose ttl is not over wait again: how many. Not repeated where the outcome is unknown."""
    return Call(Request("POST", path(topic, user) + "/dead"), answers.count, repeatable=False)


def drop_dead(topic: str, user: str) -> Call[int]:
    """All dead letters are dropped: how many. Not repeated where the outcome is unknown."""
    return Call(Request("DELETE", path(topic, user) + "/dead"), answers.count, repeatable=False)


def _publish(
    topic: str, body: bytes, query: Mapping[str, object], headers: Headers, key: str | None
) -> Call[Published]:
    if key:
        headers = (*headers, header("Idempotency-Key", key))
    request = Request("POST", path(topic) + query_of(query), headers, body)
    return Call(request, answers.published, repeatable=bool(key), wants_key=key is None)


def _bytes(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _kept(media_type: str | None, headers: Mapping[str, str] | None) -> Headers:
    """The headers of a message. One that the server would not keep is an error and not a loss."""
    strange = [name for name in headers or {} if not answers.is_kept(name)]
    if strange:
        raise ValueError(f"{strange[0]} does not travel with a message: name it Meta-{strange[0]}, or use type=")
    kind = (header("Content-Type", media_type),) if media_type else ()
    return (*kind, *[header(name, value) for name, value in (headers or {}).items()])


def _receipt(message: Message) -> str:
    if not message.receipt:
        raise ValueError(f"message {message.id} was not leased")
    return f"{path(message.topic, message.user)}/{message.receipt}"


def _settings(expires_after: float | None, max_deliveries: int | None) -> str:
    return query_of({"expires_after": expires_after, "max_deliveries": max_deliveries})
