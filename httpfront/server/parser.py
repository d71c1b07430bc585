"""waitress's request parser, made strict (RFC 9112). No sockets and no clock here.

Whatever two parsers might read differently is refused, not repaired: what follows on the connection could be a smuggled
request.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error

from httpfront.server.body import Body, ChunkedBody, FixedBody, Refusal

MAX_FIELDS = 256
"""Header fields of one request."""

_SINGLE = re.compile(rb"\r\n(host|content-length|transfer-encoding|content-type|authorization)[ \t]*:", re.I)
_ENDLESS = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*0*[0-9]{19}", re.I)
_FOLDED = re.compile(rb"\r\n[ \t]")
_WIDE = re.compile(rb"[ \t]{65}")
"""White space that takes waitress's pattern of a field quadratic time."""
_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Z]{1,32} [\x21\x22\x24-\x7e\x80-\xff]+ HTTP/[0-9]\.[0-9]")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
_BLANKS = frozenset((b" ", b"\t", b"\r", b"\n", b"\x0b", b"\x0c"))
"""What waitress strips before the request line, where only empty lines are allowed (RFC 9112, section 2.2)."""
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n")
_HOST = re.compile(r"[A-Za-z0-9.\-_~%!$&'()*+;=\[\]:]*")


class RequestLimits(Protocol):
    """Limits of a request in bytes; each is the largest value that is accepted."""

    @property
    def max_body(self) -> int: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def max_headers(self) -> int: ...
    @property
    def max_target(self) -> int: ...


def _bad(detail: str) -> Refusal:
    return Refusal(400, "Bad Request", detail)


class StrictParser(HTTPRequestParser):  # type: ignore[misc]
    """One incoming request. Feed it until `completed`; then `error` says whether and why it is refused."""

    def __init__(self, adj: Any, limits: RequestLimits) -> None:
        """Start a request.

        `adj` must not limit bodies itself: waitress counts chunk framing as content, and refuses equality.
        """
        super().__init__(adj)
        self._limits = limits
        self._head = bytearray()  # of a head whose end has not arrived

    error: Error | None
    body_rcv: Body | None

    @property
    def body(self) -> Body:
        """What has arrived of the body of a request that has one."""
        assert self.body_rcv is not None
        return self.body_rcv

    @property
    def started(self) -> bool:
        """Whether a byte of the request has arrived."""
        return self.headers_finished or self._head not in (bytearray(), bytearray(b"\r"))

    def received(self, data: bytes) -> int:
        """Take what belongs to this request; return how many bytes that was. Raises nothing."""
        if self.headers_finished:
            consumed: int = super().received(data)
            if self.chunked:
                self._refuse(self.error)
            return consumed
        end = 0 if self._head or data.startswith(b"\r\n") else data.find(b"\r\n\r\n") + 4
        if end < 4:
            return self._received_piece(data)
        self._received_head(data[:end])
        return end

    def _received_piece(self, data: bytes) -> int:
        """Collect an incomplete head: waitress would start again with every piece."""
        head, old = self._head, len(self._head)
        head += data
        if head.startswith(b"\r\n"):
            old = 0
            del head[: _EMPTY_LINES.match(head).end()]  # type: ignore[union-attr]
        end = head.find(b"\r\n\r\n", max(old - 3, 0)) + 4
        if end < 4:
            self._check_partial(old)
            return len(data)
        self._head = bytearray()
        self._received_head(bytes(head[:end]))
        return len(data) - (len(head) - end)

    def _received_head(self, head: bytes) -> None:
        """Parse a whole head that begins with no empty line."""
        if head[:1] in _BLANKS:
            self._refuse(_bad("white space before the request line"))
            return
        super().received(head)
        self._refuse(self.error or self._fault() if self.headers_finished else self._too_long(head))

    def _check_partial(self, old: int) -> None:
        """Refuse at once what can never become a request; what has just arrived is behind `old`."""
        if len(self._head) > self._limits.max_headers:
            super().received(bytes(self._head))
            self._refuse(self._too_long(self._head))
        elif _FORBIDDEN.search(self._head, max(old - 1, 0)):
            self._refuse(_bad("invalid character in the header"))

    def _too_long(self, head: bytes | bytearray) -> Error | None:
        return self.error if b"\r\n" in head[: self._limits.max_target] else self._target_too_long()

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the whole head; called by waitress. Raises its `ParsingError`, which becomes a 400."""
        line, _, fields = header_plus.partition(b"\r\n")
        if not _REQUEST_LINE.fullmatch(line):
            raise ParsingError("invalid request line")
        if _FOLDED.search(header_plus):
            raise ParsingError("a header field is folded over several lines")
        if _WIDE.search(header_plus):
            raise ParsingError("over 64 consecutive blanks")
        if fields.count(b"\r\n") > MAX_FIELDS:
            raise ParsingError("too many header fields")
        if _ENDLESS.search(header_plus):
            raise ParsingError("Content-Length is invalid")
        single = [name.lower() for name in _SINGLE.findall(header_plus)]
        if len(set(single)) != len(single):
            raise ParsingError(f"repeated header field {max(single, key=single.count).decode()}")
        if b"transfer-encoding" in single:
            if b"content-length" in single:
                raise ParsingError("Content-Length with Transfer-Encoding")
            if line.endswith(b"1.0"):
                raise ParsingError("Transfer-Encoding with HTTP/1.0")
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # what urllib cannot read of an absolute-form target
            raise ParsingError("invalid request target") from error
        coding = self._coding(header_plus)
        if coding is not None and coding != b"chunked":
            raise ParsingError("invalid Transfer-Encoding")
        if self.chunked:
            self.body_rcv = ChunkedBody(self._max_body())
        elif self.content_length > 0:
            self.body_rcv = FixedBody(self.content_length)

    @staticmethod
    def _coding(header_plus: bytes) -> bytes | None:
        match = re.search(rb"\r\ntransfer-encoding:([^\r]*)", header_plus, re.I)
        return match[1].strip(b" \t").lower() if match else None

    def _refuse(self, fault: Error | None) -> None:
        if fault is not None:
            self.error = fault
            self.completed = True
            self.expect_continue = False
            self.connection_close = True

    def _fault(self) -> Refusal | None:
        """Return what is wrong with a head that waitress could read."""
        if self.version not in ("1.0", "1.1"):
            return Refusal(505, "HTTP Version Not Supported", "only HTTP/1.0 and HTTP/1.1 are supported")
        if len(self.request_uri) > self._limits.max_target:
            return self._target_too_long()
        host = self.headers.get("HOST")
        if host is None and self.version == "1.1":
            return _bad("the Host header is missing")
        if host is not None and not _HOST.fullmatch(host):
            return _bad("invalid Host")
        if self.content_length > self._max_body():
            return self._too_large()
        return None

    def _max_body(self) -> int:
        """Return the limit of the body. A batch may be larger; the application checks whether it is one."""
        return self._limits.max_batch if "batch=" in self.query else self._limits.max_body

    def _target_too_long(self) -> Refusal:
        return Refusal(414, "URI Too Long", f"the request target has over {self._limits.max_target} bytes")

    def _too_large(self) -> Refusal:
        return Refusal(413, "Content Too Large", f"the body has over {self._max_body()} bytes")
