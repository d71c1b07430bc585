"""JSON documents that a front makes itself."""

from __future__ import annotations

import falcon
import msgspec


def render(resp: falcon.Response, document: object) -> None:
    """Render a JSON answer that no cache may store."""
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(document) + b"\n"
    resp.set_header("Cache-Control", "no-store")
