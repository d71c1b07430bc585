"""The parser of requests: bytes of a connection to heads and bodies (RFC 9112). No sockets and no clock here.

Whatever two parsers might read differently is refused and not repaired: what comes after it on the connection
could be a request that somebody else smuggled in.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from httpfront.server.body import Body, ChunkedBody, FixedBody, Refusal
from httpfront.server.head import HeadReader, bad_request, method_of, origin_of, target_too_long

_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n")


class RequestParser(Struct, eq=False):
    """One request on its way in. Feed it until `completed`; then `error` says whether it is refused, and why."""

    _reader: HeadReader
    """The server's."""
    _partial: bytearray | None = None
    """A head whose end has not arrived."""
    _chunked: bool = False
    environ: dict[str, Any] = {}
    """The WSGI environment, once the head was read; the caller adds what is about the connection."""
    command: str = ""
    """The method."""
    version: str = "1.0"
    completed: bool = False
    """Whether nothing more belongs to this request."""
    headers_finished: bool = False
    expect_continue: bool = False
    """Whether the client waits for 100 (Continue) before it sends the body."""
    body_rcv: Body | None = None
    """The body, where there is one."""
    body_bytes_received: int = 0
    """Bytes of the body so far, with their framing."""
    error: Refusal | None = None

    @property
    def body(self) -> Body:
        """What there is of the body of a request that has one."""
        assert self.body_rcv is not None
        return self.body_rcv

    @property
    def started(self) -> bool:
        """Whether a byte of the request has arrived."""
        return self.headers_finished or bool(self._partial and self._partial != b"\r")

    def received(self, data: bytes) -> int:
        """Take what belongs to this request; return how many bytes that was. Raises nothing."""
        if self.headers_finished:
            return self._received_body(data)
        if self._partial is None and not data.startswith(b"\r\n"):
            end = data.find(b"\r\n\r\n") + 4
            if end >= 4:
                if end == len(data):
                    self._read_head(data)
                    return end
                self._read_head(data[:end])
                return end if self.completed else end + self._received_body(data[end:])
        return self._received_piece(data)

    def _received_body(self, data: bytes) -> int:
        body = self.body_rcv
        if self.completed or body is None:
            return 0
        consumed = body.received(data)
        self.body_bytes_received += consumed
        if body.error:
            self._refuse(body.error)
        elif body.completed:
            self.completed = True
            if self._chunked:
                self.environ["CONTENT_LENGTH"] = str(len(body))
        return consumed

    def _received_piece(self, data: bytes) -> int:
        """Keep a piece of a head until the rest is there."""
        partial = self._partial
        if partial is None:
            partial = self._partial = bytearray()
        old = len(partial)
        partial += data
        if partial.startswith(b"\r\n"):
            old = 0
            del partial[: _EMPTY_LINES.match(partial).end()]  # type: ignore[union-attr]
        end = partial.find(b"\r\n\r\n", max(old - 3, 0)) + 4
        if end < 4:
            self._check_partial(partial, old)
            return len(data)
        self._partial = None
        self._read_head(bytes(partial[:end]))
        return len(data) - (len(partial) - end)

    def _check_partial(self, partial: bytearray, old: int) -> None:
        """Refuse at once what can never become a request; what has just come is behind `old`."""
        fault = None
        if len(partial) > self._reader.limits.max_headers:
            fault = self._too_long(partial)
        elif _FORBIDDEN.search(partial, max(old - 1, 0)):
            fault = bad_request("invalid character in the header")
        if fault is not None:
            self.command, self.environ = method_of(bytes(partial)), origin_of(bytes(partial))
            self._refuse(fault)

    def _too_long(self, head: bytes | bytearray) -> Refusal:
        limits = self._reader.limits
        if b"\r\n" not in head[: limits.max_target]:
            return target_too_long(limits)
        detail = f"request line and header fields have over {limits.max_headers} bytes"
        return Refusal(431, "Request Header Fields Too Large", detail)

    def _read_head(self, data: bytes) -> None:
        self.headers_finished = True
        reader = self._reader
        head = self._too_long(data) if len(data) > reader.limits.max_headers else reader.read(data)
        if isinstance(head, Refusal):
            self.command, self.environ = method_of(data), origin_of(data)
            self._refuse(head)
            return
        self.environ, line, fields = head
        self.command, self.version = line.method, line.version
        if fields.expects_continue:
            self.expect_continue = line.version == "1.1"
        if fields.chunked:
            self._chunked = True
            self.body_rcv = ChunkedBody(line.max_body)
        elif fields.length:
            self.body_rcv = FixedBody(fields.length)
        else:
            self.completed = True

    def _refuse(self, fault: Refusal) -> None:
        self.error = fault
        self.completed = True
        self.expect_continue = False
