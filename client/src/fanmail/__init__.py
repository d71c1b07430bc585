"""Python client of Fanmail, an HTTP publish/subscribe server: `Client`, and `AsyncClient` for asyncio.

In reading order: `calls` has every call, `exchange` retries and the loops, `retry` the rules of retrying, `values` what
passes between them and the world, `client` and `aio` the world; `errors` what can go wrong.
"""

from fanmail.aio import AsyncClient
from fanmail.calls import batches
from fanmail.client import Client
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

__all__ = [
    "Client",
    "AsyncClient",
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
