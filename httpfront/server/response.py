"""A WSGI task on waitress's class: an answer is built whole and sent in one write. No sockets here.

waitress sends head and body apart, sorts and renames every header, and closes the connection after each 204. An
application that fails halfway gives a 500 here, never part of an answer.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from functools import lru_cache
from io import BytesIO
from typing import Any

from waitress.adjustments import Adjustments
from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.task import WSGITask

from httpfront.environ import ACCOUNT, KEY_ID, ON_DISCONNECT, REQUEST_ID, ROUTE, TRACE_ID

Fields = Sequence[tuple[str, str]]
CLOSES = ("Connection: close",)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

MAX_NAMES = 1024
"""Names of header fields that are remembered."""
MAX_KEPT_NAME = 128
"""Bytes of a name that is remembered."""

_STATUS = re.compile(r"([1-9][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OURS = frozenset(("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"))


class FrontTask(WSGITask):  # type: ignore[misc]
    """One run of the application. `service()` leaves the answer in `status` and `response_headers`."""

    def __init__(self, channel: Any, request: Any, stream: Any = None) -> None:
        """Prepare a run. `stream` is `wsgi.input`; None: an empty body."""
        # waitress's own constructor prepares for an answer that is sent in pieces.
        self.channel = channel
        self.request = request
        self.complete = False
        self._written: list[bytes] = []
        self._stream = stream
        self.environ: dict[str, Any] = request.environ
        environ = self.environ
        environ["REMOTE_ADDR"] = channel.addr[0]
        environ["wsgi.input"] = BytesIO() if stream is None else stream
        environ["waitress.client_disconnected"] = channel.check_client_disconnected
        environ[ON_DISCONNECT] = channel.disconnect.call
        environ[ACCOUNT] = channel.account

    def service(self) -> None:
        """Run the application; what it raises, this raises.

        waitress's own method repeats for each answer the checks of `build_answer`.
        """
        pieces = self.channel.server.application(self.environ, self._start)
        if type(pieces) is list:
            if pieces and not self.complete:
                raise RuntimeError("start_response was not called before body written")
            self._written += pieces
            return
        try:
            for data in pieces:
                self.write(data)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()

    def release(self) -> None:
        """Break the cycle of parser, environment and body stream, so that a body does not outlive its request."""
        self.request.environ = {}
        if self._stream is not None:
            self._stream.close()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Take status and headers: `start_response` of PEP 3333. Nothing is sent yet: a later call may replace them."""
        if self.complete and exc_info is None:
            raise AssertionError("start_response called a second time without providing exc_info")
        self.complete = True
        if self._written:
            self._written.clear()
        self.status = status
        self.response_headers = headers
        return self.write

    def write(self, data: bytes) -> None:
        """Collect a piece of the body: the `write` of PEP 3333."""
        if not self.complete:
            raise RuntimeError("start_response was not called before body written")
        self._written.append(data)

    def answer(self, connection: Sequence[str]) -> tuple[bytes, int]:
        """Return the answer that `service` has left, serialized, and its status code.

        `connection` and `ValueError` are as of `build_answer`.
        """
        written = self._written
        body = written[0] if len(written) == 1 else b"".join(written)
        return build_answer(self.status, self.response_headers, body, self.request.command == "HEAD", connection)

    def stream_head(self, *, chunked: bool) -> bytes:
        """Return the head of an answer whose body is a stream; the connection closes after it."""
        connection = ("Transfer-Encoding: chunked", *CLOSES) if chunked else CLOSES
        return build_answer(self.status, self.response_headers, b"", False, connection, streamed=True)[0]

    def switching_head(self) -> bytes:
        """Return the answer to a WebSocket handshake, behind which the connection speaks that protocol."""
        fields = [each for each in self.response_headers if each[0].lower() not in ("content-length", "content-type")]
        upgrade = ("Connection: Upgrade", "Upgrade: websocket")
        answer = build_answer("200 OK", fields, b"", False, upgrade, streamed=True)[0]
        return answer.replace(b" 200 OK", b" 101 Switching Protocols", 1).replace(b"-Websocket-", b"-WebSocket-")


