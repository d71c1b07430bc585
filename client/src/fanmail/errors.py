"""The exceptions of the client: one class for each way in which a caller may want to react."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fanmail.http_call import NoResponse, Outcome


class FanmailError(Exception):
    """A call failed, or its outcome is unknown; the subclass tells which.

    Attributes:
        code: The stable code of the problem document, "" if the response had none.
        status: The HTTP status, 0 if there was no response.
        detail: An explanation for humans.
        retry_after: Seconds, 0 if the server named none.
        fields: The other members of the problem document.
        request_id: The id of the request in the server's log.
    """

    def __init__(
        self,
        detail: str,
        code: str = "",
        status: int = 0,
        retry_after: float = 0.0,
        fields: Mapping[str, Any] | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.retry_after = retry_after
        self.fields: dict[str, Any] = dict(fields or {})
        self.request_id = request_id

    def __str__(self) -> str:
        head = " ".join(each for each in (str(self.status or ""), self.code) if each)
        return f"{head}: {self.detail}" if head else self.detail


class BadRequest(FanmailError):
    """400, 405, 406, 422 and other 4xx: the request is wrong, and a retry would fail too."""


class TooLarge(BadRequest):
    """413, 414, 431: the body, a name or the headers exceed a limit."""


class KeyReused(BadRequest):
    """422: the idempotency key was used for another request."""


class Denied(FanmailError):
    """401, 403: the API key is missing or wrong, or lacks the right to make this call. Never retried."""


class NotFound(FanmailError):
    """404: there is no such topic, subscription, message or broker."""


class NoSubscription(NotFound):
    """404 `no-subscription`: the user is not, or no longer, subscribed to the topic."""


class LeaseLost(FanmailError):
    """409 `lease-lost`: the message was delivered to another worker, or the topic began a new life."""


class LeasesOut(FanmailError):
    """409 `leases-out`: `after` was used while messages of the user are leased."""


class CursorLost(FanmailError):
    """410: the cursor is from an earlier life of the topic, whose messages are gone."""

    @property
    def oldest(self) -> str | None:
        """The id of the next message of this user, if one waits."""
        value = self.fields.get("oldest")
        return value if isinstance(value, str) else None


class Refused(FanmailError):
    """429: a limit was reached and nothing was stored. `retry_after` says when to retry."""


class Unavailable(FanmailError):
    """503, or no server was reached: **not executed**, always safe to retry."""


class OutcomeUnknown(FanmailError):
    """504, or the connection was lost after the request was sent: it may have been, or may yet be, executed."""


class ServerFault(FanmailError):
    """500, or a response that is not from this API."""


_BY_CODE: dict[str, type[FanmailError]] = {
    "no-subscription": NoSubscription,
    "lease-lost": LeaseLost,
    "leases-out": LeasesOut,
    "cursor-lost": CursorLost,
    "key-reused": KeyReused,
}
_BY_STATUS: dict[int, type[FanmailError]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    408: Unavailable,  # the request did not arrive completely
    410: CursorLost,
    413: TooLarge,
    414: TooLarge,
    429: Refused,
    431: TooLarge,
    502: OutcomeUnknown,  # a proxy lost its server
    503: Unavailable,
    504: OutcomeUnknown,
}

_DEFAULT_DETAILS = {
    401: "the API key is missing or wrong",
    403: "the API key lacks the right to make this call",
}
"""For responses without a problem document, as to a HEAD."""


def error_of(outcome: Outcome, method: str = "GET") -> FanmailError:
    """Return the exception for an unsuccessful or missing response. A response to a HEAD has no problem document."""
    if isinstance(outcome, NoResponse):
        return (OutcomeUnknown if outcome.sent else Unavailable)(outcome.reason)
    problem = _problem(outcome.headers.get("content-type", ""), outcome.body)
    code = str(problem.pop("code", ""))
    if method == "HEAD" and outcome.status == 404:
        return NoSubscription("this user has no subscription to this topic", "no-subscription", 404)
    kind = _BY_CODE.get(code) or _BY_STATUS.get(outcome.status)
    if kind is None:
        kind = BadRequest if 400 <= outcome.status < 500 else ServerFault
    default = _DEFAULT_DETAILS.get(outcome.status, f"the server responded with {outcome.status}")
    detail = str(problem.pop("detail", "") or problem.get("title") or default)
    return kind(
        detail,
        code,
        outcome.status,
        parse_retry_after(outcome.headers.get("retry-after", "")),
        problem,
        outcome.headers.get("x-request-id", ""),
    )


def _problem(media_type: str, body: bytes) -> dict[str, Any]:
    """Return the members of a problem document. Plain text of any other response becomes the `detail`, in one line.

    A first line that begins with a status, as `413 Content Too Large`, is left out if there are others.
    """
    if media_type.partition(";")[0].strip() != "application/problem+json":
        lines = body.decode("utf-8", "replace").split("\n") if media_type.startswith("text/plain") else []
        lines = [" ".join(line.split()) for line in lines if line.strip()]
        if len(lines) > 1 and lines[0][:3].isdecimal():
            del lines[0]
        return {"detail": " ".join(lines)[:300]} if lines else {}
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def parse_retry_after(text: str) -> float:
    """Return `Retry-After` in seconds: 0 for "", and for a date, which our server never sends."""
    try:
        return max(float(text), 0.0) if text else 0.0
    except ValueError:
        return 0.0
