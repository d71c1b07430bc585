"""The table of errors.

A broker raises an error as `FanmailError(code, detail)` in or below `broker.dispatch.dispatcher`. It travels to the
front as code and detail, where it is raised again as the same class and rendered in one place
(`httpfront/middleware/problems.py`). Codes are stable words of the HTTP API (`docs/http-api.md`).
"""

from __future__ import annotations

from typing import NamedTuple


class ErrorSpec(NamedTuple):
    """One row of the table."""

    code: str
    status: int
    """HTTP status."""
    title: str
    """Short, and the same for every occurrence (RFC 9457, section 3.1.3)."""
    retry_after: int | None = None
    """Seconds for `Retry-After`; None: no such header."""


_TABLE = (
    ErrorSpec("bad-name", 400, "Invalid name"),
    ErrorSpec("bad-parameter", 400, "Invalid query parameter"),
    ErrorSpec("bad-batch", 400, "Malformed batch"),
    ErrorSpec("bad-handshake", 400, "Invalid WebSocket handshake"),
    ErrorSpec("bad-op", 400, "Invalid operation"),
    ErrorSpec("unauthorized", 401, "An API key is required"),
    ErrorSpec("forbidden", 403, "The API key does not allow this call"),
    ErrorSpec("foreign-origin", 403, "Web pages of other origins are refused"),
    ErrorSpec("prefetch", 403, "Prefetching is refused"),
    ErrorSpec("no-subscription", 404, "No such subscription"),
    ErrorSpec("no-topic", 404, "No such topic"),
    ErrorSpec("no-delayed", 404, "No such delayed publish"),
    ErrorSpec("no-broker", 404, "No such broker"),
    ErrorSpec("no-route", 404, "No such path"),
    ErrorSpec("method-not-allowed", 405, "Method not allowed"),
    ErrorSpec("not-acceptable", 406, "No accepted format is available"),
    ErrorSpec("lease-lost", 409, "The receipt is no longer valid"),
    ErrorSpec("already-reading", 409, "The session reads this mailbox already"),
    ErrorSpec("leases-out", 409, "Messages of this subscription are leased or await redelivery"),
    ErrorSpec("cursor-lost", 410, "The cursor is of another epoch of the topic"),
    ErrorSpec("move-refused", 409, "The slot cannot be moved"),
    ErrorSpec("body-too-large", 413, "Body too large"),
    ErrorSpec("unsupported-coding", 415, "Unsupported content coding"),
    ErrorSpec("unsupported-charset", 415, "Unsupported charset"),
    ErrorSpec("wrong-host", 421, "Host name not allowed"),
    ErrorSpec("upgrade-required", 426, "Another version of WebSocket is required"),
    ErrorSpec("headers-too-large", 431, "Kept headers too large"),
    ErrorSpec("key-reused", 422, "The idempotency key was used for a different request"),
    ErrorSpec("too-many-topics", 429, "The broker has reached its limit of topics", 5),
    ErrorSpec("too-many-subscriptions", 429, "The broker has reached its limit of subscriptions", 5),
    ErrorSpec("topic-full", 429, "The topic has reached its limit of stored messages", 1),
    ErrorSpec("too-many-leases", 429, "The subscription has reached its limit of leases", 1),
    ErrorSpec("too-many-delayed", 429, "The broker has reached its limit of delayed publishes", 5),
    ErrorSpec("too-many-reads", 429, "The session has reached its limit of reads"),
    ErrorSpec("front-busy", 503, "The front has no room for this now", 1),
    ErrorSpec("broker-busy", 503, "The broker has too many bytes in flight", 1),
    ErrorSpec("answer-too-large", 503, "No room for the next message", 1),
    ErrorSpec("memory-full", 503, "The broker has reached its memory limit", 1),
    ErrorSpec("storage-full", 503, "The broker's disk is nearly full", 5),
    ErrorSpec("loading", 503, "The broker is loading its store", 1),
    ErrorSpec("standby", 503, "The broker is a standby", 1),
    ErrorSpec("log-stalled", 503, "The replicated log does not answer", 1),
    ErrorSpec("broker-down", 503, "The broker of this topic is unreachable", 1),
    ErrorSpec("draining", 503, "The broker is stopping", 1),
    ErrorSpec("paused", 503, "The operator has paused the broker", 1),
    ErrorSpec("moving", 503, "The topic is moving to another broker", 1),
    ErrorSpec("not-owner", 503, "The broker does not own this topic", 1),
    ErrorSpec("wrong-incarnation", 503, "The broker was restarted", 1),
    ErrorSpec("expired", 503, "The request expired before it was executed", 1),
    ErrorSpec("client-gone", 503, "The client has disconnected", 1),
    ErrorSpec("backup-failed", 500, "The backup failed"),
    ErrorSpec("handover-failed", 500, "The hand-over failed"),
    ErrorSpec("outcome-unknown", 504, "The broker did not answer in time"),
    ErrorSpec("bad-request", 500, "The broker did not understand the front"),
    ErrorSpec("internal", 500, "Internal error"),
)

ERRORS: dict[str, ErrorSpec] = {spec.code: spec for spec in _TABLE}


class FanmailError(Exception):
    """An error of the table, with the detail of this occurrence.

    `detail` is for the sender of the request: it names the field and the limit, and no internals. `fields` are further
    members of the problem document, or what a peer needs to react (the map's epoch).
    """

    def __init__(self, code: str, detail: str = "", **fields: object) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.fields = fields

    @property
    def spec(self) -> ErrorSpec:
        """Return the row of the table; that of `internal` for a code that this version does not know."""
        return ERRORS.get(self.code) or ERRORS["internal"]

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code


class StartError(Exception):
    """Raised when the process cannot start: `run_main` prints the text as one line and exits with code 2."""

    def __init__(self, text: str, program: str = "") -> None:
        """`program` begins the line instead of the name that `run_main` was given."""
        super().__init__(text)
        self.program = program
