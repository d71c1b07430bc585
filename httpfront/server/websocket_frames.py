"""Frames of WebSocket (RFC 6455, section 5): bytes of a client to messages, and messages to bytes. No I/O here.

The package `websockets` removes masks and reads close frames, and its protocol is the oracle of the tests. That takes
5 µs per frame where this takes 1, and parses whatever it is given at once; this stops after each message.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct as Layout

from websockets.exceptions import ProtocolError
from websockets.frames import Close

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MAX_FRAGMENTS = 1024
"""Frames of one message."""
MAX_REASON = 123
"""Bytes of the reason of a close frame."""
NORMAL, GOING_AWAY, PROTOCOL, UNSUPPORTED, INVALID, POLICY, TOO_BIG, INTERNAL, TRY_LATER = (
    *(1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1013),
)
"""Close codes (section 7.4.1, and the registry of IANA)."""
_FINAL, _MASKED = 0x80, 0x80
_MOST_CONTROL = 125
"""Bytes of a control frame."""
_u16, _u64 = Layout("!H"), Layout("!Q")


class FrameError(Exception):
    """The client has broken the protocol, or a limit: the connection is closed with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


Frame = tuple[int, bytes]
"""Opcode and payload of a whole message, or of a control frame. A plain tuple: there is one per message."""


class FrameReader:
    """Reads what one client sends. After a `FrameError` nothing more may be read."""

    __slots__ = ("_at", "_buffer", "_fragments", "_limit", "_most_fragments", "_opcode", "_size")

    def __init__(self, limit: int, most_fragments: int = MAX_FRAGMENTS) -> None:
        """Set the bytes and fragments that one message may have."""
        self._limit = limit
        self._most_fragments = most_fragments
        self._buffer: bytes | bytearray = b""
        self._at = 0
        """Where the next frame begins."""
        self._fragments: list[bytes] | None = None
        """Of a message whose end is missing."""
        self._opcode = self._size = 0
        """Of that message."""

    @property
    def held(self) -> int:
        """Return the bytes that are kept."""
        return len(self._buffer) - self._at + self._size

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        buffer, at = self._buffer, self._at
        if at == len(buffer):
            self._buffer, self._at = data, 0
        elif type(buffer) is bytearray:
            if at:
                del buffer[:at]
                self._at = 0
            buffer += data
        else:
            self._buffer, self._at = bytearray(buffer[at:]) + data, 0

    def next(self) -> Frame | None:
        """Return the next message or control frame, None where it has not arrived yet. Raises `FrameError`."""
        while True:
            buffer, at = self._buffer, self._at
            have = len(buffer) - at
            if have < 2:
                return None
            first, second = buffer[at], buffer[at + 1]
            size, start = second & 0x7F, at + 6
            if first != _FINAL | TEXT or second < _MASKED or self._fragments is not None:
                self._check(first, second)
            if size == 126:
                if have < 4:
                    return None
                size, start = _u16.unpack_from(buffer, at + 2)[0], at + 8
            elif size == 127:
                if have < 10:
                    return None
                size, start = _u64.unpack_from(buffer, at + 2)[0], at + 14
            if self._size + size > self._limit and not first & 0x8:
                raise FrameError(TOO_BIG, f"a message has over {self._limit} bytes")
            end = start + size
            if end > len(buffer):
                return None
            payload = apply_mask(buffer[start:end], buffer[start - 4 : start])
            if end == len(buffer):
                self._buffer, self._at = b"", 0
            else:
                self._at = end
            if first == _FINAL | TEXT:
                return TEXT, payload
            whole = self._assemble(first, payload)
            if whole is not None:
                return whole

    def _check(self, first: int, second: int) -> None:
        """Look at the first two bytes of a frame."""
        if not second & _MASKED:
            raise FrameError(PROTOCOL, "a frame is not masked")
        opcode = first & 0xF
        if first & 0x70:
            raise FrameError(PROTOCOL, "a reserved bit is set")
        if opcode & 0x8:
            if opcode > PONG:
                raise FrameError(PROTOCOL, f"opcode {opcode} is unknown")
            if not first & _FINAL or second & 0x7F > _MOST_CONTROL:
                raise FrameError(PROTOCOL, "a control frame is fragmented or too long")
        elif opcode == BINARY:
            raise FrameError(UNSUPPORTED, "only text frames are understood")
        elif opcode > BINARY:
            raise FrameError(PROTOCOL, f"opcode {opcode} is unknown")
        elif (opcode == CONTINUATION) != (self._fragments is not None):
            raise FrameError(PROTOCOL, "a message begins within another, or a fragment belongs to none")

    def _assemble(self, first: int, payload: bytes) -> Frame | None:
        opcode = first & 0xF
        if opcode & 0x8:
            return opcode, payload
        if self._fragments is None:
            self._opcode, self._fragments = opcode, []
        self._fragments.append(payload)
        self._size += len(payload)
        if first & _FINAL:
            whole = self._opcode, b"".join(self._fragments)
            self._fragments, self._size = None, 0
            return whole
        if len(self._fragments) >= self._most_fragments:
            raise FrameError(TOO_BIG, f"a message has over {self._most_fragments} fragments")
        return None


@lru_cache(maxsize=1024)
def text_head(size: int) -> bytes:
    """Return what is sent before a text message of this size."""
    if size < 126:
        return bytes((_FINAL | TEXT, size))
    if size < 65536:
        return b"\x81\x7e" + _u16.pack(size)
    return b"\x81\x7f" + _u64.pack(size)


def control_frame(opcode: int, payload: bytes) -> bytes:
    """Return a ping, pong or close frame."""
    return bytes((_FINAL | opcode, len(payload))) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame; code 0: without one. A reason that is too long is cut."""
    if not code:
        return control_frame(CLOSE, b"")
    return control_frame(CLOSE, _u16.pack(code) + reason.encode("ascii", "replace")[:MAX_REASON])


def read_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a client's close frame; code 0 where there is none. Raises `FrameError`."""
    if not payload:
        return 0, ""
    try:
        found = Close.parse(payload)
    except UnicodeDecodeError:
        raise FrameError(INVALID, "the reason of a close frame is not UTF-8") from None
    except ProtocolError:
        raise FrameError(PROTOCOL, "a close frame has an invalid payload") from None
    return int(found.code), found.reason
