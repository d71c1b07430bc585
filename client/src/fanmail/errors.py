"""What can go wrong, as exceptions: one class for each thing that a caller may want to do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fanmail.values import Lost, Outcome


class FanmailError(Exception):
    """Something was not done, or nobody knows whether it was; the subclass tells which.

    `code` is the stable word of the problem document, "" where the answer had none; `status` the HTTP status, 0 where
    there was no answer; `detail` for a person; `retry_after` in seconds, 0 where the server named none; `fields` other
    members of the document; `request_id` what the server's log has.
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
        self.fields = dict(fields or {})
        self.request_id = request_id

    def __str__(self) -> str:
        head = " ".join(each for each in (str(self.status or ""), self.code) if each)
        return f"{head}: {self.detail}" if head else self.detail


class BadRequest(FanmailError):
    """400, 405, 406, 422 and other 4xx: the request is wrong and will be so again."""


class TooLarge(BadRequest):
    """413, 414, 431: the body, a name or the headers are over a ceiling."""


class KeyReused(BadRequest):
    """422: the idempotency key was used for another request."""


class Denied(FanmailError):
    """401, 403: no API key or a wrong one, or one without the right to this. Never tried again."""


class NotFound(FanmailError):
    """404."""


class NoSubscription(NotFound):
    """404 `no-subscription`: the user is not subscribed to the topic, or not any more."""


class LeaseLost(FanmailError):
    """409 `lease-lost`: the message was handed to somebody else, or the topic began a new life."""


class LeasesOut(FanmailError):
    """409 `leases-out`: `after` was used while messages of the user are leased."""


class CursorLost(FanmailError):
    """410: the cursor is not of this life of the topic; what was published before it is gone."""

    @property
    def oldest(self) -> str | None:
        """Id of the next message of this user, if one waits."""
        value = self.fields.get("oldest")
        return value if isinstance(value, str) else None


class Refused(FanmailError):
    """429: a ceiling; nothing was stored. `retry_after` says when to try again."""


class Unavailable(FanmailError):
    """503, or no server was reached: **not executed**, try again freely."""


class OutcomeUnknown(FanmailError):
    """504, or the connection was lost behind the request: it may have been executed, or still be."""


class ServerFault(FanmailError):
    """500, or an answer that is not of this API."""


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
    408: Unavailable,  # the request did not arrive whole
    410: CursorLost,
    413: TooLarge,
    414: TooLarge,
    429: Refused,
    431: TooLarge,
    502: OutcomeUnknown,  # a proxy lost its server
    503: Unavailable,
    504: OutcomeUnknown,
}

_WITHOUT_WORDS = {
    401: "the server wants an API key, or another one",
    403: "the API key does not give the right to this",
}
"""For answers without a document, as to a HEAD."""


def error_of(outcome: Outcome, method: str = "GET") -> FanmailError:
    """The exception for an answer that is no success, or for none. To a HEAD it comes without its document."""
    if isinstance(outcome, Lost):
        return (OutcomeUnknown if outcome.sent else Unavailable)(outcome.reason)
    problem = _problem(outcome.headers.get("content-type", ""), outcome.body)
    code = str(problem.pop("code", ""))
    if method == "HEAD" and outcome.status == 404:
        return NoSubscription("this user has no subscription to this topic", "no-subscription", 404)
    kind = _BY_CODE.get(code) or _BY_STATUS.get(outcome.status)
    if kind is None:
        kind = BadRequest if 400 <= outcome.status < 500 else ServerFault
    usual = _WITHOUT_WORDS.get(outcome.status, f"the server answered {outcome.status}")
    detail = str(problem.pop("detail", "") or problem.get("title") or usual)
    return kind(
        detail,
        code,
        outcome.status,
        seconds(outcome.headers.get("retry-after", "")),
        problem,
        outcome.headers.get("x-request-id", ""),
    )


def _problem(media_type: str, body: bytes) -> dict[str, Any]:
    """The members of a problem document; of anything else the text as `detail`, where it is one."""
    if media_type.partition(";")[0].strip() != "application/problem+json":
        is_text = media_type.startswith("text/plain")
        return {"detail": body.decode("utf-8", "replace").strip()[:300]} if is_text and body else {}
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def seconds(text: str) -> float:
    """`Retry-After` in seconds; 0 for none, and for a date, which our server never sends."""
    try:
        return max(float(text), 0.0) if text else 0.0
    except ValueError:
        return 0.0
