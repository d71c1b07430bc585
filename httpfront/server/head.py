"""The head of a request, read when it is whole (RFC 9112, sections 3 and 5). No I/O here.

The request line is matched by one pattern, the fields are read by llhttp (`fields.py`). A client sends
the same block of fields again and again, so what one says is kept.
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
class Head:
    """What a head says."""

    environ: dict[str, Any]
    """The WSGI environment of the request."""
    method: str
    version: str
    """`1.0` or `1.1`."""
    fields: Fields
    max_body: int
    """Bytes that the decoded body may have."""


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
        that are kept: most clients send the same block with each request, whatever its target is.
        """
        self.limits = limits
        self._fields = fields
        self._template = template or {}
        self._cached = cached
        self._cache: OrderedDict[bytes, Fields] = OrderedDict()

    def read(self, head: bytes) -> Head | Refusal:
        """Read a whole head, which begins with no empty line. Raises nothing."""
        line = _REQUEST_LINE.match(head)
        if line is None:
            return bad_request("invalid request line")
        block = head[line.end() :]
        fields = self._cache.get(block) or self._read_fields(block)
        if isinstance(fields, Refusal):
            return fields
        environ = self._template | fields.environ
        method, target, version = line.group(1, 2, 3)
        environ["REQUEST_METHOD"] = command = method.decode("latin-1")
        fault = self._target_fault(target.decode("latin-1"), environ)
        if fault is None and version != b"1.1":
            fault = _version_fault(version, fields)
        elif fault is None and not fields.has_host:
            fault = bad_request("there is no Host")
        if fault is not None:
            return fault
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if version == b"1.1" else "HTTP/1.0"
        # A batch may be larger; what it really is, the application finds out.
        max_body = self.limits.max_batch if "batch=" in environ["QUERY_STRING"] else self.limits.max_body
        if fields.length > max_body:
            return Refusal(413, "Content Too Large", f"the body has over {max_body} bytes")
        return Head(environ, command, version.decode("latin-1"), fields, max_body)

    def _target_fault(self, target: str, environ: dict[str, Any]) -> Refusal | None:
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
        count = block.count(b"\r\n") - 1
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
            if len(self._cache) >= self._cached:
                self._cache.popitem(last=False)
            self._cache[block] = fields
        return fields


def _version_fault(version: bytes, fields: Fields) -> Refusal | None:
    """Look at a version that is not 1.1."""
    if version != b"1.0":
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
