"""Request bodies: decoded, bounded, kept once or dropped. No sockets here (RFC 9112, sections 6 and 7.1).

waitress's own chunk receiver accepts a bare LF within a size line, keeps lines without an end however long they get
(copying them with every piece), and checks nothing in a trailer.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

from waitress.utilities import Error

MAX_LINE = 1024
"""Bytes of one chunk-size line with its extensions, or of one trailer field."""
MAX_TRAILERS = 8192
"""Bytes of all trailer fields."""
FRAMING_BASE, FRAMING_PER_BYTE = 16 * 1024, 16
"""Limit of chunk framing, in bytes and bytes per byte of content: one-byte chunks need 5 bytes of framing per byte."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n")


class Refusal(Error):  # type: ignore[misc]
    """A request that is refused before the application sees it: status code, reason and one line of text."""

    def __init__(self, code: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.reason = reason


class _Fault(Exception):
    """Carries a `Refusal` up to `received`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.body)
        self.refusal = refusal


def _bad(detail: str) -> _Fault:
    return _Fault(Refusal(400, "Bad Request", detail))


class Body:
    """What both kinds have in common."""

    error: Refusal | None = None
    completed = False
    _file: BytesIO | None = None
    """What has arrived in several pieces."""
    _whole: bytes | None = None
    """A body that arrived in one piece."""

    def __len__(self) -> int:
        raise NotImplementedError

    def received(self, data: bytes) -> int:
        """Take what belongs to the body; return how many bytes that was. Raises nothing: see `error`."""
        raise NotImplementedError

    @property
    def held(self) -> int:
        """Bytes that are in memory."""
        if self._whole is not None:
            return len(self._whole)
        if self._file is None:
            return 0
        return len(self) if self.completed and type(self._file) is BytesIO else self._file.tell()

    def take(self) -> bytes:
        """Return the decoded body, once `completed`; b"" when it was taken before. Copies nothing."""
        if self._whole is None:
            return b"" if self._file is None else self._file.read()
        whole, self._whole = self._whole, b""
        return whole

    def drop(self) -> None:
        """Free the body, and discard what is still to arrive."""
        self._file, self._whole = _Discard(), None

    def _complete(self) -> None:
        self.completed = True
        if self._file is not None:
            self._file.getvalue()  # frees what was allocated in advance, without a copy
            self._file.seek(0)


class _Discard(BytesIO):
    """Discards what is written."""

    def write(self, data: Any) -> int:
        return len(data)


class FixedBody(Body):
    """Replaces waitress's FixedStreamReceiver: a body of `length` bytes, at least one."""

    def __init__(self, length: int) -> None:
        self._length = self._left = length

    def __len__(self) -> int:
        return self._length

    def received(self, data: bytes) -> int:
        """Take what belongs to the body; return how many bytes that was."""
        mine = data if len(data) <= self._left else data[: self._left]
        size = len(mine)
        if self._file is None and size == self._length:
            self._whole, self._left, self.completed = mine, 0, True
            return size
        if self._file is None:
            self._file = BytesIO()
        self._file.write(mine)
        self._left -= size
        if not self._left:
            self._complete()
        return size


class ChunkedBody(Body):
    """Replaces waitress's ChunkedReceiver. `max_body` is the limit of the decoded bytes, inclusive.

    Chunk extensions and trailer fields are checked, bounded and dropped.
    """

    def __init__(self, max_body: int) -> None:
        self._file: BytesIO = BytesIO()
        self.max_body = max_body
        self._length = 0
        self._left = 0  # bytes of the current chunk still to come
        self._line = b""  # the start of a line whose end has not arrived
        self._expect = "size"  # kind of the next line: "size", "end" (of a chunk) or "trailer"
        self._framing = 0  # bytes of everything that is not content
        self._trailers = 0  # bytes of trailer fields

    def __len__(self) -> int:
        return self._length

    def received(self, data: bytes) -> int:
        """Take what belongs to the body; return how many bytes that was. Raises nothing: see `error`."""
        pos, end = 0, len(data)
        try:
            while pos < end and not self.completed:
                if self._left:
                    pos = self._content(data, pos)
                elif self._expect == "size" and not self._line:
                    pos = self._whole_chunks(data, pos)
                else:
                    pos = self._next_line(data, pos)
        except _Fault as fault:
            self.error = fault.refusal
            return end
        return pos

    def _content(self, data: bytes, pos: int) -> int:
        stop = min(pos + self._left, len(data))
        self._file.write(data[pos:stop])
        self._left -= stop - pos
        return stop

    def _whole_chunks(self, data: bytes, pos: int) -> int:
        """Take chunks that are whole in `data`; without this fast path tiny chunks would be slow."""
        match, write, end = _SIZE_LINE.match, self._file.write, len(data)
        while True:
            found = match(data, pos, pos + MAX_LINE)
            size = int(found[1], 16) if found else 0
            if not found or not size or found.end() + size + 2 > end:
                return self._next_line(data, pos) if pos < end else pos
            start = found.end()
            stop = start + size
            self._count(size, start - pos + 2)
            if data[stop : stop + 2] != b"\r\n":
                raise _bad("a chunk is longer than its size")
            write(data[start:stop])
            pos = stop + 2

    def _next_line(self, data: bytes, pos: int) -> int:
        """Take one line, or the part of it that has arrived."""
        stop = data.find(b"\n", pos, pos + MAX_LINE) + 1
        line = self._line + data[pos : stop or pos + MAX_LINE]
        if len(line) > MAX_LINE or (not stop and len(data) - pos >= MAX_LINE):
            raise _bad("a line of the chunked body is too long")
        if not stop:
            self._line = line
            return len(data)
        self._line = b""
        if self._expect == "size":
            self._size_line(line)
        elif self._expect == "end":
            self._end_of_chunk(line)
        else:
            self._trailer_line(line)
        return stop

    def _size_line(self, line: bytes) -> None:
        found = _SIZE_LINE.fullmatch(line)
        if not found:
            raise _bad("invalid chunk size")
        size = int(found[1], 16)
        self._count(size, len(line) + 2)
        self._left = size
        self._expect = "end" if size else "trailer"

    def _count(self, size: int, framing: int) -> None:
        self._length += size
        self._framing += framing
        if self._length > self.max_body:
            raise _Fault(Refusal(413, "Content Too Large", f"the body has over {self.max_body} bytes"))
        if self._framing > FRAMING_BASE + FRAMING_PER_BYTE * self._length:
            raise _bad("too much chunk framing for so little content")

    def _end_of_chunk(self, line: bytes) -> None:
        if line != b"\r\n":
            raise _bad("a chunk is longer than its size")
        self._expect = "size"

    def _trailer_line(self, line: bytes) -> None:
        if line == b"\r\n":
            self._complete()
            return
        self._trailers += len(line)
        if self._trailers > MAX_TRAILERS:
            raise _Fault(Refusal(431, "Request Header Fields Too Large", "the trailer fields are too large"))
        if not _TRAILER.fullmatch(line):
            raise _bad("invalid trailer field")
