"""The calls of the HTTP API: one function per call, from its arguments to a `Call`.

`Client` and `AsyncClient` have a method for each of these functions, with the same arguments. The method returns the
`T` of the `Call[T]` here. In the examples `client` is a `Client`. Times are seconds.

All calls raise `Unavailable` (not executed) or `OutcomeUnknown` when the retries end, and the other errors of
`fanmail.errors` at once.

Names of topics and users are texts of 1 to 255 bytes of UTF-8. They are percent-encoded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fanmail import responses
from fanmail.deprecation import former_names
from fanmail.encoding import checked_header, encode_path, encode_query, message_headers
from fanmail.http_call import Call, Headers, Request
from fanmail.message import Acknowledged, DeadLetters, Fetched, Frames, Message, Published, SubscriptionStatus

FRAMES = "application/vnd.fanmail.frames"
NDJSON = "application/x-ndjson"
_BATCH_HEADERS = {"content-encoding": "Msg-Encoding"}
"""Headers of the messages that would otherwise describe the whole batch."""


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
    """Publish one message.

    It is stored once, however often the request is sent, because of its idempotency key, which the server keeps for 10
    minutes by default. Raises `Refused` at a limit.

    Args:
        topic: The topic.
        body: The body; a `str` is sent as UTF-8.
        type: The Content-Type.
        headers: Headers that travel with the message: `Meta-*`, `ce-*`, `traceparent`, `tracestate`,
            `Content-Encoding`, `Content-Language`. Raises ValueError for others and for what no header can carry.
        ttl: Time to live; the message is not delivered later than this.
        delay: How much later to publish the message.
        key: The idempotency key; by default a new one. "" sends none, which is cheaper for the broker, but raises
            `OutcomeUnknown` at once after a 504 or a lost connection.

    >>> client.subscribe("news", "alice")
    True
    >>> client.publish("news", "hello", type="text/plain", headers={"Meta-Colour": "red"}).subscribers
    1
    >>> client.publish("nobody-listens", b"hello").id is None
    True
    """
    return _publish(topic, _bytes(body), {"ttl": ttl, "delay": delay}, message_headers(type, headers), key)


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
    """Publish a batch atomically, in order and with consecutive ids. The other arguments are those of `publish`.

    By default a batch has at most 10,000 messages (else `BadRequest`) and 8 MiB (else `TooLarge`). `batches` splits
    more messages into batches.

    >>> client.publish_many("news", [f"line {n}" for n in range(1000)]).count
    1000
    """
    body = responses.pack_frames([_bytes(each) for each in bodies])
    query = {"batch": "frames", "ttl": ttl, "delay": delay}
    fields = [(_BATCH_HEADERS.get(name.lower(), name), value) for name, value in message_headers(type, headers)]
    return _publish(topic, body, query, tuple(fields), key)


def subscribe(
    topic: str, user: str, *, expires_after: float | None = None, max_deliveries: int | None = None
) -> Call[bool]:
    """Subscribe a user. Return whether the user was not subscribed before, which is not certain after retries.

    Subscribing again is harmless and changes the settings that are given.

    Args:
        topic: The topic.
        user: The user.
        expires_after: The subscription ends after this time without a request; 0: never.
        max_deliveries: A message that was leased this often without being acknowledged becomes a dead letter; 0: never.
    """
    query = _settings(expires_after, max_deliveries)
    return Call(Request("POST", encode_path(topic, user) + query), responses.parse_created)


def configure(
    topic: str, user: str, *, expires_after: float | None = None, max_deliveries: int | None = None
) -> Call[None]:
    """Change the settings of a subscription that are given, as described at `subscribe`. Raises `NoSubscription`."""
    query = _settings(expires_after, max_deliveries)
    return Call(Request("PATCH", encode_path(topic, user) + query), responses.parse_nothing)


def unsubscribe(topic: str, user: str) -> Call[None]:
    """End a subscription and delete its unread messages.

    Raises `NoSubscription`, but not if a previous try, whose response was lost, has ended the subscription.
    """
    return Call(Request("DELETE", encode_path(topic, user)), responses.parse_nothing, gone_is_done=True)


def status(topic: str, user: str) -> Call[SubscriptionStatus]:
    """Return the status of a subscription without changing it. Raises `NoSubscription`.

    >>> client.status("news", "alice").pending
    1001
    """
    return Call(Request("HEAD", encode_path(topic, user)), responses.parse_status)


def stand(topic: str, user: str) -> Call[SubscriptionStatus]:
    """Return the status of a subscription. Deprecated: a former name of `status`."""
    return status(topic, user)


head = stand


@former_names(most="limit")
def fetch(
    topic: str,
    user: str,
    limit: int = 100,
    *,
    after: str | None = None,
    lease: float | None = None,
    wait: float = 0,
) -> Call[Fetched]:
    """Fetch the next messages, or none if none waits.

    Without `after` and `lease` the messages are *taken*, which is at-most-once delivery: if the response is lost,
    `OutcomeUnknown` is raised and they may be gone. Raises `NoSubscription`.

    Args:
        topic: The topic.
        user: The user.
        limit: The greatest number of messages. 1 is the cheapest. Deprecated: the former name `most`.
        after: The cursor: acknowledges everything up to and including this id, and takes nothing. "0" acknowledges
            nothing. Raises `CursorLost`, `LeasesOut`.
        lease: Leases each message for this time; its `receipt` is for `acknowledge`. Raises `Refused` if too many
            messages are leased.
        wait: How long to wait for a message.

    >>> [message.text for message in client.fetch("news", "alice", 2, after="0")]
    ['hello', 'line 0']
    """
    query = {"max": limit if limit != 1 else None, "after": after, "lease": lease, "wait": wait or None}
    accept = NDJSON if limit != 1 else "*/*"
    request = Request("GET", encode_path(topic, user) + encode_query(query), (("Accept", accept),))
    parse = responses.parse_message if limit == 1 else responses.parse_messages
    repeatable = after is not None or lease is not None
    return Call(request, lambda response: parse(response, topic, user), repeatable, extra_timeout_s=wait)


def receive(
    topic: str, user: str, *, after: str | None = None, lease: float | None = None, wait: float = 0
) -> Call[Message | None]:
    """Fetch the next message, or None if none waits. The arguments are those of `fetch`.

    >>> message = client.receive("news", "alice")
    >>> message.text, message.type, message.headers
    ('hello', 'text/plain', {'meta-colour': 'red'})
    """
    call = fetch(topic, user, 1, after=after, lease=lease, wait=wait)
    return call.then(lambda fetched: fetched.messages[0] if fetched.messages else None)


@former_names(most="limit")
def fetch_frames(
    topic: str, user: str, limit: int = 1000, *, after: str | None = None, wait: float = 0
) -> Call[Frames | None]:
    """Fetch the bodies of consecutive messages that have the same headers, which is the fastest way to fetch.

    The arguments are those of `fetch`. Returns None if no message waits.

    >>> frames = client.fetch_frames("news", "alice", 3, after="0")
    >>> frames.bodies, frames.more
    ((b'line 0', b'line 1', b'line 2'), 997)
    """
    query = {"max": limit, "after": after, "wait": wait or None}
    request = Request("GET", encode_path(topic, user) + encode_query(query), (("Accept", FRAMES),))
    return Call(request, responses.parse_frames, after is not None, extra_timeout_s=wait)


def advance(topic: str, user: str, after: str) -> Call[None]:
    """Acknowledge everything up to and including an id. Raises `CursorLost`, `LeasesOut`, `NoSubscription`."""
    return Call(Request("PATCH", encode_path(topic, user) + encode_query({"after": after})), responses.parse_nothing)


def acknowledge(message: Message) -> Call[None]:
    """Acknowledge a leased message. Raises `LeaseLost` if it was delivered to another worker meanwhile.

    >>> message = client.receive("news", "alice", lease=30)
    >>> client.extend(message, 60)
    >>> client.acknowledge(message)
    """
    return Call(Request("DELETE", _receipt_path(message)), responses.parse_nothing)


def acknowledge_many(messages: Iterable[Message]) -> Call[list[Acknowledged]]:
    """Acknowledge 1 to 10,000 leased messages of one user. Return one result per message, in order.

    Raises ValueError if there are no messages or they are not all of the same topic and user.
    """
    leased = list(messages)
    if not leased:
        raise ValueError("no messages to acknowledge")
    topic, user = leased[0].topic, leased[0].user
    if any((each.topic, each.user) != (topic, user) for each in leased):
        raise ValueError("messages of several users cannot be acknowledged together")
    body = "\n".join([each.receipt for each in leased]).encode()
    request = Request("POST", encode_path(topic, user) + "/acks", (("Content-Type", "text/plain"),), body)
    return Call(request, responses.parse_acknowledged)


def extend(message: Message, lease: float) -> Call[None]:
    """Make a lease end `lease` seconds from now. Raises `LeaseLost`."""
    return Call(Request("PATCH", _receipt_path(message) + encode_query({"lease": lease})), responses.parse_nothing)


def give_back(message: Message, delay: float = 0) -> Call[None]:
    """End a lease so that the message is redelivered, to any worker, now or after `delay`. Raises `LeaseLost`."""
    query = encode_query({"lease": 0, "delay": delay or None})
    return Call(Request("PATCH", _receipt_path(message) + query), responses.parse_nothing)


@former_names(most="limit")
def dead(topic: str, user: str, limit: int = 100, *, after: str | None = None) -> Call[DeadLetters]:
    """Return a page of up to `limit` dead letters with ids after `after`, in order of id, without changing them.

    Deprecated: `most` is a former name of `limit`. Raises `NoSubscription`.
    """
    target = _dead_path(topic, user) + encode_query({"max": limit, "after": after})
    return Call(Request("GET", target), lambda response: responses.parse_dead_letters(response, topic, user))


def put_back_dead(topic: str, user: str) -> Call[int]:
    """Redeliver all dead letters whose ttl has not passed. Return their number.

    The call is not retried if its outcome is unknown.
    """
    return Call(Request("POST", _dead_path(topic, user)), responses.parse_count, repeatable=False)


def drop_dead(topic: str, user: str) -> Call[int]:
    """Delete all dead letters. Return their number. The call is not retried if its outcome is unknown."""
    return Call(Request("DELETE", _dead_path(topic, user)), responses.parse_count, repeatable=False)


def _publish(
    topic: str, body: bytes, query: Mapping[str, object], headers: Headers, key: str | None
) -> Call[Published]:
    if key:
        headers = (*headers, checked_header("Idempotency-Key", key))
    request = Request("POST", encode_path(topic) + encode_query(query), headers, body)
    return Call(request, responses.parse_published, repeatable=bool(key), wants_key=key is None)


def _bytes(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _receipt_path(message: Message) -> str:
    if not message.receipt:
        raise ValueError(f"message {message.id} was not leased")
    return f"{encode_path(message.topic, message.user)}/{message.receipt}"


def _dead_path(topic: str, user: str) -> str:
    return encode_path(topic, user) + "/dead"


def _settings(expires_after: float | None, max_deliveries: int | None) -> str:
    return encode_query({"expires_after": expires_after, "max_deliveries": max_deliveries})
