"""A proxy before a front that refuses, loses or delays requests as a test demands."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from tests.client.listening import Listening, Quiet

FORWARD, REFUSE, SWALLOW, HANG_UP = "forward", "refuse", "swallow", "hang up"
"""Pass it on; respond with 503 instead; pass it on and respond with 504; pass it on and close the connection."""
FORBID = "forbid"
"""Respond with 403 instead of passing it on."""
EMPTY = "empty"
"""Respond with 204 instead of passing it on, as a server with too many waiters does."""
PROBLEM = {"Content-Type": "application/problem+json"}
_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}

Plan = Callable[[str, str], str]
"""From method and target to one of the above."""


class Proxy(Listening):
    """A proxy that listens within a `with` statement.

    `seen` has the method, target and idempotency key of every request, `credentials` their Authorization. With a
    `key`, it responds with 401 to requests that do not have it.
    """

    def __init__(self, port: int, plan: Plan = lambda method, target: FORWARD, key: str = "") -> None:
        self.seen: list[tuple[str, str, str | None]] = []
        self.credentials: list[str | None] = []
        self._key = key
        proxy = self

        class Handler(Quiet):
            def handle_any(self) -> None:
                proxy._serve(self, port, plan)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any

        super().__init__(Handler)

    def _serve(self, handler: BaseHTTPRequestHandler, port: int, plan: Plan) -> None:
        self.seen.append((handler.command, handler.path, handler.headers["Idempotency-Key"]))
        self.credentials.append(handler.headers["Authorization"])
        body = handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
        if self._key and handler.headers["Authorization"] != f"Bearer {self._key}":
            _answer(handler, 401, {"WWW-Authenticate": "Bearer", **PROBLEM}, b'{"code": "unauthorized"}')
            return
        what = plan(handler.command, handler.path)
        if what == REFUSE:
            _answer(handler, 503, {"Retry-After": "0"}, b"")
            return
        if what == EMPTY:
            _answer(handler, 204, {"Retry-After": "1"}, b"")
            return
        if what == FORBID:
            _answer(handler, 403, PROBLEM, b'{"code": "forbidden"}')
            return
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
        connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if what == SWALLOW:
            _answer(handler, 504, {}, b"")
        elif what == HANG_UP:
            handler.close_connection = True
        else:
            _answer(handler, response.status, dict(response.headers.items()), content)


def _answer(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    handler.send_response_only(status)
    for name, value in headers.items():
        if name.lower() not in _HOP:
            handler.send_header(name, value)
    if status != 204:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def first(count: int, what: str, method: str = "POST") -> Plan:
    """Return a plan: `what` for the first `count` requests of this method, and then everything is passed on."""
    left = [count]

    def plan(each: str, target: str) -> str:
        if each != method or not left[0]:
            return FORWARD
        left[0] -= 1
        return what

    return plan
