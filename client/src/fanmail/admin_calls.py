"""The calls of the admin API on the operations port: one function per call, from its arguments to a `Call`.

`Admin` and `AsyncAdmin` have a method for each of these functions, as `Client` has for those of `fanmail.calls`. In the
examples `admin` is an `Admin`.

All calls raise `NotFound` if the topic, subscription, delayed publish or broker does not exist. A call whose outcome is
unknown is retried if repeating it changes nothing; `end_topic`, `purge` and `remove_all_delayed` are not retried, as
they could delete what arrived meanwhile. Calls about a topic do not count as requests of its subscriptions, which
therefore expire as usual.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal, TypeVar, cast

from fanmail.cluster import (
    Broker,
    Candidate,
    Config,
    Delayed,
    DelayedPage,
    DelayedTopic,
    DelayedTopicPage,
    Peeked,
    Subscription,
    SubscriptionPage,
    Topic,
    TopicDetails,
    TopicPage,
    TopicSettings,
)
from fanmail.deprecation import former_names
from fanmail.encoding import encode_path, encode_query
from fanmail.http_call import Call, Request, Response
from fanmail.responses import parse_delayed, parse_nothing, parse_peeked

T = TypeVar("T")

MAX_PAGE = 1000
"""Items of a page, at most."""
END_TOPIC_EXTRA_S = 60.0
"""How much longer than usual it may take to end a topic that has a large number of subscriptions."""

Default = Literal["default"]
"""Instead of a setting: use the value of the server's configuration."""


def topic_page(
    prefix: str = "", *, limit: int = 100, cursor: str | None = None, broker: str | None = None
) -> Call[TopicPage]:
    """Return a page of topics whose names begin with `prefix`, ordered by the bytes of their names.

    `Admin.topics` goes through all pages.

    Args:
        prefix: The beginning of the names.
        limit: The greatest number of topics, at most 1,000.
        cursor: The cursor of the previous page.
        broker: The id of the only broker to ask; by default all are asked.
    """
    query = {"prefix": prefix or None, "limit": limit, "cursor": cursor, "broker": broker}
    return Call(Request("GET", _at("topics") + encode_query(query)), _topic_page)


def topic(topic: str) -> Call[TopicDetails]:
    """Return the state of a topic, and which of its first 50,000 users have not read its oldest message.

    >>> found = admin.topic("news")
    >>> found.messages, found.oldest_held_by, found.settings.overflow
    (1, ('alice',), 'reject')
    """
    return Call(Request("GET", _at("topics", topic)), _details)


def change_topic(
    topic: str,
    *,
    max_messages: int | Default | None = None,
    max_bytes: int | Default | None = None,
    max_age: float | Default | None = None,
    overflow: Literal["reject", "drop-oldest", "default"] | None = None,
) -> Call[TopicDetails]:
    """Set limits of a topic until it ends. Return its new state.

    Limits that are not given keep their value; `"default"` means the value of the server's configuration. A lower
    limit deletes nothing by itself; with `drop-oldest` the next publish does.

    Args:
        topic: The topic.
        max_messages: The greatest number of messages.
        max_bytes: The greatest size of all messages.
        max_age: The greatest age of a message in seconds; 0: no limit.
        overflow: What a publish does at `max_messages` or `max_bytes`.

    >>> admin.change_topic("news", max_messages=1000, overflow="drop-oldest").own_settings.max_messages
    1000
    >>> admin.change_topic("news", max_messages="default", overflow="default").own_settings
    TopicSettings(max_messages=None, max_bytes=None, max_age=None, overflow=None)
    """
    query = {"max_messages": max_messages, "max_bytes": max_bytes, "max_age": max_age, "overflow": overflow}
    request = Request("PATCH", _at("topics", topic) + encode_query(query))
    return Call(request, _details)


def end_topic(topic: str) -> Call[int]:
    """End all subscriptions of a topic, which deletes its messages. Return the number of subscriptions."""
    request = Request("DELETE", _at("topics", topic))
    return Call(request, _integer("ended"), repeatable=False, extra_timeout_s=END_TOPIC_EXTRA_S)


def subscription_page(topic: str, *, limit: int = 100, cursor: str | None = None) -> Call[SubscriptionPage]:
    """Return a page of up to `limit` (at most 1,000) subscriptions of a topic.

    `Admin.subscriptions` goes through all pages.
    """
    target = _at("topics", topic, "subscriptions") + encode_query({"limit": limit, "cursor": cursor})
    return Call(Request("GET", target), _subscription_page)


def subscription(topic: str, user: str) -> Call[Subscription]:
    """Return the subscription of a user.

    >>> admin.subscription("news", "alice").pending
    1
    """
    request = Request("GET", _at("topics", topic, "subscriptions", user))
    return Call(request, lambda response: _value(Subscription, _document(response)))


@former_names(most="limit")
def peek(topic: str, user: str, limit: int = 10) -> Call[tuple[Peeked, ...]]:
    """Return the first unacknowledged messages of a user without changing them, leased ones before the others.

    At most `limit` messages are returned, whose greatest value is 100. Deprecated: `most` is a former name of `limit`.

    >>> [(message.state, message.text) for message in admin.peek("news", "alice")]
    [('waiting', 'hello')]
    """
    request = Request("GET", _messages(topic, user) + encode_query({"peek": limit}))
    return Call(request, lambda response: parse_peeked(_document(response)["messages"], topic, user))


