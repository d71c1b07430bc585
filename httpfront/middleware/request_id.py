"""What identifies a request in logs: `X-Request-Id`, and the trace of its `traceparent`.

The id is taken from the request where it is usable, else made. It is echoed, logged, and passed to the brokers.
"""

from __future__ import annotations

import itertools
import re
import secrets

import falcon

from common.protocol.wire import MAX_REQUEST_ID
from httpfront import request_context
from httpfront.environ import REQUEST_ID, TRACE_ID

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?"
).fullmatch
"""W3C Trace Context, section 3.2: versions above 00 may have more behind another dash."""


class RequestId:
    """Falcon middleware, the first one."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(5)
        self._numbers = itertools.count(1)

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Set `REQUEST_ID` and `TRACE_ID` (`environ.py`), and echo the id."""
        env = req.env
        given = env.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _is_usable(given) else f"{self._prefix}-{next(self._numbers):x}"
        env[REQUEST_ID] = request_id
        resp.set_header("X-Request-Id", request_id)
        request_context.request_id.set(request_id)
        if traceparent := env.get("HTTP_TRACEPARENT"):
            env[TRACE_ID] = trace_id(traceparent)


def _is_usable(given: str) -> bool:
    """Return whether an id is visible ASCII and not too long."""
    return 0 < len(given) <= MAX_REQUEST_ID and given.isascii() and given.isprintable() and " " not in given


def trace_id(traceparent: str) -> str:
    """Return the id of the trace, "" where the header is not well-formed."""
    found = _TRACEPARENT(traceparent)
    if found is None or (found["version"] == "00" and found["more"]):
        return ""
    return found["trace"]
