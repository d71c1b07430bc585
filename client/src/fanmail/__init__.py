"""Python client of Fanmail, an HTTP publish/subscribe server.

`Client` is for ordinary code and `AsyncClient` for asyncio; `Admin` and `AsyncAdmin` are for operators.

In reading order: `http_call` and `flow` define requests, calls and flows; `calls` and `admin_calls` have every call,
`responses` the parsers of their results, `exchange` and `retry` one call with its retries; `consumer`, `streaming`,
`worker` and `listing` are made of several calls. None of these does I/O. `transport`, `connections`, `lines`,
`fork_safety` and `base_client` run flows over httpx; `methods`, `client`, `admin` and `aio` are the public clients.
`session` has its own loop over a WebSocket.
`errors` has the exceptions.
"""

from fanmail.admin import Admin
from fanmail.aio import AsyncAdmin, AsyncClient
from fanmail.batching import batches
from fanmail.client import Client
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
    SubscriptionStatus,
    Worked,
)
from fanmail.retry import ONCE, Retries
from fanmail.session.aio import AsyncSession
from fanmail.session.sync import Session
from fanmail.streaming import Gap
from fanmail.version import VERSION as __version__

__all__ = [
    "__version__",
    "Client",
    "AsyncClient",
    "Session",
    "AsyncSession",
    "Admin",
    "AsyncAdmin",
    "Retries",
    "ONCE",
    "batches",
    "Message",
    "MessageId",
    "Fetched",
    "Frames",
    "Gap",
    "Published",
    "SubscriptionStatus",
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
    "Candidate",
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