def purge(topic: str, user: str) -> Call[int]:
    """Delete all unacknowledged messages of a user, including leased ones. Return their number. Dead letters stay.

    >>> admin.purge("news", "alice")
    1
    """
    request = Request("DELETE", _messages(topic, user))
    return Call(request, _integer("purged"), repeatable=False)


def delayed_topic_page(*, limit: int = 100, cursor: str | None = None) -> Call[DelayedTopicPage]:
    """Return a page of up to `limit` (at most 1,000) topics that have delayed publishes, ordered by their names' bytes.

    `Admin.delayed_topics` goes through all pages.
    """
    return Call(Request("GET", _at("delayed") + encode_query({"limit": limit, "cursor": cursor})), _delayed_topic_page)


def delayed_page(topic: str, *, limit: int = 100, cursor: str | None = None) -> Call[DelayedPage]:
    """Return a page of up to `limit` (at most 1,000) delayed publishes of a topic, in the order of acceptance.

    `Admin.delayed` goes through all pages.
    """
    target = _at("topics", topic, "delayed") + encode_query({"limit": limit, "cursor": cursor})
    return Call(Request("GET", target), _delayed_page)


def one_delayed(topic: str, id: str) -> Call[Delayed]:
    """Return a delayed publish with its first messages. Raises `NotFound` if it was published or removed."""
    return Call(
        Request("GET", _at("topics", topic, "delayed", id)), lambda response: parse_delayed(_document(response))
    )


def remove_delayed(topic: str, id: str) -> Call[None]:
    """Remove a delayed publish, so that it is not published.

    Its idempotency key is kept, so a repeat of the publish does not bring it back. Raises `NotFound` if it was
    published or removed, but not if a previous try, whose response was lost, has removed it.
    """
    return Call(Request("DELETE", _at("topics", topic, "delayed", id)), parse_nothing, gone_is_done=True)


def remove_all_delayed(topic: str) -> Call[int]:
    """Remove all delayed publishes of a topic. Return their number."""
    request = Request("DELETE", _at("topics", topic, "delayed"))
    return Call(
        request,
        _integer("removed"),
        repeatable=False,
        extra_timeout_s=END_TOPIC_EXTRA_S,
    )


def brokers() -> Call[tuple[Broker, ...]]:
    """Return all brokers.

    >>> [broker.state for broker in admin.brokers()]
    ['up', 'up']
    """
    return Call(Request("GET", _at("brokers")), lambda response: tuple(map(_broker, _document(response)["brokers"])))


def _broker(members: dict[str, Any]) -> Broker:
    return _value(Broker, members, candidates=tuple(_value(Candidate, each) for each in members.get("candidates", ())))


def pause(broker: str) -> Call[None]:
    """Make a broker refuse publishes and new subscriptions until it is restarted or `resume` is called.

    It continues to do everything else.
    """
    return Call(Request("PUT", _at("brokers", broker, "pause")), parse_nothing)


def resume(broker: str) -> Call[None]:
    """Make a paused broker accept publishes and new subscriptions again."""
    return Call(Request("DELETE", _at("brokers", broker, "pause")), parse_nothing)


def drain(broker: str) -> Call[None]:
    """Pause a broker. Deprecated: the former name of `pause`."""
    return pause(broker)


def undrain(broker: str) -> Call[None]:
    """Resume a broker. Deprecated: the former name of `resume`."""
    return resume(broker)


def config() -> Call[Config]:
    """Return the settings of the front that answers."""
    return Call(Request("GET", _at("config")), lambda response: _value(Config, _document(response)))


def _at(*names: str) -> str:
    return encode_path("-", "v1", *names)


def _messages(topic: str, user: str) -> str:
    return _at("topics", topic, "subscriptions", user, "messages")


def _document(response: Response) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(response.body)
    return document


def _integer(name: str) -> Callable[[Response], int]:
    return lambda response: int(_document(response)[name])


def _value(kind: type[T], members: dict[str, Any], **others: Any) -> T:
    """Return a value made of the members that its class has: a later server may send more."""
    names = [each.name for each in fields(cast(Any, kind))]
    return kind(**{name: members[name] for name in names if name not in others}, **others)


def _topic_page(response: Response) -> TopicPage:
    document = _document(response)
    topics = tuple(_value(Topic, each) for each in document["topics"])
    return TopicPage(topics, document["cursor"], tuple(document["missing"]))


def _delayed_topic_page(response: Response) -> DelayedTopicPage:
    document = _document(response)
    topics = tuple(_value(DelayedTopic, each) for each in document["topics"])
    return DelayedTopicPage(topics, document["cursor"], tuple(document["missing"]))


def _delayed_page(response: Response) -> DelayedPage:
    document = _document(response)
    return DelayedPage(tuple(parse_delayed(each) for each in document["delayed"]), document["cursor"])


def _details(response: Response) -> TopicDetails:
    document = _document(response)
    return _value(
        TopicDetails,
        document,
        settings=_settings(document["settings"]),
        own_settings=_settings(document["own_settings"]),
        oldest_held_by=tuple(document["oldest_held_by"]),
    )


def _settings(members: dict[str, Any]) -> TopicSettings:
    return TopicSettings(*[members.get(each.name) for each in fields(TopicSettings)])


def _subscription_page(response: Response) -> SubscriptionPage:
    document = _document(response)
    return SubscriptionPage(tuple(_value(Subscription, each) for each in document["subscriptions"]), document["cursor"])
