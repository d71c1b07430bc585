"""Requests to JetStream and its answers, as far as a log needs them. The rest of its API is not used.

Subjects and fields: NATS documentation, "JetStream wire API"; several entries with one direct get: ADR-31.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

CREATE, UPDATE, DELETE, INFO, NAMES, PURGE, GET = (
    *(
        "$JS.API.STREAM.CREATE.",
        "$JS.API.STREAM.UPDATE.",
        "$JS.API.STREAM.DELETE.",
        "$JS.API.STREAM.INFO.",
        "$JS.API.STREAM.NAMES",
    ),
    *("$JS.API.STREAM.PURGE.", "$JS.API.STREAM.MSG.GET."),
)
"""Subjects; the name of the stream follows, but for NAMES."""
STEP_DOWN = "$JS.API.STREAM.LEADER.STEPDOWN."
DIRECT_GET = "$JS.API.DIRECT.GET."
EXPECTED = "Nats-Expected-Last-Sequence"
SEQUENCE = "Nats-Sequence"
STATUS = "Status"

WRONG_LAST = 10071
NO_STREAM = 10059
NO_MESSAGE = 10037
STORE_FAILED = 10077
"""Its text says why; "maximum bytes exceeded" is a refusal, others may be anything."""
NO_STORAGE = frozenset((10023, 10047))
"""The account or the server has no room."""


class ApiError(Struct):
    """Why a request was not done."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class RequestError(Exception):
    """A request was answered with an error."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.description)
        self.code = error.err_code


class PubAck(Struct):
    """The answer to an append."""

    seq: int = 0
    stream: str = ""
    error: ApiError | None = None

    def last(self) -> int:
        """Return the last position that a refusal names, 0 where there is none."""
        text = self.error.description.rpartition(" ")[2] if self.error else ""
        return int(text) if text.isascii() and text.isdigit() else 0

    @property
    def is_full(self) -> bool:
        """Return whether there is no room for the append."""
        if self.error is None:
            return False
        has_no_room = self.error.err_code == STORE_FAILED and self.error.description.startswith("maximum ")
        return has_no_room or self.error.err_code in NO_STORAGE


class Placement(Struct):
    """Where a stream may be."""

    cluster: str = ""
    tags: list[str] = []


class Config(Struct):
    """The configuration of a stream."""

    name: str
    subjects: list[str] = []
    retention: str = "limits"
    storage: str = "file"
    num_replicas: int = 1
    max_bytes: int = -1
    max_age: int = 0
    """Nanoseconds."""
    max_msgs: int = -1
    max_msgs_per_subject: int = -1
    max_msg_size: int = -1
    discard: str = "old"
    compression: str = "none"
    deny_delete: bool = False
    deny_purge: bool = False
    allow_direct: bool = False
    allow_rollup_hdrs: bool = False
    allow_msg_ttl: bool = False
    no_ack: bool = False
    sealed: bool = False
    mirror: dict[str, Any] | None = None
    sources: list[dict[str, Any]] | None = None
    placement: Placement | None = None
    metadata: dict[str, str] | None = None


class Positions(Struct):
    """What a stream holds."""

    first_seq: int = 0
    last_seq: int = 0
    bytes: int = 0


class Peer(Struct):
    """A server that keeps a copy."""

    name: str = ""
    current: bool = False
    offline: bool = False


class Members(Struct):
    """Who keeps the copies of a stream."""

    leader: str = ""
    replicas: list[Peer] = []


class Described(Struct):
    """The answer to INFO."""

    config: Config = field(default_factory=lambda: Config(""))
    state: Positions = field(default_factory=Positions)
    cluster: Members = field(default_factory=Members)
    created: str = ""
    error: ApiError | None = None


class Stored(Struct):
    """One entry as the leader of a stream gives it."""

    seq: int = 0
    data: bytes = b""


class Got(Struct):
    """The answer to GET."""

    message: Stored = field(default_factory=Stored)
    error: ApiError | None = None


class Names(Struct):
    """The answer to NAMES."""

    streams: list[str] | None = None
    error: ApiError | None = None


class Done(Struct):
    """The answer to a request that changes something."""

    success: bool = False
    error: ApiError | None = None


Answer = TypeVar("Answer", PubAck, Described, Got, Names, Done)

encode = msgspec.json.encode


def decode(kind: type[Answer], data: bytes) -> Answer:
    """Return an answer. Raises `RequestError` for what is none."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise RequestError(ApiError(description=f"an answer of NATS cannot be read: {error}")) from None
