"""WebSocket sessions as a load: prebuilt frames out, and frames counted on their way in."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec

from bench.harness.processes import BenchError

TIMEOUT_S = 60.0
_MASK = b"\0\0\0\0"
"""A mask that changes nothing: the front does the same work with it."""
_CLOSE = b"\x88\x80" + _MASK
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def frame(operation: dict[str, Any]) -> bytes:
    """Return an operation as a frame of a client."""
    text = _encode(operation)
    size = len(text)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2)
    return head + _MASK + text


class Session:
    """One connection. A context manager."""

    def __init__(self, port: int, target: str = "/") -> None:
        """Open it. Raises `BenchError` where the handshake is refused."""
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fields = [
            *(f"GET {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"),
            *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
            *("Sec-WebSocket-Protocol: fanmail.v1.json", "", ""),
        ]
        self._sock.sendall("\r\n".join(fields).encode())
        self._rest = b""
        while b"\r\n\r\n" not in self._rest:
            self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        if b" 101 " not in head[:16]:
            raise BenchError(f"no session: {head[:200].decode('latin-1')!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it, and wait until the front has."""
        self.send(_CLOSE)
        while self._sock.recv(262144):
            pass
        self._sock.close()

    def send(self, *frames: bytes) -> None:
        """Send frames."""
        self._sock.sendall(b"".join(frames))

    def texts(self) -> list[bytes]:
        """Return the messages that arrive next, at least one."""
        found: list[bytes] = []
        while not found:
            data, at = self._rest, 0
            while (end := _end_of(data, at)) is not None:
                start, stop = end
                if data[at] == 0x81:
                    found.append(data[start:stop])
                at = stop
            self._rest = data[at:]
            if not found:
                self._receive()
        return found

    def exchange(self, operation: bytes, times: int, in_flight: int) -> None:
        """Send an operation `times` times, up to `in_flight` at once. Raises `BenchError` where one is refused."""
        sent = min(times, in_flight)
        self.send(operation * sent)
        answered = 0
        while answered < times:
            answers = self.texts()
            refused = next((each for each in answers if not each.startswith(b'{"op":"ok"')), None)
            if refused is not None:
                raise BenchError(f"refused: {refused[:200].decode()}")
            answered += len(answers)
            more = min(times - sent, answered + in_flight - sent)
            if more:
                self.send(operation * more)
                sent += more

    def read(self, count: int, acknowledge: Callable[[list[bytes]], bytes]) -> None:
        """Read `count` messages; send what `acknowledge` makes of each group that arrived together."""
        read = 0
        while read < count:
            messages = [each for each in self.texts() if each.startswith(b'{"op":"message"')]
            read += len(messages)
            if messages and (answer := acknowledge(messages)):
                self.send(answer)
        self.send(frame({"op": "publish", "topic": "nobody", "text": "", "ref": 0}))
        while not any(b'"ref":0' in each for each in self.texts()):
            pass  # what was acknowledged before is done by then

    def _receive(self) -> None:
        data = self._sock.recv(262144)
        if not data:
            raise BenchError("the session has ended")
        self._rest += data


def no_acknowledgement(messages: list[bytes]) -> bytes:
    """Acknowledge nothing."""
    return b""


def up_to_the_last(messages: list[bytes]) -> bytes:
    """Acknowledge everything up to the last message."""
    last = _decode(messages[-1])
    return frame({"op": "ack", "topic": last["topic"], "user": last["user"], "id": last["id"]})


def each_receipt(messages: list[bytes]) -> bytes:
    """Acknowledge each leased message."""
    found = map(_decode, messages)
    names = ("topic", "user", "receipt")
    return b"".join(frame({"op": "ack"} | {name: each[name] for name in names}) for each in found)


def all_receipts(messages: list[bytes]) -> bytes:
    """Acknowledge the leased messages of one mailbox, which are at most the window, with one operation."""
    found = [_decode(each) for each in messages]
    names = {name: found[0][name] for name in ("topic", "user")}
    return frame({"op": "ack"} | names | {"receipts": [each["receipt"] for each in found]})


def _end_of(data: bytes, at: int) -> tuple[int, int] | None:
    """Return where the payload of the frame that begins here starts and ends, None where it is not whole."""
    if len(data) < at + 2:
        return None
    size, start = data[at + 1], at + 2
    if size == 126:
        size, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
    elif size == 127:
        size, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
    stop = start + size
    return (start, stop) if stop <= len(data) else None
