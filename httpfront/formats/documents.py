"""JSON documents that a front makes itself."""

from __future__ import annotations

from typing import Any

import falcon
import msgspec

from common.errors import FanmailError


def render(resp: falcon.Response, document: object) -> None:
    """Render a JSON answer that no cache may store."""
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(document) + b"\n"
    resp.set_header("Cache-Control", "no-store")


def problem_of(error: FanmailError) -> dict[str, Any]:
    """Return an error as the members of a problem document (RFC 9457)."""
    spec = error.spec
    return problem_members(spec.status, error.code, spec.title, error.detail) | error.fields


def problem_members(status: int, code: str, title: str, detail: str) -> dict[str, Any]:
    """Return the members that every problem document has."""
    return {"type": f"urn:fanmail:{code}", "title": title, "status": status, "detail": detail, "code": code}
