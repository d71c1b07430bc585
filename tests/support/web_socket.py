"""A WebSocket client over a raw socket: what it sends is exactly what the test says."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from websockets.utils import apply_mask

PROTOCOL = "fanmail.v1.json"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
PATIENCE = 20.0


def frame(payload: bytes, opcode: int = TEXT, final: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """One frame as a client sends it."""
    size, first = len(payload), (0x80 if final else 0) | reserved << 4 | opcode
    most = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, most | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, most | 126, size)
    else:
        head = struct.pack("!BBQ", first, most | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + apply_mask(payload, mask)


def message(**members: Any) -> bytes:
    """An operation as a frame."""
    return frame(json.dumps(members, ensure_ascii=False).encode())


def handshake(target: str = "/", *headers: str, protocol: str = PROTOCOL, leave_out: str = "") -> bytes:
    """A handshake as bytes; the header that begins with `leave_out` is missing."""
    fields = [
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Sec-WebSocket-Protocol: {protocol}",
    ]
    kept = [each for each in fields if not leave_out or not each.startswith(leave_out)]
    return "\r\n".join([f"GET {target} HTTP/1.1", *kept, *headers, "", ""]).encode()


class WebSocket:
    """One connection. `head` is the answer to the handshake."""

    def __init__(
        self, port: int, target: str = "/", *headers: str, tiny: bool = False, protocol: str = PROTOCOL
    ) -> None:
        self.sock = socket.socket()
        if tiny:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.sock.sendall(handshake(target, *headers, protocol=protocol))
        while b"\r\n\r\n" not in self.rest:
            self._more()
        self.head, _, self.rest = self.rest.partition(b"\r\n\r\n")

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(frames))

    def op(self, op: str, **members: Any) -> None:
        """Send an operation."""
        self.send(message(op=op, **members))

    def frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame, which the server never masks. EOFError at the end."""
        while (whole := self._whole()) is None:
            self._more()
        return whole

    def next(self) -> dict[str, Any]:
        """Return the next text message; pings are left out."""
        while True:
            opcode, payload = self.frame()
            if opcode == TEXT:
                found: dict[str, Any] = json.loads(payload)
                return found
            assert opcode in (PING, PONG), (opcode, payload)

    def ask(self, op: str, **members: Any) -> dict[str, Any]:
        """Send an operation with a `ref`, and return the answer; what came before it is dropped."""
        self.op(op, ref="asked", **members)
        while (found := self.next()).get("ref") != "asked":
            pass
        return found

    def closed(self) -> tuple[int, str]:
        """Wait for the close frame; return its code, 0 for none, and reason. What came before it is dropped."""
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                assert self.rest + self.sock.recv(1) == b"", "nothing follows the close frame"
                return (int.from_bytes(payload[:2]), payload[2:].decode()) if payload else (0, "")

    def _whole(self) -> tuple[int, bytes] | None:
        data = self.rest
        if len(data) < 2:
            return None
        assert (data[0] & 0xF0, data[1] & 0x80) == (0x80, 0), "final, no extension, not masked"
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4]), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10]), 10
        if len(data) < at + size:
            return None
        self.rest = data[at + size :]
        return data[0] & 0xF, data[at : at + size]

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(f"closed after {self.rest[:100]!r}")
        self.rest += data
