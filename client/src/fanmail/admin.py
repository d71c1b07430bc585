"""The operator's client, for ordinary code; `fanmail.aio` has the same for asyncio."""

from __future__ import annotations

from collections.abc import Iterator

from fanmail.admin_calls import MOST_PAGE
from fanmail.cluster import Delayed, DelayedTopic, Subscription, Topic
from fanmail.driving import SyncDriver
from fanmail.listing import listing_delayed, listing_delayed_topics, listing_subscriptions, listing_topics
from fanmail.methods import AdminMethods


class Admin(AdminMethods, SyncDriver):
    """What an operator asks of a cluster, by the operations ports of its fronts; threads may share it.

    `ops_urls`: base URLs, one or several; by default `FANMAIL_OPS_URL`, or that of the quickstart's first front. All
    fronts know the whole cluster, so any of them will do. The rest is as with `Client`; an API key needs the right
    `admin`.

    Its methods are the functions of `fanmail.admin_calls`, and these.
    """

    def topics(self, prefix: str = "", *, page: int = MOST_PAGE) -> Iterator[Topic]:
        """All topics whose names begin with `prefix`, in the order of their names' bytes, fetched by pages.

        Where brokers do not answer, those of the others come all the same, and `Unavailable` is raised at the end: what
        came is not all. Topics that begin or end meanwhile may be in it or not.

        >>> [topic.topic for topic in admin.topics("new")]
        ['news']
        """
        return self._emitted(listing_topics(self._exchange, prefix, page))

    def subscriptions(self, topic: str, *, page: int = MOST_PAGE) -> Iterator[Subscription]:
        """All subscriptions of a topic, by user, fetched by pages. Raises `NotFound`.

        >>> [(each.user, each.pending) for each in admin.subscriptions("news")]
        [('alice', 1)]
        """
        return self._emitted(listing_subscriptions(self._exchange, topic, page))

    def delayed_topics(self, *, page: int = MOST_PAGE) -> Iterator[DelayedTopic]:
        """All topics for which publishes wait, fetched by pages; the rest as with `topics`."""
        return self._emitted(listing_delayed_topics(self._exchange, page))

    def delayed(self, topic: str, *, page: int = MOST_PAGE) -> Iterator[Delayed]:
        """All delayed publishes of a topic in the order in which they were accepted, fetched by pages."""
        return self._emitted(listing_delayed(self._exchange, topic, page))
