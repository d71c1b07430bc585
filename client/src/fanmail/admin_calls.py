"""Every call of the admin API, on the operations port: a function each, from its arguments to a `Call`.

`Admin` and `AsyncAdmin` have a method for each of these functions, as `Client` has for those of `fanmail.calls`; in the
examples `admin` is an `Admin`. They raise `NotFound` for a topic, a subscription or a broker that is not there.
Where nobody knows whether a call was executed it is tried again if a second time changes nothing: not `end_topic`,
`purge` and `remove_all_delayed`, which could meet what came meanwhile. Calls about a topic leave the idle clocks of its
subscriptions alone.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, Literal, TypeVar, cast

from fanmail.answers import delayed, nothing, peeked
from fanmail.cluster import (
    Broker,
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
from fanmail.targets import path, query_of
from fanmail.values import Call, Request, Response

T = TypeVar("T")

MOST_PAGE = 1000
ENDING = 60.0
"""Seconds that the end of a topic with very many subscriptions may take beyond the usual."""

Default = Literal["default"]
"""In the place of a setting: as the server's configuration says."""


def topic_page(
    prefix: str = "", *, limit: int = 100, cursor: str | None = None, broker: str | None = None
) -> Call[TopicPage]:
    """Up to `limit` (at most 1,000) topics whose names begin with `prefix`, in the order of their names' bytes, of all
    brokers or of one. `cursor` is that of the page before. `Admin.topics` goes through all pages.
    """
    query = {"prefix": prefix or None, "limit": limit, "cursor": cursor, "broker": broker}
    return Call(Request("GET", _at("topics") + query_of(query)), _topic_page)


