"""Python client of Fanmail, an HTTP publish/subscribe server: `Client`, and `AsyncClient` for asyncio; for operators
`Admin` and `AsyncAdmin`.

In reading order: `calls` and `admin_calls` have every call, `exchange` one call with its retries, `retry` the rules of
that, `loops` and `listing` what is made of several calls, `values` what passes between them and the world, `driving`,
`client`, `admin` and `aio` the world, `forking` what a fork leaves of it; `errors` what can go wrong.
"""

from fanmail.admin import Admin
from fanmail.aio import AsyncAdmin, AsyncClient
from fanmail.calls import batches
from fanmail.client import Client
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
from fanmail.errors import (
    BadRequest,
    CursorLost,
    Denied,
    FanmailError,
    KeyReused,
    LeaseLost,
    LeasesOut,
    NoSubscription,
    NotFound,
    OutcomeUnknown,
    Refused,
    ServerFault,
    TooLarge,
    Unavailable,
)
from fanmail.message import (
    Acknowledged,
    DeadLetters,
    Fetched,
    Frames,
    Message,
    MessageId,
    Published,
    Standing,
    Worked,
)
from fanmail.retry import ONCE, Retries
from fanmail.version import VERSION as __version__

__all__ = [
    "__version__",
    "Client",
    "AsyncClient",
    "Admin",
    "AsyncAdmin",
    "Retries",
    "ONCE",
    "batches",
    "Message",
    "MessageId",
    "Fetched",
    "Frames",
    "Published",
    "Standing",
    "Acknowledged",
    "DeadLetters",
    "Worked",
    "Topic",
    "TopicDetails",
    "TopicSettings",
    "TopicPage",
    "Subscription",
    "SubscriptionPage",
    "Peeked",
    "Delayed",
    "DelayedPage",
    "DelayedTopic",
    "DelayedTopicPage",
    "Broker",
    "Config",
    "FanmailError",
    "BadRequest",
    "TooLarge",
    "KeyReused",
    "Denied",
    "NotFound",
    "NoSubscription",
    "LeaseLost",
    "LeasesOut",
    "CursorLost",
    "Refused",
    "Unavailable",
    "OutcomeUnknown",
    "ServerFault",
]