def environ_template(adj: Adjustments, port: int) -> dict[str, Any]:
    """Return what is the same in the WSGI environment (PEP 3333) of every request to this port.

    It has a place for every key that a request sets: adding keys would resize the copy.
    """
    return {
        **dict.fromkeys(
            (
                "REMOTE_ADDR",
                "REQUEST_METHOD",
                "REQUEST_URI",
                "PATH_INFO",
                "QUERY_STRING",
                "SERVER_PROTOCOL",
                ROUTE,
                REQUEST_ID,
                TRACE_ID,
                KEY_ID,
            ),
            "",
        ),
        **dict.fromkeys(("wsgi.input", "waitress.client_disconnected", ON_DISCONNECT, ACCOUNT)),
        "SERVER_NAME": adj.server_name,
        "SERVER_PORT": str(port),
        "SERVER_SOFTWARE": adj.ident or "",
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": adj.url_scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": ReadOnlyFileBasedBuffer,
        "wsgi.input_terminated": True,
    }


def build_answer(
    status: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    head_only: bool,
    connection: Sequence[str],
    *,
    streamed: bool = False,
) -> tuple[bytes, int]:
    """Serialize an answer; return it and its status code.

    `head_only`: the request was a HEAD. `connection` are header lines about the connection. Content-Length is the
    body's; a `streamed` answer has none. Raises `ValueError` for a header that would break the head, and for a 1xx.
    """
    first, code = _first_lines(status, int(time.time()))
    lines = [first]
    length = len(body)
    for name, value in headers:
        start = _FIELD_STARTS[name]
        if start:
            lines.append(start + value)
        elif head_only:
            length = int(value)
    if code == 204 or code == 304 or streamed:
        body = b""
    else:
        lines.append(f"Content-Length: {length}")
        if head_only:
            body = b""
    lines += connection
    lines.append("\r\n")
    head = "\r\n".join(lines)
    # One CR and one LF per line are ours, and the first two lines are one here: any other came in a value (response
    # splitting).
    if head.count("\n") != len(lines) + 1 or head.count("\r") != len(lines) + 1 or "\0" in head:
        raise ValueError("control character in a header value")
    return head.encode("latin-1") + body, code


def plain_answer(
    status: str, detail: str, retry_after: int | None = None, head_only: bool = False, more: Fields = ()
) -> bytes:
    """Return a plain text answer after which the connection is closed; `more` are further header fields."""
    headers = [("Content-Type", "text/plain; charset=utf-8"), *more]
    if retry_after is not None:
        headers.append(("Retry-After", str(retry_after)))
    return build_answer(status, headers, f"{status}\n{detail}\n".encode(), head_only, CLOSES)[0]


def kept_alive(idle_seconds: float) -> tuple[str, ...]:
    """Return the header lines of an answer after which the connection stays open for `idle_seconds`.

    Clients are told one second less, so that they send nothing into a connection that is just being closed.
    """
    hint = int(idle_seconds) - 1
    return ("Connection: keep-alive", *([f"Keep-Alive: timeout={hint}"] if hint > 0 else []))


def refusal_answer(error: Any, method: str, more: Fields = ()) -> bytes:
    """Return the answer to a request that never reached the application, or whose body did not."""
    retry_after = 1 if error.code == 503 else None
    return plain_answer(f"{error.code} {error.reason}", str(error.body), retry_after, method == "HEAD", more)


def failure_answer(method: str, more: Fields = ()) -> bytes:
    """Return the answer after the application failed."""
    return plain_answer("500 Internal Server Error", "see the log of the server", None, method == "HEAD", more)


def keeps_alive(version: str, connection: str) -> bool:
    """Return whether the client wants the connection to stay open after the answer (RFC 9112, section 9.3)."""
    options = [option.strip(" \t") for option in connection.lower().split(",")] if connection else []
    return "close" not in options and (version == "1.1" or "keep-alive" in options)


@lru_cache(maxsize=64)
def _first_lines(status: str, second: int) -> tuple[str, int]:
    """Return the status line and Date in one, and the status code."""
    found = _STATUS.fullmatch(status)
    if not found or found[1] < "200":
        raise ValueError(f"invalid status {status!r}")
    return f"HTTP/1.1 {status}\r\nDate: {formatdate(second, usegmt=True)}", int(found[1])


class _FieldStarts(dict[str, str]):
    """The start of a header line by the name of the field: in Title-Case for a lower-case name; "" for Content-Length.

    Raises `ValueError` for what is not a token, and for fields that only a server may set (PEP 3333).
    """

    def __missing__(self, name: str) -> str:
        lower = name.lower()
        if not _NAME.fullmatch(name) or lower in _OURS:
            raise ValueError(f"header {name!r} cannot be set")
        start = "" if lower == "content-length" else (name.title() if name == lower else name) + ": "
        if len(self) >= MAX_NAMES:
            self.clear()
        if len(name) <= MAX_KEPT_NAME:
            self[name] = start
        return start


_FIELD_STARTS = _FieldStarts()
