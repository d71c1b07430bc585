"""Just enough of HTTP/2 (RFC 9113) to send what no library would send."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from struct import pack, unpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return pack(">I", len(payload))[1:] + pack(">BBI", kind, flags, stream) + payload


def field(name: bytes, value: bytes) -> bytes:
    """Return a header field without compression (RFC 7541, section 6.2.2). Its parts are shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def ask(connection: socket.socket, fields: Sequence[tuple[bytes, bytes]], body: bytes = b"") -> list[int]:
    """Send a request as the first of a connection. Return the kinds of frames that came back until its end."""
    head = frame(HEADERS, END_HEADERS | (0 if body else END_STREAM), 1, b"".join(field(*each) for each in fields))
    rest = frame(DATA, END_STREAM, 1, body) if body else b""
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + head + rest)
    kinds = []
    while True:
        header = _exactly(connection, 9)
        if not header:
            return kinds
        size, kind, flags, stream = unpack(">I", b"\0" + header[:3])[0], header[3], header[4], unpack(">I", header[5:])
        _exactly(connection, size)
        kinds.append(kind)
        over = kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM)
        if kind == GOAWAY or (over and stream == (1,)):
            return kinds


def _exactly(connection: socket.socket, size: int) -> bytes:
    """Return this many bytes, or none if the other side has closed."""
    data = b""
    while len(data) < size:
        try:
            more = connection.recv(size - len(data))
        except ConnectionResetError:
            return b""
        if not more:
            return b""
        data += more
    return data