def topic(topic: str) -> Call[TopicDetails]:
    """How a topic stands, and who holds its oldest message (looked for among its first 50,000 users).

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
    """Sets ceilings of a topic until it ends; what is not named stays, and `"default"` is what the configuration says.

    `max_age`: seconds, 0: never too old. A lower ceiling lets nothing go by itself: with `drop-oldest` the next publish
    does. Returns how the topic stands then.

    >>> admin.change_topic("news", max_messages=1000, overflow="drop-oldest").own_settings.max_messages
    1000
    >>> admin.change_topic("news", max_messages="default", overflow="default").own_settings
    TopicSettings(max_messages=None, max_bytes=None, max_age=None, overflow=None)
    """
    query = {"max_messages": max_messages, "max_bytes": max_bytes, "max_age": max_age, "overflow": overflow}
    request = Request("PATCH", _at("topics", topic) + query_of(query))
    return Call(request, _details)


def end_topic(topic: str) -> Call[int]:
    """Ends all subscriptions of a topic, and with them the topic and its messages: how many there were."""
    request = Request("DELETE", _at("topics", topic))
    return Call(request, lambda response: int(_document(response)["ended"]), repeatable=False, patience=ENDING)


def subscription_page(topic: str, *, limit: int = 100, cursor: str | None = None) -> Call[SubscriptionPage]:
    """Up to `limit` (at most 1,000) subscriptions of a topic; `Admin.subscriptions` goes through all pages."""
    target = _at("topics", topic, "subscriptions") + query_of({"limit": limit, "cursor": cursor})
    return Call(Request("GET", target), _subscription_page)


def subscription(topic: str, user: str) -> Call[Subscription]:
    """How a user stands.

    >>> admin.subscription("news", "alice").pending
    1
    """
    request = Request("GET", _at("topics", topic, "subscriptions", user))
    return Call(request, lambda response: _read(Subscription, _document(response)))


def peek(topic: str, user: str, most: int = 10) -> Call[tuple[Peeked, ...]]:
    """The first of what a user has not done, at most 100, those that are leased before the others. Takes nothing.

    >>> [(message.state, message.text) for message in admin.peek("news", "alice")]
    [('waiting', 'hello')]
    """
    request = Request("GET", _messages(topic, user) + query_of({"peek": most}))
    return Call(request, lambda response: peeked(_document(response)["messages"], topic, user))


def purge(topic: str, user: str) -> Call[int]:
    """Lets go of all that a user has not done, what is leased too: how many. Dead letters stay.

    >>> admin.purge("news", "alice")
    1
    """
    request = Request("DELETE", _messages(topic, user))
    return Call(request, lambda response: int(_document(response)["purged"]), repeatable=False)


def delayed_topic_page(*, limit: int = 100, cursor: str | None = None) -> Call[DelayedTopicPage]:
    """Up to `limit` (at most 1,000) topics of all brokers for which publishes wait, in the order of their names' bytes;
    `Admin.delayed_topics` goes through all pages.
    """
    return Call(Request("GET", _at("delayed") + query_of({"limit": limit, "cursor": cursor})), _delayed_topic_page)


def delayed_page(topic: str, *, limit: int = 100, cursor: str | None = None) -> Call[DelayedPage]:
    """Up to `limit` (at most 1,000) delayed publishes of a topic in the order in which they were accepted;
    `Admin.delayed` goes through all pages.
    """
    target = _at("topics", topic, "delayed") + query_of({"limit": limit, "cursor": cursor})
    return Call(Request("GET", target), _delayed_page)


def one_delayed(topic: str, id: str) -> Call[Delayed]:
    """A delayed publish with its first messages. Raises `NotFound` where it does not wait any more."""
    return Call(Request("GET", _at("topics", topic, "delayed", id)), lambda response: delayed(_document(response)))


def remove_delayed(topic: str, id: str) -> Call[None]:
    """A delayed publish will not be published. Its idempotency key stays remembered, so that a repeat does not bring it
    back. Raises `NotFound` where it does not wait any more, but not where a try whose answer was lost has removed it.
    """
    return Call(Request("DELETE", _at("topics", topic, "delayed", id)), nothing, gone_is_done=True)


def remove_all_delayed(topic: str) -> Call[int]:
    """None of the delayed publishes of a topic will be published: how many there were."""
    request = Request("DELETE", _at("topics", topic, "delayed"))
    return Call(request, lambda response: int(_document(response)["removed"]), repeatable=False, patience=ENDING)


def brokers() -> Call[tuple[Broker, ...]]:
    """All brokers.

    >>> [broker.state for broker in admin.brokers()]
    ['up', 'up']
    """
    return Call(
        Request("GET", _at("brokers")),
        lambda response: tuple(_read(Broker, each) for each in _document(response)["brokers"]),
    )


def drain(broker: str) -> Call[None]:
    """A broker takes no publishes and no new subscriptions any more, until it starts again or `undrain`; it goes on
    with everything else.
    """
    return Call(Request("PUT", _at("brokers", broker, "drain")), nothing)


def undrain(broker: str) -> Call[None]:
    """Ends that."""
    return Call(Request("DELETE", _at("brokers", broker, "drain")), nothing)


def config() -> Call[Config]:
    """The settings of the front that answers."""
    return Call(Request("GET", _at("config")), lambda response: _read(Config, _document(response)))


def _at(*names: str) -> str:
    return path("-", "v1", *names)


def _messages(topic: str, user: str) -> str:
    return _at("topics", topic, "subscriptions", user, "messages")


def _document(response: Response) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(response.body)
    return document


def _read(kind: type[T], members: dict[str, Any], **others: Any) -> T:
    """A value from the members that it knows: a later server may have more."""
    names = [each.name for each in fields(cast(Any, kind))]
    return kind(**{name: members[name] for name in names if name not in others}, **others)


def _topic_page(response: Response) -> TopicPage:
    document = _document(response)
    topics = tuple(_read(Topic, each) for each in document["topics"])
    return TopicPage(topics, document["cursor"], tuple(document["missing"]))


def _delayed_topic_page(response: Response) -> DelayedTopicPage:
    document = _document(response)
    topics = tuple(_read(DelayedTopic, each) for each in document["topics"])
    return DelayedTopicPage(topics, document["cursor"], tuple(document["missing"]))


def _delayed_page(response: Response) -> DelayedPage:
    document = _document(response)
    return DelayedPage(tuple(delayed(each) for each in document["delayed"]), document["cursor"])


def _details(response: Response) -> TopicDetails:
    document = _document(response)
    return _read(
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
    return SubscriptionPage(tuple(_read(Subscription, each) for each in document["subscriptions"]), document["cursor"])
