"""`X-Request-Id`: taken from the request where it is usable, else made; echoed and logged."""

from __future__ import annotations

import itertools
import re
import secrets

import falcon

_USABLE = re.compile(r"[\x21-\x7e]{1,128}").fullmatch


class RequestId:
    """Falcon middleware."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(5)
        self._numbers = itertools.count(1)

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Puts the id into the environment (`fanmail.request_id`) and the answer."""
        given = req.env.get("HTTP_X_REQUEST_ID", "")
        request_id = given if given and _USABLE(given) else f"{self._prefix}-{next(self._numbers):x}"
        req.env["fanmail.request_id"] = request_id
        resp.set_header("X-Request-Id", request_id)
