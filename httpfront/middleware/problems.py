"""Errors as `application/problem+json` (RFC 9457), rendered from the table in `common/errors.py`."""

from __future__ import annotations

import logging
from typing import Any

import falcon
import msgspec

from common.errors import FanmailError
from httpfront.environ import REQUEST_ID
from httpfront.formats.coding import ACCEPTED
from httpfront.formats.documents import problem_members

log = logging.getLogger("fanmail.front")

PROBLEM = "application/problem+json"


def add_error_handlers(app: falcon.App[Any, Any]) -> None:
    """Turn every exception into a problem document.

    An unexpected one is logged, and its document says nothing about it.
    """
    app.add_error_handler(Exception, _unforeseen)
    app.add_error_handler(falcon.HTTPError, _from_falcon)
    app.add_error_handler(FanmailError, _from_table)


def _from_table(req: falcon.Request, resp: falcon.Response, error: FanmailError, params: object) -> None:
    spec = error.spec
    if spec.retry_after is not None:
        resp.set_header("Retry-After", str(spec.retry_after))
    if error.code == "unsupported-coding":
        resp.set_header("Accept-Encoding", ACCEPTED)
    if spec.status >= 500 and spec.status not in (503, 504):
        log.error("request failed", extra={"code": error.code, "reason": error.detail} | _request_id(req))
    _render(req, resp, spec.status, error.code, spec.title, error.detail, error.fields)


def _from_falcon(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: object) -> None:
    """Render what Falcon itself refuses, before a resource is reached."""
    if error.status_code >= 500:
        _unforeseen(req, resp, error, params)
        return
    resp.set_headers(dict(error.headers or {}))
    _render(req, resp, error.status_code, "bad-request", error.title or "Bad request", error.description or "", {})


def _unforeseen(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
    log.error("request failed", exc_info=error, extra=_request_id(req))
    _render(req, resp, 500, "internal", "Internal error", "the server failed; see its log", {})


def _request_id(req: falcon.Request) -> dict[str, str]:
    return {"request_id": req.env.get(REQUEST_ID, "")}


def _render(
    req: falcon.Request,
    resp: falcon.Response,
    status: int,
    code: str,
    title: str,
    detail: str,
    fields: dict[str, object],
) -> None:
    problem = problem_members(status, code, title, detail)
    resp.status = falcon.code_to_http_status(status)
    resp.content_type = PROBLEM
    resp.data = msgspec.json.encode(problem | fields)
    if req.method in ("GET", "HEAD"):
        resp.set_header("Cache-Control", "no-store")
