"""The head of a request, read when it is whole (RFC 9112, sections 3 and 5). No I/O here.

The request line is matched by one pattern, the fields are read by llhttp (`fields.py`). A client sends
the same line, and the same block of fields, again and again, so what one says is kept.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes, urlsplit

from httpfront.server.body import Refusal
from httpfront.server.fields import FieldReader

MAX_FIELDS = 256
"""Header fields of one request."""
MAX_LENGTH_DIGITS = 18
"""Digits of a Content-Length."""
CACHED_BYTES, CACHED_FIELDS = 2048, 32
"""Bytes and fields of the largest block that is kept."""
CACHED_LINE = 256
"""Bytes of the longest request line that is kept."""

_REQUEST_LINE = re.compile(
    rb"(?P<method>[!#$%&'*+\-.^_`|~0-9A-Z]{1,32}) (?P<target>[\x21\x22\x24-\x7e]+) HTTP/(?P<version>[0-9]\.[0-9])\r\n"
)
_WIDE = b" " * 65
_ORIGIN = re.compile(rb"\r\norigin:([^\r\n]*)\r\n", re.IGNORECASE).search
_HOST = re.compile(r"[A-Za-z0-9.\-_~%!$&'()*+;=\[\]:]*")


class RequestLimits(Protocol):
    """What a request may use, in bytes; each is the largest value that is accepted."""

    @property
    def max_body(self) -> int: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def max_headers(self) -> int: ...
    @property
    def max_target(self) -> int: ...


@dataclass(slots=True)
class Fields:
    """What the fields of a head say. Shared by all requests that have the same, and never changed."""

    environ: dict[str, Any]
    """Their part of the WSGI environment. Transfer-Encoding is not shown to the application."""
    chunked: bool
    length: int
    """Bytes of the body; 0 where it is chunked or there is none."""
    has_host: bool
    expects_continue: bool


@dataclass(slots=True)
class RequestLine:
    """What a request line says. Shared and never changed, as `Fields`."""

    environ: dict[str, str]
    """Its part of the WSGI environment; incomplete where the target is refused."""
    method: str
    version: str
    max_body: int
    """Bytes that the decoded body may have."""
    fault: Refusal | None
    """Why the target is refused."""


Head = tuple[dict[str, Any], RequestLine, Fields]
"""What a head says; the first is the WSGI environment of the request. A plain tuple: there is one per request."""


def origin_of(head: bytes) -> dict[str, Any]:
    """Return the Origin field of a head that is refused, as the environment has it: the answer may be for a page."""
    found = _ORIGIN(head)
    return {"HTTP_ORIGIN": found[1].decode("latin-1").strip(" \t")} if found else {}


def method_of(head: bytes) -> str:
    """Return the method of a request that is refused, "" where it has no readable request line."""
    line = _REQUEST_LINE.match(head)
    return line["method"].decode("latin-1") if line else ""


def bad_request(detail: str) -> Refusal:
    """Return a 400."""
    return Refusal(400, "Bad Request", detail)


def target_too_long(limits: RequestLimits) -> Refusal:
    """Return a 414."""
    return Refusal(414, "URI Too Long", f"the request target has over {limits.max_target} bytes")


class HeadReader:
    """Reads the heads of all requests to one server."""

    def __init__(
        self, limits: RequestLimits, fields: FieldReader, template: dict[str, Any] | None = None, cached: int = 512
    ) -> None:
        """Prepare for requests within these limits.

        `template` is what the environments of all requests have in common. `cached` is the number of blocks of fields
        that are kept when they come again, and of request lines: most clients send the same block with each request,
        whatever its target is.
        """
        self.limits = limits
        self._fields = fields
        self._template = template or {}
        self._cached = cached
        self._cache: OrderedDict[bytes, Fields] = OrderedDict()
        self._came: set[int] = set()
        """Hashes of blocks that have come lately."""
        self._lines: dict[bytes, RequestLine] = {}

    def read(self, head: bytes) -> Head | Refusal:
        """Read a whole head, which begins with no empty line. Raises nothing."""
        end = head.find(b"\r\n") + 2
        first, block = head[:end], head[end:]
        line = self._lines.get(first) or self._read_line(first)
        if line is None:
            return bad_request("invalid request line")
        fields = self._cache.get(block) or self._read_fields(block)
        if isinstance(fields, Refusal):
            return fields
        fault = line.fault
        if fault is None and line.version != "1.1":
            fault = _version_fault(line.version, fields)
        elif fault is None and not fields.has_host:
            fault = bad_request("there is no Host")
        if fault is not None:
            return fault
        if fields.length > line.max_body:
            return Refusal(413, "Content Too Large", f"the body has over {line.max_body} bytes")
        environ = self._template | fields.environ
        environ.update(line.environ)
        return environ, line, fields

    def _read_line(self, first: bytes) -> RequestLine | None:
        """Read a request line with its line end, and keep what it says. Return None where it is not one."""
        found = _REQUEST_LINE.match(first)
        if found is None:
            return None
        method, target, version = (each.decode("latin-1") for each in found.groups())
        environ = {"REQUEST_METHOD": method, "SERVER_PROTOCOL": f"HTTP/{version}", "QUERY_STRING": ""}
        fault = self._target_fault(target, environ)
        # A batch may be larger; what it really is, the application finds out.
        max_body = self.limits.max_batch if "batch=" in environ["QUERY_STRING"] else self.limits.max_body
        line = RequestLine(environ, method, version, max_body, fault)
        if fault is None and len(first) <= CACHED_LINE and self._cached:
            if len(self._lines) >= self._cached:
                self._lines.clear()
            self._lines[first] = line
        return line

    def _target_fault(self, target: str, environ: dict[str, str]) -> Refusal | None:
        """Put the target into the environment, in origin-form or absolute-form, or `*` (RFC 9112, section 3.2)."""
        if len(target) > self.limits.max_target:
            return target_too_long(self.limits)
        environ["REQUEST_URI"] = target
        if target.startswith("/"):
            path, _, query = target.partition("?")
        else:
            try:
                parts = urlsplit(target)
            except ValueError:
                return bad_request("invalid request target")
            path, query = parts.path, parts.query
        if "%" in path:
            path = unquote_to_bytes(path).decode("latin-1")
        environ["PATH_INFO"] = "/" + path.lstrip("/") if path.startswith("//") else path
        environ["QUERY_STRING"] = query
        return None

    def _read_fields(self, block: bytes) -> Fields | Refusal:
        """Read a block of fields with the empty line behind it, and keep what it says."""
        count = block.count(b"\n") - 1
        if count > MAX_FIELDS:
            return bad_request("too many header fields")
        if _WIDE in block.replace(b"\t", b" "):
            return bad_request("over 64 blanks in a row")
        environ = self._fields.read(block)
        if isinstance(environ, str):
            return bad_request(environ)
        fault = _coding_fault(environ) or _host_fault(environ)
        if fault is not None:
            return fault
        chunked = environ.pop("HTTP_TRANSFER_ENCODING", None) is not None
        digits = environ.get("CONTENT_LENGTH", "0")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > MAX_LENGTH_DIGITS:
            return bad_request("Content-Length is invalid")
        expects = environ.get("HTTP_EXPECT", "").lower() == "100-continue"
        fields = Fields(environ, chunked, int(digits), "HTTP_HOST" in environ, expects)
        if len(block) <= CACHED_BYTES and count <= CACHED_FIELDS:
            self._keep(block, fields)
        return fields

    def _keep(self, block: bytes, fields: Fields) -> None:
        """Keep a block that has come before: one with an id of its own never comes again, and would push out others."""
        digest = hash(block)
        if digest not in self._came:
            if len(self._came) >= self._cached:
                self._came.clear()
            self._came.add(digest)
            return
        if len(self._cache) >= self._cached:
            self._cache.popitem(last=False)
        self._cache[block] = fields


def _version_fault(version: str, fields: Fields) -> Refusal | None:
    """Look at a version that is not 1.1."""
    if version != "1.0":
        return Refusal(505, "HTTP Version Not Supported", "only HTTP/1.0 and HTTP/1.1 are spoken here")
    return bad_request("Transfer-Encoding with HTTP/1.0") if fields.chunked else None


def _coding_fault(environ: dict[str, Any]) -> Refusal | None:
    """Look at Transfer-Encoding: `chunked` alone is understood (RFC 9112, section 6.1)."""
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    if coding is None:
        return None
    if "CONTENT_LENGTH" in environ:
        return bad_request("Content-Length with Transfer-Encoding")
    if coding.lower() == "chunked":
        return None
    if any(each.strip(" \t").lower() != "chunked" for each in coding.split(",") if each):
        return Refusal(501, "Not Implemented", "the only transfer coding that is understood is chunked")
    return bad_request("invalid Transfer-Encoding")


def _host_fault(environ: dict[str, Any]) -> Refusal | None:
    return None if _HOST.fullmatch(environ.get("HTTP_HOST", "")) else bad_request("invalid Host")
