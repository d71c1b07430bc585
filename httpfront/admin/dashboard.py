"""`GET /` of the operations port: a page with the status of the cluster.

The page has no other resources and gets all data from the admin API. Brokers count nothing specially for it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import falcon

from common.version import VERSION
from httpfront.formats.params import read_parameters

PAGE = Path(__file__).with_name("dashboard.html")
_INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


class DashboardResource:
    """The page, read once. Its policy allows only the script and style in it."""

    def __init__(self) -> None:
        self._page = PAGE.read_bytes().replace(b"{version}", VERSION.encode())
        hashes = {kind.decode(): _hash(text) for kind, text in _INLINE.findall(self._page)}
        self._policy = (
            f"default-src 'none'; script-src '{hashes['script']}'; style-src '{hashes['style']}'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        resp.content_type = falcon.MEDIA_HTML
        resp.data = self._page
        resp.set_headers(
            (
                ("Cache-Control", "no-store"),
                ("Content-Security-Policy", self._policy),
                ("X-Content-Type-Options", "nosniff"),
                ("Referrer-Policy", "no-referrer"),
            )
        )

    on_head = on_get


def _hash(text: bytes) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text).digest()).decode()
