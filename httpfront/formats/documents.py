"""JSON documents that this front makes itself."""

from __future__ import annotations

import falcon
import msgspec


def render(resp: falcon.Response, document: object) -> None:
    """A JSON answer that nobody keeps."""
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(document) + b"\n"
    resp.set_header("Cache-Control", "no-store")
