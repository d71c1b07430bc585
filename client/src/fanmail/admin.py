"""The operators' client for ordinary code. `fanmail.aio` has the same for asyncio."""

from __future__ import annotations

from collections.abc import Iterator

from fanmail.admin_calls import MAX_PAGE
from fanmail.base_client import SyncBaseClient
from fanmail.cluster import Delayed, DelayedTopic, Subscription, Topic
from fanmail.listing import list_delayed, list_delayed_topics, list_subscriptions, list_topics
from fanmail.methods import AdminMethods


class Admin(AdminMethods, SyncBaseClient):
    """A client of the operations ports of one cluster, for operators. Threads may share it.

    Its methods are the functions of `fanmail.admin_calls`, and those below. The other arguments are those of `Client`;
    an API key needs the right `admin`.

    Args:
        ops_urls: One or several base URLs of operations ports; by default `FANMAIL_OPS_URL`, or that of the first front
            of `bin/quickstart`. Any front will do, as each knows the whole cluster.
    """

    def topics(self, prefix: str = "", *, page: int = MAX_PAGE) -> Iterator[Topic]:
        """Yield all topics whose names begin with `prefix`, ordered by the bytes of their names, fetched in pages.

        If brokers do not answer, the topics of the others are yielded, and then `Unavailable` is raised. Topics that
        begin or end meanwhile may or may not be included.

        >>> [topic.topic for topic in admin.topics("new")]
        ['news']
        """
        return self._emitted(list_topics(self._exchange, prefix, page))

    def subscriptions(self, topic: str, *, page: int = MAX_PAGE) -> Iterator[Subscription]:
        """Yield all subscriptions of a topic, ordered by user, fetched in pages. Raises `NotFound`.

        >>> [(each.user, each.pending) for each in admin.subscriptions("news")]
        [('alice', 1)]
        """
        return self._emitted(list_subscriptions(self._exchange, topic, page))

    def delayed_topics(self, *, page: int = MAX_PAGE) -> Iterator[DelayedTopic]:
        """Yield all topics that have delayed publishes, ordered and fetched as `topics` does."""
        return self._emitted(list_delayed_topics(self._exchange, page))

    def delayed(self, topic: str, *, page: int = MAX_PAGE) -> Iterator[Delayed]:
        """Yield all delayed publishes of a topic in the order of acceptance, fetched in pages."""
        return self._emitted(list_delayed(self._exchange, topic, page))
